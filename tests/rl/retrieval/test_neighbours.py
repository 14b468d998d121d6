"""Lists of the best documents: against a plain sort, as old as their refresh, and drawn from as they say."""

import pytest
import torch
from torch import Tensor

from rl.retrieval.candidates import CandidateSampler, ListSampler
from rl.retrieval.neighbours import NeighbourSampler, TopSampler, top_lists
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors, ItemBias
from tests.rl.retrieval.chi_squared import check

QUERIES, DOCUMENTS = 130, 6  # more queries than are ranked at once
QUERY = torch.tensor([129, 1])
EXCLUDED = Relevance.of(torch.tensor([1, 1, 129, 5]), torch.tensor([0, 3, 5, 2]), torch.zeros(4), QUERIES)
NOTHING = Relevance.nothing(QUERIES)


def scorer(seed: int = 6) -> Factors:
    torch.manual_seed(seed)
    factors = Factors(QUERIES, DOCUMENTS, 3)
    for weight in factors.parameters():
        torch.nn.init.normal_(weight, std=0.7)
    return factors


def ranked(factors: Factors, query: int) -> list[int]:
    hidden = set(EXCLUDED.padded(torch.tensor([query]))[0][0].tolist()) if int(EXCLUDED.counts[query]) else set()
    scores = factors.score_all(torch.tensor([query]))[0].tolist()
    return sorted(set(range(DOCUMENTS)) - hidden, key=lambda document: -scores[document])


@pytest.mark.parametrize("k", [1, 3, 4])
def test_lists_are_the_best_of_what_is_left(k: int) -> None:
    factors = scorer()
    lists = top_lists(factors, k, EXCLUDED)
    assert lists.ids.shape == (QUERIES, k)
    for query in (0, 1, 2, 5, 63, 64, 128, 129):
        expected = ranked(factors, query)[:k]
        assert lists.ids[query].tolist() == expected
        ids = torch.tensor([expected])
        torch.testing.assert_close(lists.scores[query], factors.score(torch.tensor([query]), ids)[0].detach())
    assert not lists.scores.requires_grad


def test_too_few_are_left() -> None:
    factors = scorer()
    lists = top_lists(factors, 99, EXCLUDED)
    assert lists.ids.shape == (QUERIES, DOCUMENTS)
    assert lists.ids[1].tolist() == [*ranked(factors, 1), 0, 0]
    assert lists.scores[1, 4:].tolist() == [-torch.inf] * 2
    ids, log_probs = TopSampler(factors, 99, EXCLUDED).listed(torch.tensor([1]))
    assert ids[0].tolist() == [*ranked(factors, 1), 0, 0]
    assert log_probs.exp()[0].tolist() == [0.25, 0.25, 0.25, 0.25, 0, 0]


def of_top(factors: Factors, k: int, temperature: float, excluding: bool) -> Tensor:
    probabilities = torch.zeros(2, DOCUMENTS, dtype=torch.float64)
    for row, query in enumerate(QUERY.tolist()):
        kept = (ranked(factors, query) if excluding else plainly_ranked(factors, query))[:k]
        scores = factors.score(torch.tensor([query]), torch.tensor([kept]))[0].double().detach()
        weights = (scores / temperature).exp() if temperature < torch.inf else torch.ones(len(kept)).double()
        probabilities[row, kept] = weights / weights.sum()
    return probabilities


def plainly_ranked(factors: Factors, query: int) -> list[int]:
    return factors.score_all(torch.tensor([query]))[0].argsort(descending=True).tolist()


@pytest.mark.parametrize(("k", "temperature"), [(3, torch.inf), (6, torch.inf), (4, 0.7)])
def test_draws_from_the_top(k: int, temperature: float) -> None:
    factors = scorer()
    sampler = TopSampler(factors, k, EXCLUDED, temperature)
    assert isinstance(sampler, ListSampler)
    check(sampler, QUERY, of_top(factors, k, temperature, excluding=True))


@pytest.mark.parametrize(("k", "share", "temperature"), [(2, 0.5, 1.0), (6, 0.1, 0.5), (3, 1.0, 1.0), (3, 0.0, 2.0)])
def test_draws_near_and_anywhere(k: int, share: float, temperature: float) -> None:
    factors = scorer()
    sampler = NeighbourSampler(factors, k, QUERIES, DOCUMENTS, share, temperature)
    assert isinstance(sampler, CandidateSampler)
    near = of_top(factors, k, temperature, excluding=False)
    check(sampler, QUERY, (1 - share) * near + share / DOCUMENTS)


@pytest.mark.parametrize("near", [True, False])
def test_lists_are_as_old_as_their_refresh(near: bool) -> None:
    factors = scorer()
    sampler = NeighbourSampler(factors, 3, QUERIES, DOCUMENTS, 0.2) if near else TopSampler(factors, 3, EXCLUDED)

    def drawn() -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        return sampler.draw(QUERY, 50)

    before, old = drawn(), sampler.state_dict()
    factors.load_state_dict(scorer(7).state_dict())
    torch.testing.assert_close(drawn(), before, rtol=0, atol=0)
    sampler.refresh()
    after = drawn()
    assert not torch.equal(after[0], before[0])
    sampler.load_state_dict(old)
    torch.testing.assert_close(drawn(), before, rtol=0, atol=0)


def test_scores_that_are_one_row_repeated() -> None:
    bias = ItemBias(4)
    bias.load_state_dict({"bias": torch.tensor([0.0, 3.0, 1.0, 2.0])})
    lists = top_lists(bias, 2, Relevance.of(torch.tensor([1]), torch.tensor([3]), torch.ones(1), 2))
    assert lists.ids.tolist() == [[1, 3], [1, 2]]
