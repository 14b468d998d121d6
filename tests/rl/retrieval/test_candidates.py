"""Every sampler draws what it says it draws: by chi-squared, by normalisation, and against formulas by hand."""

import pytest
import torch
from torch import Tensor

from rl.retrieval.candidates import (
    CandidateSampler,
    Listed,
    ListSampler,
    PoolSampler,
    PopularitySampler,
    PositiveMixture,
    SoftmaxSampler,
    UniformSampler,
    draw_from,
)
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors
from tests.rl.retrieval.chi_squared import agrees, check

QUERIES, DOCUMENTS = 4, 6
QUERY = torch.tensor([2, 0])
POSITIVES = Relevance.of(torch.tensor([0, 0, 2, 3]), torch.tensor([1, 4, 5, 0]), torch.ones(4), QUERIES)


def generator() -> Factors:
    torch.manual_seed(5)
    scorer = Factors(QUERIES, DOCUMENTS, 3)
    for weight in scorer.parameters():
        torch.nn.init.normal_(weight, std=0.7)
    return scorer


def softmax(temperature: float) -> Tensor:
    scorer = generator()
    scores = (scorer.users[QUERY] @ scorer.items.T + scorer.bias).double() / temperature
    return (scores.exp() / scores.exp().sum(1, keepdim=True)).detach()


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_softmax(temperature: float) -> None:
    sampler = SoftmaxSampler(generator(), temperature)
    assert isinstance(sampler, ListSampler)
    check(sampler, QUERY, softmax(temperature))


def test_pool() -> None:
    pool = Relevance.of(torch.tensor([0, 0, 2, 2, 2]), torch.tensor([0, 5, 1, 2, 4]), torch.zeros(5), QUERIES)
    among = torch.zeros(2, DOCUMENTS).double()
    among[0, [1, 2, 4]], among[1, [0, 5]] = 1, 1
    probabilities = softmax(2.0) * among
    sampler = PoolSampler(generator(), pool, 2.0)
    assert isinstance(sampler, ListSampler)
    check(sampler, QUERY, probabilities / probabilities.sum(1, keepdim=True))


def mixed(share: float) -> Tensor:
    probabilities = (1 - share) * softmax(0.8)
    probabilities[0, 5] += share
    probabilities[1, [1, 4]] += share / 2
    return probabilities


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_mixture_with_positives(share: float) -> None:
    sampler = PositiveMixture(SoftmaxSampler(generator(), 0.8), POSITIVES, share)
    assert isinstance(sampler, ListSampler)
    check(sampler, QUERY, mixed(share))


def test_mixture_of_positives_alone() -> None:
    check(PositiveMixture(SoftmaxSampler(generator()), POSITIVES, 1.0), QUERY, mixed(1.0))


def test_mixture_leaves_a_query_without_positives_alone() -> None:
    base = SoftmaxSampler(generator())
    query = torch.tensor([1, 3])
    ours, theirs = PositiveMixture(base, POSITIVES, 0.4).listed(query).log_probs, base.listed(query).log_probs
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(ours[1, 1:].exp(), 0.6 * theirs[1, 1:].exp())
    torch.testing.assert_close(ours[1, 0].exp(), 0.6 * theirs[1, 0].exp() + 0.4)


def test_mixture_over_a_pool_keeps_fillers_out() -> None:
    pool = Relevance.of(torch.tensor([0, 0, 3]), torch.tensor([1, 2, 4]), torch.zeros(3), QUERIES)
    sampler = PositiveMixture(PoolSampler(generator(), pool), POSITIVES, 0.5)
    ids, log_probs = sampler.listed(torch.tensor([0, 3]))
    # the filler of query 3 has number 0, which is its positive; but it is not in the pool
    assert ids[1].tolist() == [4, 0]
    assert log_probs[1].exp().tolist() == [1, 0]
    assert log_probs[0].exp().sum().item() == pytest.approx(1, abs=1e-6)
    assert log_probs[0].exp()[0].item() > 0.5
    assert (sampler.draw(torch.tensor([3]), 500).ids == 4).all()


def test_uniform() -> None:
    sampler = UniformSampler(DOCUMENTS)
    assert isinstance(sampler, CandidateSampler)
    assert not isinstance(sampler, ListSampler)
    check(sampler, QUERY, torch.full((2, DOCUMENTS), 1 / DOCUMENTS))


def test_distinct_draws_are_uniform_subsets_in_any_order() -> None:
    torch.manual_seed(0)
    ids, log_probs = UniformSampler(5, distinct=True).draw(torch.zeros(20_000, dtype=torch.long), 3)
    assert (ids.sort(1).values.diff(dim=1) > 0).all()
    assert torch.allclose(log_probs.exp(), torch.tensor(0.2))
    orders = torch.bincount(ids @ torch.tensor([25, 5, 1]), minlength=125)
    possible = torch.tensor([len({n // 25, n // 5 % 5, n % 5}) == 3 for n in range(125)])
    agrees(orders, possible / possible.sum())


def test_as_many_distinct_draws_as_documents_are_all_of_them() -> None:
    ids, _ = UniformSampler(7, distinct=True).draw(QUERY, 7)
    assert ids.sort(1).values.tolist() == [list(range(7))] * 2
    with pytest.raises(ValueError, match="8 distinct draws of 7 documents"):
        UniformSampler(7, distinct=True).draw(QUERY, 8)


@pytest.mark.parametrize("power", [0.75, 1.0, 0.0])
def test_popularity(power: float) -> None:
    counts = torch.tensor([4.0, 1.0, 9.0, 30.0, 2.0, 9.0])
    weights = counts.double() ** power
    check(PopularitySampler(counts, power), QUERY, (weights / weights.sum()).expand(2, -1))


def test_what_was_never_counted_is_never_drawn() -> None:
    weights = torch.tensor([0.0, 3.0, 0.0, 5.0]).double() ** 0.75
    check(PopularitySampler(torch.tensor([0, 3, 0, 5])), QUERY, (weights / weights.sum()).expand(2, -1))


def test_draws_from_a_list_report_their_own_places() -> None:
    listed = Listed(torch.tensor([[7, 3, 0, 9]]), torch.tensor([[0.5, 0.25, 0.0, 0.25]]).log())
    torch.manual_seed(0)
    ids, log_probs = draw_from(listed, 20_000)
    assert set(ids[0].tolist()) == {7, 3, 9}
    assert set(zip(ids[0].tolist(), log_probs.exp()[0].tolist(), strict=True)) == {(7, 0.5), (3, 0.25), (9, 0.25)}
    agrees(torch.bincount(ids[0], minlength=10)[[7, 3, 9]], torch.tensor([0.5, 0.25, 0.25]))


@pytest.mark.parametrize("row", [[-torch.inf, -torch.inf], [torch.nan, 0.0], [0.0, torch.nan]])
def test_nothing_to_draw(row: list[float]) -> None:
    listed = Listed(torch.tensor([[0, 1], [0, 1]]), torch.tensor([[-0.7, -0.7], row]))
    with pytest.raises(ValueError, match="row 1"):
        draw_from(listed, 3)


def test_a_tail_of_many_documents_is_drawn() -> None:
    # 2^18 documents hold 2^-10 of the mass beside one that holds the rest: each lies below float32's last digit
    log_probs = torch.full((1, 2**18 + 1), -28 * torch.log(torch.tensor(2.0)).item())
    log_probs[0, 0] = torch.log1p(torch.tensor(-(2.0**-10)))
    torch.manual_seed(0)
    ids, _ = draw_from(Listed(torch.arange(2**18 + 1)[None], log_probs), 100_000)
    in_tail = ids[ids > 0]
    agrees(torch.tensor([100_000 - len(in_tail), len(in_tail)]), torch.tensor([1 - 2.0**-10, 2.0**-10]))
    assert len(in_tail) - len(in_tail.unique()) <= 3  # about 98 draws of 2^18: more has probability 1e-8
