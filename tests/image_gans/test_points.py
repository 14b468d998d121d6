import math

import pytest
import torch

from image_gans.points import MIXTURES, grid, origin, ring


def test_the_ring_lies_on_the_unit_circle_evenly() -> None:
    centres = ring().centres
    expected = [(math.cos(math.tau * turn / 8), math.sin(math.tau * turn / 8)) for turn in range(8)]
    torch.testing.assert_close(centres, torch.tensor(expected))
    assert ring().sd == 0.01


def test_the_grid_is_five_by_five_and_two_apart() -> None:
    assert grid().centres.tolist() == [[x, y] for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)]
    assert grid().sd == 0.05


def test_the_origin_is_one_point() -> None:
    points, modes = origin().draw(5, torch.Generator())
    assert points.tolist() == [[0.0]] * 5
    assert modes.tolist() == [0] * 5


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_draws_have_even_modes_and_their_spread(name: str) -> None:
    mixture, rows = MIXTURES[name](), 100_000
    points, modes = mixture.draw(rows, torch.Generator().manual_seed(0))
    count = len(mixture.centres)
    shares = modes.bincount(minlength=count) / rows
    assert (shares - 1 / count).abs().max() < 5 * math.sqrt(1 / count / rows)  # five standard errors
    noise = (points - mixture.centres[modes]) / mixture.sd
    assert noise.mean(0).abs().max() < 5 / math.sqrt(rows)
    torch.testing.assert_close(noise.T.cov(), torch.eye(2), atol=5 * math.sqrt(2 / rows), rtol=0)


def test_draws_depend_on_their_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (ring().draw(9, torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2))
    assert torch.get_rng_state().equal(before)
    assert first.equal(again)
    assert not first.equal(other)
