"""What is ranked, by whom, over which queries; and the published weights of IRGAN."""

import math

import pytest
import torch
from torch import nn

from rl.retrieval import evaluation, lists
from rl.retrieval.collection import Collection
from rl.retrieval.relevance import Relevance


class Stored(nn.Module):
    """Scores from a table."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)

    def score(self, query, ids):
        return self.table[query[:, None], ids]

    def score_all(self, query):
        return self.table[query]


def relevance(*triples: tuple[int, int, float], queries: int = 3) -> Relevance:
    query, ids, grades = zip(*triples, strict=True) if triples else ((), (), ())
    return Relevance.of(
        torch.tensor(query, dtype=torch.long),
        torch.tensor(ids, dtype=torch.long),
        torch.tensor(grades, dtype=torch.float),
        queries,
    )


def collection(pool="all") -> Collection:
    train = relevance((0, 0, 1), (0, 1, 0), (2, 3, 1))
    valid, test = relevance((0, 2, 1)), relevance((0, 3, 2), (0, 4, 0), (1, 0, 0), (2, 1, 1), (2, 4, 1), (2, 0, 0))
    names = (("ann", "bob", "cy"), tuple("abcde"))
    return Collection(
        "tiny", "letor", 3, 5, train, valid, test, relevance(), pool, query_names=names[0], document_names=names[1]
    )


TABLE = torch.tensor([[9.0, 8, 7, 6, 5], [1, 2, 3, 4, 5], [5, 4, 3, 9, 1]])


def test_the_whole_pool_but_the_known_positives():
    """Query 0 ranks 1 3 4 (0 and 2 are known), query 2 ranks 0 1 2 4 (3 is known); query 1 has nothing to find."""
    measured = evaluation.evaluate(Stored(TABLE), collection(), "test", cutoffs=(1, 2))
    assert measured["p@2"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert measured["mrr"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert measured["map"] == pytest.approx((1 / 2 + (1 / 2 + 2 / 4) / 2) / 2)
    assert measured["ndcg_graded@2"] == pytest.approx(
        (1 / math.log2(3) + 1 / math.log2(3) / (1 + 1 / math.log2(3))) / 2
    )
    assert (measured["coverage@1"], measured["coverage@2"]) == (pytest.approx(2 / 5), pytest.approx(3 / 5))
    assert evaluation.evaluate(Stored(TABLE), collection(), "valid")["mrr"] == pytest.approx(1 / 2)  # behind 1
    assert evaluation.evaluate(Stored(TABLE), collection(), "train")["mrr"] == pytest.approx(1)


def test_only_the_judged():
    """Query 0 ranks 3 4, query 2 ranks 0 1 4."""
    measured = evaluation.evaluate(Stored(TABLE), collection("judged"), "test", cutoffs=(1,))
    assert measured["mrr"] == pytest.approx((1 + 1 / 2) / 2)
    assert measured["map"] == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
    assert measured["coverage@1"] == pytest.approx(2 / 5)


def test_per_query_and_rankings():
    found = evaluation.per_query(Stored(TABLE), collection(), "test")
    assert found["map"].tolist() == pytest.approx([1 / 2, 1 / 2])
    assert not found["map"].requires_grad
    best = evaluation.rankings(Stored(TABLE), collection(), "test", 4)
    assert best.query.tolist() == [0, 2]
    assert best.ids[0, :3].tolist() == [1, 3, 4]
    assert best.ids[1].tolist() == [0, 1, 2, 4]
    assert best.mask.tolist() == [[True, True, True, False], [True] * 4]
    assert best.scores[1].tolist() == [5, 4, 3, 1]
    short = evaluation.rankings(Stored(TABLE), collection("judged"), "test", 9)
    assert short.ids[short.mask].tolist() == [3, 4, 0, 1, 4]


@pytest.mark.parametrize("pool", ["all", "judged"])
def test_some_queries_at_a_time_change_nothing(pool, monkeypatch):
    random = torch.Generator().manual_seed(0)
    query, ids = torch.cartesian_prod(torch.arange(40), torch.arange(30))[torch.rand(1200, generator=random) < 0.3].T
    test = Relevance.of(query, ids, torch.randint(0, 3, query.shape, generator=random).float(), 40)
    nothing = Relevance.nothing(40)
    tiny = Collection("random", "letor", 40, 30, nothing, nothing, test, nothing, pool)
    scorer = Stored(torch.randint(0, 9, (40, 30), generator=random).float())
    whole = evaluation.evaluate(scorer, tiny, "test"), evaluation.rankings(scorer, tiny, "test", 12)
    monkeypatch.setattr(lists, "CELLS", 70)
    assert evaluation.evaluate(scorer, tiny, "test") == pytest.approx(whole[0], rel=1e-6)
    again = evaluation.rankings(scorer, tiny, "test", 12)
    assert all(torch.equal(a[again.mask], b[whole[1].mask]) for a, b in zip(again[1:3], whole[1][1:3], strict=True))


def test_a_stored_run_is_measured_as_its_scorer():
    everything = relevance(*[(q, d, TABLE[q, d].item()) for q in range(3) for d in range(5)])
    known = collection().known("test")
    run = everything.only(~known.holds(everything.query, everything.ids))
    expected = evaluation.evaluate(Stored(TABLE), collection(), "test")
    assert evaluation.evaluate_run(run, collection(), "test") == pytest.approx(expected)


def test_what_a_run_lacks_was_not_found():
    """Query 0 was not ranked at all; query 2 found document 4 behind 2, and never 1."""
    measured = evaluation.evaluate_run(relevance((2, 2, 0.5), (2, 4, -1.0)), collection(), "test", cutoffs=(1,))
    assert measured["map"] == pytest.approx((1 / 2) / 2 / 2)
    assert measured["recall@1"] == 0
    assert measured["coverage@1"] == pytest.approx(1 / 5)


def test_nan_names_query_and_document():
    table = TABLE.clone()
    table[2, 2] = table[0, 0] = float("nan")  # document 0 is known to query 0: nobody looks at its score
    with pytest.raises(ValueError, match=r"^tiny: the score of query cy, document c is NaN$"):
        evaluation.evaluate(Stored(table), collection(), "test")
    assert evaluation.evaluate(Stored(table), collection("judged"), "test")["mrr"] > 0


def test_nothing_to_find():
    nothing = Relevance.nothing(3)
    empty = Collection("bare", "ratings", 3, 5, nothing, nothing, relevance((0, 1, 0)), nothing, "all")
    with pytest.raises(ValueError, match=r"^bare: no query of the split 'test' has a relevant document$"):
        evaluation.evaluate(Stored(TABLE), empty, "test")
