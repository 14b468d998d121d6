"""The catalogue of our own making: its shape, its seed, and that taste can be learned from it."""

import torch
from torch import nn

from rl.retrieval.evaluation import evaluate
from rl.retrieval.synthetic import synthetic, without_replacement


class Stored(nn.Module):
    """Scores from a table."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)

    def score(self, query, ids):
        return self.table[query[:, None], ids]

    def score_all(self, query):
        return self.table[query]


def test_shape_and_seed():
    made = synthetic(3, queries=50, documents=90, positives=20)
    assert (made.queries, made.documents, made.pool) == (50, 90, "all")
    counts = made.train.counts + made.valid.counts + made.test.counts
    assert (int(counts.min()) >= 10, int(counts.max()) <= 30) == (True, True)
    assert 17 < counts.float().mean() < 23
    assert len(made.test.answered) == len(made.valid.answered) == 50
    assert not made.train.holds(made.test.query, made.test.ids).any()
    assert not made.known("test").holds(made.test.query, made.test.ids).any()
    same, other = (synthetic(seed, queries=50, documents=90, positives=20) for seed in (3, 4))
    assert torch.equal(same.train.ids, made.train.ids)
    assert not torch.equal(other.train.offsets, made.train.offsets)


def test_popularity_helps_and_neighbours_help_more():
    made = synthetic()
    seen = made.train.dense(torch.arange(made.queries), made.documents)
    chance = evaluate(Stored(torch.rand(seen.shape, generator=torch.Generator().manual_seed(0))), made, "test")["p@5"]
    popularity = evaluate(Stored(seen.sum(0).expand_as(seen).clone()), made, "test")["p@5"]
    neighbours = evaluate(Stored(seen @ seen.T @ seen), made, "test")["p@5"]
    assert chance < 0.05
    assert popularity > 2 * chance
    assert neighbours > 1.3 * popularity


def test_without_taste_or_popularity_all_are_alike():
    """18,000 draws over 100 documents: 5 standard deviations of 180 are 61; error rate below 1e-4."""
    made = synthetic(popularity=0, taste=0, queries=600, documents=100, positives=30)
    times = sum(part.ids.bincount(minlength=100) for part in (made.train, made.valid, made.test))
    assert (times - times.float().mean()).abs().max() < 61


def test_draws_without_replacement_follow_the_odds():
    """Odds 1 : 2 : 4, two of three drawn: a row lacks document d with a probability enumerated by hand.

    {0, 1} is drawn as 1/7 2/6 + 2/7 1/5, {0, 2} as 1/7 4/6 + 4/7 1/3, the rest {1, 2}. 40,000 rows, 5 standard
    deviations below 500; error rate below 1e-5.
    """
    odds = torch.tensor([1.0, 2, 4]).log().expand(40_000, 3)
    marks = without_replacement(odds, torch.full((40_000,), 2), torch.Generator().manual_seed(0))
    assert (marks.sum(1) == 2).all()
    lacking = [1 - 2 / 42 - 2 / 35 - 4 / 42 - 4 / 21, 4 / 42 + 4 / 21, 2 / 42 + 2 / 35]
    assert ((~marks).sum(0) - 40_000 * torch.tensor(lacking)).abs().max() < 500
