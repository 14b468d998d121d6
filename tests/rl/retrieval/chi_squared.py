"""Whether draws have the probabilities that they say they have.

A right sampler fails one comparison with probability ERROR at a fresh seed; `check` makes at most 5. Seeds are fixed.
"""

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from rl.retrieval.candidates import CandidateSampler

ERROR = 1e-4
DRAWS = 20_000


def agrees(counts: Tensor, probabilities: Tensor) -> None:
    """Pearson's test of counts against a distribution; what has no probability must not occur."""
    possible = probabilities > 0
    assert not counts[~possible].any(), "drawn against all odds"
    expected = probabilities[possible].double() * counts.sum()
    assert expected.min() >= 5, "too few draws for the test"
    statistic = ((counts[possible] - expected).square() / expected).sum().item()
    freedom = int(possible.sum()) - 1
    assert freedom == 0 or chi2.sf(statistic, freedom) > ERROR, (statistic, freedom)


def agrees_with_rare(counts: Tensor, probabilities: Tensor) -> None:
    """Pearson's test where what is rare counts as one place."""
    rare = probabilities * counts.sum() < 10
    agrees(
        torch.cat([counts[~rare], counts[rare].sum()[None]]),
        torch.cat([probabilities[~rare], probabilities[rare].sum()[None]]),
    )


def check(sampler: CandidateSampler, query: Tensor, probabilities: Tensor) -> None:
    """Check two rows of draws against probabilities [2 documents]: their counts, what they report of themselves.

    What is reported must sum to one over the documents; draws of one row, and of two rows, must be independent.
    """
    documents = probabilities.shape[1]
    assert len(query) == len(probabilities) == 2
    torch.manual_seed(0)
    ids, log_probs = sampler.draw(query, DRAWS)
    assert ids.shape == log_probs.shape == (2, DRAWS)
    assert not log_probs.requires_grad
    torch.testing.assert_close(log_probs.exp().double(), probabilities.double().gather(1, ids), rtol=1e-5, atol=0)
    for row, reported, expected in zip(ids, log_probs, probabilities, strict=True):
        agrees(torch.bincount(row, minlength=documents), expected)
        total = torch.zeros(documents).scatter(0, row, reported.exp()).sum().item()
        assert total == pytest.approx(1, abs=1e-5)
    for first, second, p, q in (
        (ids[0, ::2], ids[0, 1::2], probabilities[0], probabilities[0]),
        (ids[1, ::2], ids[1, 1::2], probabilities[1], probabilities[1]),
        (ids[0], ids[1], probabilities[0], probabilities[1]),
    ):
        joint = torch.outer(p.double(), q.double()).flatten()
        agrees_with_rare(torch.bincount(first * documents + second, minlength=documents**2), joint)
