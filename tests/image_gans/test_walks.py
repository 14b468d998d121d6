import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from image_gans.samples import Pair
from image_gans.walks import lerp, slerp, truncated_normal, walk

CPU = torch.device("cpu")


def test_no_number_lies_beyond_the_bound_and_the_rest_is_normal() -> None:
    torch.manual_seed(0)
    noise = truncated_normal(4_000, 10, 0.5, CPU)
    assert noise.shape == (4_000, 10)
    assert noise.abs().max() <= 0.5
    # the variance of a normal cut at b: 1 - 2 b phi(b) / (2 Phi(b) - 1); its spread over 40,000 draws is below 4e-4
    density, mass = math.exp(-0.125) / math.sqrt(2 * math.pi), math.erf(0.5 / math.sqrt(2))
    assert abs(noise.var().item() - (1 - density / mass)) < 2e-3
    assert abs(noise.mean().item()) < 6e-3


def test_a_far_bound_draws_as_without_one() -> None:
    torch.manual_seed(1)
    free = torch.randn(64, 8)
    torch.manual_seed(1)
    assert_close(truncated_normal(64, 8, 10.0, CPU), free, rtol=0, atol=0)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan])
def test_a_bound_that_is_not_positive_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        truncated_normal(2, 2, bound, CPU)


def test_a_quarter_circle_by_hand() -> None:
    start, end = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    third = slerp(start, end, torch.tensor([1 / 3]))
    assert_close(third, torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)]))
    assert_close(lerp(start, end, torch.tensor([0.25])), torch.tensor([0.75, 0.25]))


@given(st.integers(0, 100), st.floats(0, 1))
def test_slerp_keeps_the_length_and_is_symmetric(seed: int, share: float) -> None:
    random = torch.Generator().manual_seed(seed)
    start, end = torch.nn.functional.normalize(torch.randn(2, 6, generator=random, dtype=torch.float64))
    at = torch.tensor([share], dtype=torch.float64)
    assert_close(slerp(start, end, at).norm(), torch.ones((), dtype=torch.float64))
    assert_close(slerp(start, end, at), slerp(end, start, 1 - at))


@pytest.mark.parametrize("end", [torch.tensor([2.0, 4.0]), torch.tensor([-1.0, -2.0])])
def test_slerp_is_finite_where_there_is_no_circle(end: Tensor) -> None:
    start = torch.tensor([1.0, 2.0])
    assert_close(slerp(start, end, torch.tensor([0.25])), 0.75 * start + 0.25 * end)


def test_a_walk_goes_row_by_row_and_keeps_the_class() -> None:
    start = Pair(torch.randn(2, 3), torch.tensor([7, 8]))
    end = Pair(torch.randn(2, 3), torch.tensor([1, 2]))
    way = walk(start, end, 5)
    assert type(way) is Pair
    assert way.x.shape == (10, 3)
    assert way.label.tolist() == [7] * 5 + [8] * 5
    assert_close(way.x[[0, 5]], start.x)
    assert_close(way.x[[4, 9]], end.x)
    assert_close(way.x[7], slerp(start.x[1], end.x[1], torch.tensor([0.5])))


def test_a_walk_through_a_plain_tuple_may_go_straight() -> None:
    way = walk((torch.zeros(1, 2), torch.zeros(1, 1)), (torch.ones(1, 2), torch.full((1, 1), 4.0)), 3, lerp)
    assert type(way) is tuple
    assert_close(way[0], torch.tensor([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]]))
    assert_close(way[1], torch.tensor([[0.0], [2.0], [4.0]]))
