import math

import numpy as np
import pytest
import torch

from seqgan.metrics.divergence import area, divergence, quantised, relative_entropy, smoothed


def cloud(rows: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed)) + shift


def test_relative_entropy_by_hand() -> None:
    p, r = np.array([1 / 2, 1 / 2]), np.array([1 / 4, 3 / 4])
    assert relative_entropy(p, r) == pytest.approx(math.log(2) / 2 + math.log(2 / 3) / 2)
    assert relative_entropy(p, p) == 0


def test_smoothed_by_hand() -> None:
    assert smoothed(np.array([3, 0, 0])) == pytest.approx([7 / 9, 1 / 9, 1 / 9])


def test_area_by_fine_integration() -> None:
    """Between points the curve is a straight line, so that far finer mixtures move the area by little."""
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    w = np.linspace(1, 0, 20_001)[:, None]
    r = w * p + (1 - w) * q
    x, y = (np.exp(-5 * (s * np.log(s / r)).sum(1)) for s in (q, p))
    assert x[0] < 0.3
    assert area(p, q) == pytest.approx(x[0] + np.trapezoid(y, x), abs=2e-3)  # left of the curve y is one
    assert area(p, q) == pytest.approx(area(q, p), abs=1e-12)
    assert area(p, p) == pytest.approx(1)


def test_area_falls_with_distance() -> None:
    shares = [area(np.array([0.5, 0.5]), np.array([a, 1 - a])) for a in (0.5, 0.4, 0.2, 0.01, 1e-9)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.35


def test_the_same_cloud_and_others() -> None:
    a = cloud(600, 0)
    assert divergence(a, a) == pytest.approx(1)
    alike, apart, far = (divergence(a, cloud(600, 1, shift)) for shift in (0.0, 0.7, 9.0))
    assert 1 > alike > 0.8 > apart > far > 0
    assert far < 0.1
    assert divergence(a, cloud(600, 1, 0.7)) == apart


def test_a_missing_mode_costs() -> None:
    both = torch.cat([cloud(300, 0), cloud(300, 1, 9.0)])
    assert divergence(cloud(600, 2), both) < 0.8 < divergence(torch.cat([cloud(300, 2), cloud(300, 3, 9.0)]), both)


def test_clusters() -> None:
    rows = np.concatenate([cloud(100, 0).numpy(), cloud(100, 1, 20.0).numpy()])
    labels = quantised(rows, 20)
    assert len(set(labels[:100])) == len(set(labels[100:])) == 1
    assert labels[0] != labels[-1]
    assert quantised(rows, 100).max() == 9  # one for ten of the smaller set
    assert quantised(np.zeros((40, 3)), 40).max() == 0  # nothing to tell apart
