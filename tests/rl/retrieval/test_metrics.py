"""Metrics by hand, under ties and masks, and against ir-measures on ten thousand rankings."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.retrieval import metrics

ALL = torch.ones(1, 6, dtype=torch.bool)


def measure(scores, grades, among=ALL, ties="higher_id", cutoffs=(1, 2, 3)):
    values = metrics.of_scores(torch.tensor([scores]), torch.tensor([grades]).float(), among, cutoffs, ties)
    return {name: value.item() for name, value in values.items()}


def test_by_hand():
    """Columns from the best: 3 (grade 0), 1 (2), 0 (0), 4 (1), 2 (0), 5 (1)."""
    measured = measure([0.4, 0.8, 0.1, 0.9, 0.3, 0.0], [0, 2, 0, 0, 1, 1])
    discount = [1 / math.log2(rank + 1) for rank in (1, 2, 3)]
    expected = {
        "p@1": 0,
        "p@2": 1 / 2,
        "p@3": 1 / 3,
        "recall@1": 0,
        "recall@2": 1 / 3,
        "recall@3": 1 / 3,
        "hit@1": 0,
        "hit@2": 1,
        "hit@3": 1,
        "ndcg@1": 0,
        "ndcg@2": discount[1] / sum(discount[:2]),
        "ndcg@3": discount[1] / sum(discount),
        "ndcg_graded@1": 0,
        "ndcg_graded@2": 3 * discount[1] / (3 * discount[0] + discount[1]),
        "ndcg_graded@3": 3 * discount[1] / (3 * discount[0] + discount[1] + discount[2]),
        "map": (1 / 2 + 2 / 4 + 3 / 6) / 3,
        "mrr": 1 / 2,
    }
    assert measured == pytest.approx(expected)


def test_the_best_ranking_scores_one():
    measured = measure([5.0, 4.0, 3.0, 2.0, 1.0, 0.0], [3, 2, 1, 0, 0, 0])
    assert {name: value for name, value in measured.items() if value != 1} == {
        "recall@1": pytest.approx(1 / 3),
        "recall@2": pytest.approx(2 / 3),
    }


def test_a_query_without_a_positive_scores_zero():
    assert set(measure([5.0, 4.0, 3.0, 2.0, 1.0, 0.0], [0] * 6).values()) == {0}


def test_what_is_no_candidate_is_not_ranked_yet_a_positive_there_counts_as_missed():
    among = torch.tensor([[False, True, True, True, False, True]])
    measured = measure([9.0, 1.0, 2.0, 0.0, float("nan"), -math.inf], [1, 1, 0, 0, 1, 0], among)
    assert (measured["p@1"], measured["p@2"], measured["mrr"]) == (0, 0.5, 0.5)
    assert measured["recall@3"] == pytest.approx(1 / 3)
    assert measured["map"] == pytest.approx(1 / 2 / 3)
    assert measured["ndcg@2"] == pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3)))


def test_fewer_documents_than_the_cutoff():
    few = torch.tensor([[True, True, False, False, False, False]])
    measured = measure([1.0, 0.0, 9.0, 9.0, 9.0, 9.0], [1, 0, 0, 0, 0, 0], few, cutoffs=(5, 50))
    assert (measured["p@5"], measured["p@50"]) == (pytest.approx(1 / 5), pytest.approx(1 / 50))
    assert measured["ndcg@5"] == measured["ndcg@50"] == measured["recall@5"] == 1


@pytest.mark.parametrize(
    ("ties", "columns"),
    [("higher_id", [5, 4, 3, 0, 2, 1]), ("lower_id", [5, 0, 3, 4, 1, 2]), ("last", [5, 3, 0, 4, 2, 1])],
)
def test_ties(ties, columns):
    """Columns 0, 3, 4 share a score, -0.0 is 0.0; the worst case puts grade 2 (column 4) behind the others."""
    scores, grades = torch.tensor([[0.0, -3.0, -3.0, -0.0, 0.0, 7.0]]), torch.tensor([[1.0, 1, 0, 0, 2, 0]])
    ranking = metrics.rank(scores, grades, ALL, ties)
    assert ranking.columns.tolist() == [columns]
    assert ranking.candidates.tolist() == [6]


SCORES = st.lists(
    st.sampled_from([-math.inf, -2.5, -1e-30, -0.0, 0.0, 1e-40, 0.5, 3e38, math.inf]), min_size=6, max_size=6
)
MARKS = st.lists(st.booleans(), min_size=6, max_size=6)


@given(SCORES, st.lists(st.integers(0, 2), min_size=6, max_size=6), MARKS)
def test_rank_is_python_s_sort(scores, grades, marks):
    sign = {"higher_id": -1, "lower_id": 1}
    among = torch.tensor([marks])
    wanted = [column for column in range(6) if marks[column]]
    for ties, direction in sign.items():
        ranking = metrics.rank(torch.tensor([scores]), torch.tensor([grades]).float(), among, ties)
        first = ranking.columns[0, : len(wanted)].tolist()
        assert first == sorted(wanted, key=lambda column: (-scores[column], direction * column))
        assert sorted(ranking.columns[0].tolist()) == list(range(6))
        assert ranking.candidates.item() == len(wanted)
    worst = metrics.rank(torch.tensor([scores]), torch.tensor([grades]).float(), among, "last")
    by_grade = sorted(wanted, key=lambda column: (-scores[column], grades[column], -column))
    assert worst.columns[0, : len(wanted)].tolist() == by_grade


def test_a_monotone_change_of_scores_and_an_order_of_queries_change_nothing():
    random = torch.Generator().manual_seed(0)
    scores, grades = torch.randn(7, 40, generator=random), torch.randint(0, 3, (7, 40), generator=random).float()
    among = torch.rand(7, 40, generator=random) < 0.8
    plain = metrics.of_scores(scores, grades, among)
    for name, value in metrics.of_scores(scores.double().exp() + 3, grades, among).items():
        assert torch.equal(value, plain[name])
    order = torch.randperm(7, generator=random)
    for name, value in metrics.of_scores(scores[order], grades[order], among[order]).items():
        assert torch.equal(value, plain[name][order])
    alone = [metrics.of_scores(scores[[q]], grades[[q]], among[[q]]) for q in range(7)]
    assert all(alone[q][name].item() == value[q] for name, value in plain.items() for q in range(7))


def test_nan_among_candidates_is_named():
    scores = torch.zeros(3, 6)
    scores[1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"^the score of query 1, document 2 is NaN$"):
        metrics.rank(scores, scores, ALL.expand(3, -1))


def test_too_many_documents_are_refused():
    scores = torch.zeros(1, 1).expand(1, 1 << 24)
    with pytest.raises(ValueError, match="16777216 documents: at most 16777215"):
        metrics.rank(scores, scores, scores == 0)


def test_covered():
    ids, candidates = torch.tensor([[4, 2, 7], [2, 0, 1]]), torch.tensor([3, 1])
    assert metrics.covered(ids, candidates, 8).nonzero().flatten().tolist() == [2, 4, 7]


def named(values: torch.Tensor, marks: torch.Tensor, names: list[str]) -> dict[str, dict[str, float]]:
    rows = enumerate(zip(values.tolist(), marks.tolist(), strict=True))
    return {str(q): {d: v for d, v, held in zip(names, row, kept, strict=True) if held} for q, (row, kept) in rows}


def test_equal_to_ir_measures_on_ten_thousand_rankings():
    ir = pytest.importorskip("ir_measures")
    rankings, documents, cutoffs = 10_000, 15, (1, 3, 5, 10, 20)
    random = torch.Generator().manual_seed(1)
    scores = torch.randint(-4, 5, (rankings, documents), generator=random).float()  # many ties
    scores[::2] = torch.randn(rankings // 2, documents, generator=random)
    grades = torch.randint(-3, 4, (rankings, documents), generator=random).clamp(min=0)
    judged = (grades > 0) | (torch.rand(grades.shape, generator=random) < 0.3)
    among = torch.rand(scores.shape, generator=random) < 0.7
    among[:, 0], judged[:, 0] = True, True
    names = [f"d{document:02d}" for document in range(documents)]  # trec_eval: among equals the higher name first
    qrels = named(grades, judged, names)
    run = named(scores, among, names)
    theirs = {"map": ir.AP, "mrr": ir.RR}
    for k in cutoffs:
        theirs |= {f"p@{k}": ir.P @ k, f"recall@{k}": ir.R @ k, f"hit@{k}": ir.Success @ k}
        theirs[f"ndcg@{k}"] = ir.nDCG(gains={1: 1, 2: 1, 3: 1}) @ k
        theirs[f"ndcg_graded@{k}"] = ir.nDCG(gains={1: 1, 2: 3, 3: 7}) @ k
    ours = metrics.of_scores(scores, grades.float(), among, cutoffs)
    assert set(ours) == set(theirs)
    name_of = {str(measure): name for name, measure in theirs.items()}
    expected = {name: torch.full((rankings,), torch.nan) for name in theirs}
    for found in ir.iter_calc(list(theirs.values()), qrels, run):
        expected[name_of[str(found.measure)]][int(found.query_id)] = found.value
    answered = (grades > 0).any(1)
    for name, values in ours.items():
        torch.testing.assert_close(values[answered], expected[name][answered], rtol=0, atol=2e-6, msg=name)
        assert not values[~answered].any()
