"""Hard negatives against a plain loop, the shares that chance takes, and the columns in every format."""

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rl.retrieval import lists
from rl.retrieval.collection import Collection
from rl.retrieval.mining import (
    Filters,
    labeled_lists,
    labeled_pairs,
    mine_hard_negatives,
    n_tuples,
    triplets,
    write_jsonl,
)
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


def collection(train: Relevance, documents: int, *, pool="all", shown: Relevance | None = None) -> Collection:
    nothing = Relevance.nothing(train.queries)
    return Collection(
        "mine", "ratings", train.queries, documents, train, nothing, nothing, shown or nothing, pool,
        query_names=tuple(f"q{query}" for query in range(train.queries)),
        document_names=tuple(f"d{document}" for document in range(documents)),
    )  # fmt: skip


def relevance(*triples: tuple[int, int, float], queries: int = 2) -> Relevance:
    query, ids, grades = zip(*triples, strict=True)
    return Relevance.of(torch.tensor(query), torch.tensor(ids), torch.tensor(grades), queries)


TABLE = torch.tensor([[9.0, 8, 7, 6, 5, 4], [1, 2, 3, 4, 5, 6]])
TINY = collection(relevance((0, 1, 1.0), (0, 4, 1.0), (1, 5, 1.0)), 6)


def mined(*arguments, tiny=TINY, **options):
    found = mine_hard_negatives(Stored(TABLE), tiny, *arguments, **options)
    return {
        (query, positive): [d for d, held in zip(negatives, mask, strict=True) if held]
        for query, positive, negatives, mask in zip(
            found.query.tolist(), found.positive.tolist(), found.negatives.tolist(), found.mask.tolist(), strict=True
        )
    }


def test_the_best_that_are_not_relevant():
    assert mined(2) == {(0, 1): [0, 2], (0, 4): [0, 2], (1, 5): [4, 3]}
    assert mined(9) == {(0, 1): [0, 2, 3, 5], (0, 4): [0, 2, 3, 5], (1, 5): [4, 3, 2, 1, 0]}


def test_filters_one_by_one():
    assert mined(9, filters=Filters(range_min=1, range_max=3)) == {(0, 1): [2, 3], (0, 4): [2, 3], (1, 5): [3, 2]}
    assert mined(9, filters=Filters(max_score=6)) == {(0, 1): [3, 5], (0, 4): [3, 5], (1, 5): [4, 3, 2, 1, 0]}
    assert mined(9, filters=Filters(min_score=5)) == {(0, 1): [0, 2, 3], (0, 4): [0, 2, 3], (1, 5): [4]}
    assert mined(9, filters=Filters(absolute_margin=0)) == {(0, 1): [2, 3, 5], (0, 4): [5], (1, 5): [4, 3, 2, 1, 0]}
    assert mined(9, filters=Filters(absolute_margin=2)) == {(0, 1): [3, 5], (0, 4): [], (1, 5): [3, 2, 1, 0]}
    assert mined(9, filters=Filters(relative_margin=0.5)) == {(0, 1): [5], (0, 4): [], (1, 5): [2, 1, 0]}
    with pytest.raises(ValueError, match=r"no rank lies in range_min 3 .. range_max 3"):
        Filters(range_min=3, range_max=3)


def test_a_relative_margin_is_a_share_of_the_magnitude():
    """A positive at -2 with a margin of .5 wants negatives at -3 or below; one at 0 wants them at 0 or below."""
    limits = Filters(relative_margin=0.5).highest(torch.tensor([-2.0, 0.0, 2.0]))
    assert limits.tolist() == [-3, 0, 1]
    assert Filters().highest(torch.tensor([-2.0, 0.0, 2.0])).tolist() == [math.inf] * 3


def test_only_what_may_be_ranked():
    hidden = collection(relevance((0, 1, 1.0)), 6, shown=relevance((0, 0, 0.0)))
    assert mined(2, tiny=hidden) == {(0, 1): [2, 3]}
    judged = collection(relevance((0, 1, 2.0), (0, 3, 0.0), (0, 5, 0.0), (0, 2, 1.0), (1, 0, 0.0)), 6, pool="judged")
    assert mined(3, tiny=judged) == {(0, 1): [3, 5], (0, 2): [3, 5]}


GRADES = st.lists(st.integers(0, 1), min_size=30, max_size=30).filter(any)
SCORES = st.lists(st.integers(-3, 3), min_size=30, max_size=30)


@given(GRADES, SCORES, st.integers(0, 4), st.integers(1, 6), st.sampled_from([-math.inf, 0.0, 1.0]), st.integers(1, 5))
def test_equal_to_a_plain_loop(grades, scores, first, width, margin, wanted):
    table, marks = torch.tensor(scores).float().view(3, 10), torch.tensor(grades).view(3, 10)
    query, ids = marks.nonzero(as_tuple=True)
    data = collection(Relevance.of(query, ids, torch.ones(len(ids)), 3), 10)
    filters = Filters(range_min=first, range_max=first + width, absolute_margin=margin, max_score=2)
    found = mine_hard_negatives(Stored(table), data, wanted, filters=filters)
    for row, (q, positive) in enumerate(zip(query.tolist(), ids.tolist(), strict=True)):
        others = [d for d in range(10) if not marks[q, d]]
        ranked = sorted(others, key=lambda d: (-table[q, d].item(), -d))[first : first + width]
        passed = [d for d in ranked if table[q, d] <= min(2, table[q, positive] - margin)][:wanted]
        assert (found.query[row], found.positive[row]) == (q, positive)
        assert found.negatives[row][found.mask[row]].tolist() == passed
        assert found.negative_scores[row][found.mask[row]].tolist() == [table[q, d] for d in passed]
        assert found.positive_scores[row] == table[q, positive]
        assert found.negatives.shape == (len(ids), wanted)


def test_random_takes_each_that_passes_alike():
    """2 of 4 negatives, 2,000 seeds: each is taken 1,000 times, 5 standard deviations 112; error rate below 1e-5."""
    times = torch.zeros(6)
    for seed in range(2000):
        found = mine_hard_negatives(Stored(TABLE), TINY, 2, strategy="random", seed=seed)
        assert found.mask[0].all()
        assert found.negative_scores[0, 0] > found.negative_scores[0, 1]
        times[found.negatives[0]] += 1
    assert times[[1, 4]].tolist() == [0, 0]
    assert (times[[0, 2, 3, 5]] - 1000).abs().max() < 112


@pytest.mark.parametrize("strategy", ["top", "random"])
def test_some_queries_at_a_time_change_nothing(strategy, monkeypatch):
    random = torch.Generator().manual_seed(0)
    query, ids = (torch.rand(30, 50, generator=random) < 0.1).nonzero(as_tuple=True)
    data = collection(Relevance.of(query, ids, torch.ones(len(ids)), 30), 50)
    scorer = Stored(torch.randn(30, 50, generator=random))
    options = {"strategy": strategy, "seed": 3, "filters": Filters(range_max=20, absolute_margin=0)}
    whole = mine_hard_negatives(scorer, data, 4, **options)
    monkeypatch.setattr(lists, "CELLS", 200)
    parts = mine_hard_negatives(scorer, data, 4, **options)
    assert torch.equal(whole.negatives, parts.negatives)
    assert torch.equal(whole.mask, parts.mask)


def test_columns(tmp_path):
    few = mine_hard_negatives(Stored(TABLE), TINY, 2, filters=Filters(absolute_margin=0))
    assert list(triplets(few, TINY)) == [
        {"anchor": "q0", "positive": "d1", "negative": "d2"},
        {"anchor": "q0", "positive": "d1", "negative": "d3"},
        {"anchor": "q0", "positive": "d4", "negative": "d5"},
        {"anchor": "q1", "positive": "d5", "negative": "d4"},
        {"anchor": "q1", "positive": "d5", "negative": "d3"},
    ]
    assert list(n_tuples(few, TINY)) == [
        {"anchor": "q0", "positive": "d1", "negative_1": "d2", "negative_2": "d3"},
        {"anchor": "q1", "positive": "d5", "negative_1": "d4", "negative_2": "d3"},
    ]
    assert [tuple(row.values()) for row in labeled_lists(few, TINY)] == [
        ("q0", ["d1", "d2", "d3"], [1, 0, 0]),
        ("q0", ["d4", "d5"], [1, 0]),
        ("q1", ["d5", "d4", "d3"], [1, 0, 0]),
    ]
    fewer = mine_hard_negatives(Stored(TABLE), TINY, 2, filters=Filters(absolute_margin=2))
    assert [row["documents"] for row in labeled_lists(fewer, TINY)] == [["d1", "d3", "d5"], ["d5", "d3", "d2"]]
    pairs = list(labeled_pairs(mine_hard_negatives(Stored(TABLE), TINY, 1), TINY))
    assert [tuple(row.values()) for row in pairs] == [
        ("q0", "d1", 1), ("q0", "d0", 0), ("q0", "d4", 1), ("q1", "d5", 1), ("q1", "d4", 0),
    ]  # fmt: skip
    write_jsonl(tmp_path / "rows.jsonl", n_tuples(few, TINY))
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(n_tuples(few, TINY))


def test_texts_stand_for_names_where_there_are_any(tmp_path):
    spoken = replace(TINY, query_texts=("who ?", "wo?"), document_texts=("a", "b", "c", "d", "é", "f"))
    (row, *_) = triplets(mine_hard_negatives(Stored(TABLE), spoken, 1), spoken)
    assert row == {"anchor": "who ?", "positive": "b", "negative": "a"}
    write_jsonl(tmp_path / "rows.jsonl", triplets(mine_hard_negatives(Stored(TABLE), spoken, 1), spoken))
    assert "é" in (tmp_path / "rows.jsonl").read_text(encoding="utf-8")


def test_datasets_takes_the_rows():
    datasets = pytest.importorskip("datasets")
    found = mine_hard_negatives(Stored(TABLE), TINY, 2)
    rows = datasets.Dataset.from_list(list(n_tuples(found, TINY)))
    assert rows.column_names == ["anchor", "positive", "negative_1", "negative_2"]
    assert len(rows) == 3
    assert datasets.Dataset.from_list(list(labeled_lists(found, TINY)))["labels"][0] == [1, 0, 0]
