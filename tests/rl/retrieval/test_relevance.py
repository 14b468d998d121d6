"""Judgements in compressed rows: against dictionaries, and by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.retrieval.relevance import Relevance

PAIRS = st.dictionaries(st.tuples(st.integers(0, 5), st.integers(0, 8)), st.integers(0, 3), max_size=40)


def table(pairs: dict[tuple[int, int], int], queries: int = 6) -> Relevance:
    query = torch.tensor([q for q, _ in pairs], dtype=torch.long)
    ids = torch.tensor([d for _, d in pairs], dtype=torch.long)
    return Relevance.of(query, ids, torch.tensor(list(pairs.values())).float(), queries)


def pairs_of(relevance: Relevance) -> dict[tuple[int, int], float]:
    triples = zip(relevance.query.tolist(), relevance.ids.tolist(), relevance.grades.tolist(), strict=True)
    return {(q, d): g for q, d, g in triples}


def test_by_hand():
    given = Relevance.of(torch.tensor([2, 0, 2]), torch.tensor([5, 1, 3]), torch.tensor([1.0, 0.0, 2.0]), 4)
    assert given.offsets.tolist() == [0, 1, 1, 3, 3]
    assert given.ids.tolist() == [1, 3, 5]
    assert given.grades.tolist() == [0, 2, 1]
    assert given.query.tolist() == [0, 2, 2]
    assert given.counts.tolist() == [1, 0, 2, 0]
    assert given.answered.tolist() == [2]
    assert (len(given), given.queries) == (3, 4)
    ids, mask = given.padded(torch.tensor([3, 2, 0]))
    assert ids.tolist() == [[0, 0], [3, 5], [1, 0]]
    assert mask.tolist() == [[False, False], [True, True], [True, False]]
    assert given.dense(torch.tensor([2, 1]), 6).tolist() == [[0, 0, 0, 2, 0, 1], [0] * 6]


@given(PAIRS)
def test_a_table_is_its_pairs(pairs):
    relevance = table(pairs)
    assert pairs_of(relevance) == pairs
    assert list(pairs_of(relevance)) == sorted(pairs)
    assert pairs_of(relevance.positive) == {pair: grade for pair, grade in pairs.items() if grade > 0}
    assert relevance.answered.tolist() == sorted({q for (q, _), grade in pairs.items() if grade > 0})
    dense = relevance.dense(torch.arange(6), 9)
    assert all(dense[q, d] == pairs.get((q, d), 0) for q in range(6) for d in range(9))
    marked = relevance.marked(torch.tensor([5, 0, 5, 2]), 9).nonzero().tolist()
    assert marked == [[row, d] for row, q in enumerate((5, 0, 5, 2)) for d in range(9) if (q, d) in pairs]
    everything = torch.cartesian_prod(torch.arange(6), torch.arange(12))
    held = relevance.holds(everything[:, 0], everything[:, 1]).tolist()
    assert held == [(q, d) in pairs for q, d in everything.tolist()]


@given(PAIRS, PAIRS)
def test_union_keeps_the_first_grade(first, second):
    assert pairs_of(table(first).union(table(second))) == second | first


@given(PAIRS, st.floats(0, 1), st.integers(0, 3))
def test_hold_out_parts_each_query(pairs, share, seed):
    whole = table(pairs)
    kept, held = whole.hold_out(share, seed)
    assert pairs_of(kept) | pairs_of(held) == pairs
    assert len(kept) + len(held) == len(pairs)
    for count, kept_count, held_count in zip(*(t.counts.tolist() for t in (whole, kept, held)), strict=True):
        assert kept_count >= min(count, 1)
        assert held_count == min(int(count * share + 0.5), max(count - 1, 0))
    again, _ = whole.hold_out(share, seed)
    assert pairs_of(again) == pairs_of(kept)


def test_hold_out_is_by_chance_alone():
    """Each of 10 documents is held in 200 of 1,000 seeds: 5 standard deviations are 63; error rate below 1e-5."""
    one = Relevance.of(torch.zeros(10).long(), torch.arange(10), torch.ones(10), 1)
    times = sum(one.hold_out(0.2, seed)[1].dense(torch.tensor([0]), 10)[0] for seed in range(1000))
    assert ((times - 200).abs() < 63).all()


def test_hold_out_queries_parts_no_query():
    whole = table({(q, d): 1 for q in (0, 1, 2, 3, 5) for d in range(q + 1)})
    kept, held = whole.hold_out_queries(0.4, 0)
    assert ((kept.counts == 0) | (held.counts == 0)).all()
    assert (held.counts > 0).sum() == 2
    assert pairs_of(kept) | pairs_of(held) == pairs_of(whole)


def test_nothing():
    nothing = Relevance.nothing(3)
    assert (len(nothing), nothing.queries, nothing.counts.tolist()) == (0, 3, [0, 0, 0])
    assert nothing.padded(torch.tensor([0, 2]))[0].shape == (2, 0)
    assert nothing.dense(torch.tensor([1]), 4).tolist() == [[0] * 4]
    assert nothing.answered.tolist() == []
    assert not nothing.holds(torch.tensor([0]), torch.tensor([0])).any()
    assert [len(part) for part in nothing.hold_out(0.5, 0)] == [0, 0]
    assert len(nothing.union(nothing)) == 0


@pytest.mark.parametrize(
    ("query", "ids", "message"),
    [
        ([0, 4], [1, 1], "queries must lie in 0..3"),
        ([0, -1], [1, 1], "queries must lie"),
        ([0, 1], [1, -1], "ids from 0"),
        ([1, 1], [2, 2], "stands twice"),
        ([1], [2, 2], "one of each"),
    ],
)
def test_what_is_wrong(query, ids, message):
    with pytest.raises(ValueError, match=message):
        Relevance.of(torch.tensor(query), torch.tensor(ids), torch.ones(len(ids)), 4)
    with pytest.raises(ValueError, match=r"3 queries and 4"):
        Relevance.nothing(3).union(Relevance.nothing(4))
