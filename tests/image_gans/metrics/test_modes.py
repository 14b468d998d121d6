from math import log

import pytest
import torch

from image_gans.metrics.modes import class_modes, from_uniform, modes, stacked_modes

CENTRES = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])


def test_points_of_two_modes_of_four():
    points = torch.tensor([[0.0, 3.0], [0.0, 3.1], [1.0, 0.0], [10.0, 0.0], [4.0, 0.0]])  # good: rows 0, 2 and 3
    found = modes(points, CENTRES, sd=1.0)
    two_to_one = log(4) + (2 * log(2 / 3) + log(1 / 3)) / 3
    assert found == pytest.approx({"modes": 2, "high_quality": 3 / 5, "reverse_kl": two_to_one})


def test_all_modes_evenly_are_no_divergence():
    found = modes(CENTRES.repeat(5, 1), CENTRES, sd=0.1)
    assert found == pytest.approx({"modes": 4, "high_quality": 1, "reverse_kl": 0}, abs=1e-12)


def test_points_nowhere_have_the_worst_divergence():
    found = modes(CENTRES + 5, CENTRES, sd=0.1)
    assert found == pytest.approx({"modes": 0, "high_quality": 0, "reverse_kl": log(4)})


def test_a_gaussian_in_the_plane_has_the_quality_of_three_standard_deviations():
    points = torch.randn(100_000, 2, generator=torch.Generator().manual_seed(0))
    assert modes(points, CENTRES[:1], 1.0)["high_quality"] == pytest.approx(1 - 2.718281828 ** (-4.5), abs=2e-3)


def test_an_average_of_two_modes_is_not_one():
    halfway = (CENTRES[:1] + CENTRES[1:2]) / 2
    assert modes(halfway, CENTRES, sd=1.0)["modes"] == 0


def test_triples_are_counted_once_each():
    found = stacked_modes(torch.tensor([0, 999, 999, 999]))
    assert found == pytest.approx({"modes": 2, "mode_kl": log(1000) + 0.25 * log(0.25) + 0.75 * log(0.75)})
    assert stacked_modes(torch.arange(8), 8) == pytest.approx({"modes": 8, "mode_kl": 0}, abs=1e-12)


def test_real_triples_have_the_divergence_of_chance():
    # 26,000 even draws: the mean of the plug-in estimate is about (modes - 1) / (2 * draws) = .0192
    draws = torch.randint(1000, (26_000,), generator=torch.Generator().manual_seed(0))
    assert stacked_modes(draws)["mode_kl"] == pytest.approx(999 / 52_000, rel=0.15)


def test_a_class_counts_from_a_tenth_of_its_even_share():
    seen = torch.tensor([0] * 18 + [1] * 1 + [2] * 1)
    assert class_modes(seen, 2 + 1)["modes"] == 3
    assert class_modes(torch.tensor([0] * 39 + [1] * 1), 4)["modes"] == 2  # exactly 1 of 40
    assert class_modes(torch.tensor([0] * 40 + [1] * 1), 4)["modes"] == 1
    assert class_modes(torch.arange(4), 4)["class_entropy"] == pytest.approx(log(4))
    assert class_modes(torch.tensor([3, 3]), 4)["class_entropy"] == pytest.approx(0)


def test_an_empty_histogram_is_the_worst():
    assert from_uniform(torch.zeros(5, dtype=torch.int64)) == pytest.approx(log(5))
