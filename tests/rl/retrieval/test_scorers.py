"""Scores of a document for a query, by hand and by the invariances that every scorer keeps."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rl.retrieval.scorers import DualEncoder, Factors, FeatureMLP, ItemBias, Scorer, shared_scores

QUERIES, DOCUMENTS, WIDTH, FEATURES = 5, 7, 3, 4


def factors(**options: bool) -> Factors:
    torch.manual_seed(0)
    scorer = Factors(QUERIES, DOCUMENTS, WIDTH, **options).double()
    nn.init.normal_(scorer.bias)
    return scorer


def item_bias() -> ItemBias:
    torch.manual_seed(1)
    scorer = ItemBias(DOCUMENTS).double()
    nn.init.normal_(scorer.bias)
    return scorer


def feature_mlp(layers: int = 2) -> FeatureMLP:
    torch.manual_seed(2)
    return FeatureMLP(torch.randn(DOCUMENTS, FEATURES), hidden=6, layers=layers).double()


SCORERS: list[Callable[[], nn.Module]] = [factors, item_bias, feature_mlp]


@pytest.mark.parametrize("make", SCORERS)
def test_candidates_are_entries_of_all_scores(make: Callable[[], Scorer]) -> None:
    scorer = make()
    assert isinstance(scorer, Scorer)
    query, ids = torch.tensor([4, 0, 4]), torch.tensor([[0, 6], [3, 3], [5, 1]])
    everything = scorer.score_all(query)
    assert everything.shape == (3, DOCUMENTS)
    torch.testing.assert_close(scorer.score(query, ids), everything.gather(1, ids), rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", SCORERS)
def test_a_batch_is_its_rows(make: Callable[[], Scorer]) -> None:
    scorer, query = make(), torch.tensor([1, 3, 2])
    ids = torch.tensor([[0, 1], [2, 3], [6, 6]])
    rows = [scorer.score(query[[row]], ids[[row]]) for row in range(3)]
    torch.testing.assert_close(scorer.score(query, ids), torch.cat(rows), rtol=0, atol=1e-12)
    alone = [scorer.score_all(query[[row]]) for row in range(3)]
    torch.testing.assert_close(scorer.score_all(query), torch.cat(alone), rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [factors, item_bias])
def test_scores_are_inner_products_of_codes(make: Callable[[], DualEncoder]) -> None:
    scorer, query, ids = make(), torch.tensor([2, 0]), torch.tensor([6, 0, 3])
    assert isinstance(scorer, DualEncoder)
    both = shared_scores(scorer, query, ids)
    torch.testing.assert_close(both, scorer.score_all(query)[:, ids], rtol=0, atol=1e-12)
    assert scorer.encode_document(ids.view(3, 1)).shape[:2] == (3, 1)
    assert not isinstance(feature_mlp(), DualEncoder)


def test_factors_by_hand() -> None:
    scorer = Factors(1, 2, 2)
    scorer.load_state_dict(
        {
            "users": torch.tensor([[2.0, -1.0]]),
            "items": torch.tensor([[1.0, 3.0], [0.5, 0.0]]),
            "bias": torch.tensor([0.25, -4.0]),
        }
    )
    assert scorer.score_all(torch.tensor([0])).tolist() == [[2 - 3 + 0.25, 1 - 4]]
    assert scorer.score(torch.tensor([0]), torch.tensor([[1]])).tolist() == [[-3.0]]


def test_factors_begin_small_and_without_a_bias() -> None:
    torch.manual_seed(3)
    scorer = Factors(50, 60, 5)
    for table in (scorer.users, scorer.items):
        assert table.abs().max() <= 0.05
        assert table.std().item() == pytest.approx(0.05 / 3**0.5, rel=0.1)
    assert not scorer.bias.any()
    assert [name for name, p in Factors(2, 3, 1, bias=False).named_parameters() if p.requires_grad] == [
        "users",
        "items",
    ]


def gradients(scorer: Factors, loss: Callable[[Factors], Tensor]) -> list[Tensor]:
    loss(scorer).backward()
    return [p.grad for p in scorer.parameters() if p.grad is not None]


def test_sparse_gradients_are_the_dense_ones() -> None:
    query, ids = torch.tensor([1, 1]), torch.tensor([[0, 0, 4], [4, 2, 0]])
    torch.manual_seed(4)
    weights = torch.randn(2, 3, dtype=torch.float64)

    def own(scorer: Factors) -> Tensor:
        return (scorer.score(query, ids) * weights).sum()

    def shared(scorer: Factors) -> Tensor:
        return (shared_scores(scorer, query, ids[1]) * weights).sum()

    for loss in (own, shared):
        sparse, dense = gradients(factors(sparse=True), loss), gradients(factors(), loss)
        assert len(sparse) == len(dense) == 3
        for ours, reference in zip(sparse, dense, strict=True):
            assert ours.is_sparse
            torch.testing.assert_close(ours.to_dense(), reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_feature_mlp_is_the_perceptron_it_says(layers: int) -> None:
    scorer = feature_mlp(layers)
    assert len(scorer.net) == 2 * layers + 1
    x = scorer.features
    for part in scorer.net:
        x = x @ part.weight.T + part.bias if isinstance(part, nn.Linear) else x.tanh()
    torch.testing.assert_close(scorer.score_all(torch.tensor([0]))[0], x[:, 0], rtol=0, atol=1e-12)
    assert "features" not in scorer.state_dict()


def test_feature_mlp_of_another_activation() -> None:
    scorer = FeatureMLP(torch.zeros(2, 3), hidden=4, layers=2, activation=nn.ReLU)
    assert [type(part) for part in scorer.net] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
