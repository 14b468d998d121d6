from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from rl.penalties import R1, input_gradient
from rl.second_order import twice_differentiable

Function = Callable[[Tensor], Tensor]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def plain_gradient(net: Function, x: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    (found,) = torch.autograd.grad(net(leaf).sum(), leaf, create_graph=True)
    return found


def derivatives(found: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """The second derivatives of a sum of powers, and the third ones in the first weight's direction."""
    second = torch.autograd.grad(found.pow(3).sum(), weights, create_graph=True, materialize_grads=True)
    third = torch.autograd.grad(
        sum(g.square().sum() for g in second), weights, allow_unused=True, materialize_grads=True
    )
    return [*second, *third]


CONVOLUTIONS: list[dict[str, Any]] = [
    {},
    {"padding": 1},
    {"stride": 2, "padding": 1},
    {"stride": (3, 2), "padding": (2, 0)},
    {"dilation": 2, "padding": 2},
    {"groups": 2},
    {"stride": 2, "dilation": (1, 2), "groups": 2, "padding": 1},
    {"padding": "same"},
    {"bias": False, "stride": 2},
]


@pytest.mark.parametrize("options", CONVOLUTIONS)
def test_convolutions_have_torchs_derivatives_of_every_order(options: dict[str, Any]) -> None:
    net = nn.Sequential(
        nn.Conv2d(4, 6, 3, **options), nn.Tanh(), nn.Conv2d(6, 2, 2, bias=False), nn.Softplus()
    ).double()
    x, weights = torch.randn(3, 4, 8, 7).double(), list(net.parameters())
    ours, theirs = input_gradient(net, x), plain_gradient(net, x)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(derivatives(ours, weights), derivatives(theirs, weights), strict=True):
        assert b.abs().max() > 1e-6
        torch.testing.assert_close(a, b)


class Bent(nn.Module):
    def __init__(self, bend: Function) -> None:
        super().__init__()
        self.first, self.bend, self.last = nn.Linear(3, 20), bend, nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.bend(self.last(self.bend(self.first(x)))).tanh()


BENDS: list[Function] = [
    nn.ReLU(),
    nn.ReLU(inplace=True),
    torch.relu,
    nn.LeakyReLU(0.2),
    nn.LeakyReLU(0.2, inplace=True),
    F.leaky_relu,
]


@pytest.mark.parametrize("bend", BENDS)
def test_rectifiers_have_torchs_derivatives_of_every_order(bend: Function) -> None:
    net, x = Bent(bend).double(), torch.randn(7, 3).double()
    ours, theirs = input_gradient(net, x), plain_gradient(net, x)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(*(derivatives(found, list(net.parameters())) for found in (ours, theirs)), strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b)


def test_a_rectifier_at_zero_has_no_slope() -> None:
    x = torch.tensor([[-1.0, 0.0, 2.0]])
    assert input_gradient(torch.relu, x).tolist() == [[0, 0, 1]]
    assert input_gradient(nn.LeakyReLU(0.5), x).tolist() == [[0.5, 0.5, 1]]


def test_a_weight_made_from_the_sample_takes_its_share() -> None:
    base = torch.randn(2, 3, 3, 3).double().requires_grad_()

    def judge(x: Tensor) -> Tensor:
        return torch.tanh(F.conv2d(x, base * x.mean(), x.sum() * torch.ones(2).double()))

    x = torch.randn(2, 3, 5, 5).double()
    ours, theirs = input_gradient(judge, x), plain_gradient(judge, x)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(derivatives(ours, [base]), derivatives(theirs, [base]), strict=True):
        torch.testing.assert_close(a, b)


def called(work: Callable[[], object]) -> dict[str, int]:
    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    return {event.key: event.count for event in found.key_averages()}


@pytest.mark.filterwarnings("ignore")  # the profiler's
def test_nothing_is_computed_that_nobody_asked_for() -> None:
    """Two convolutions: forward 2, gradients for the maps 2; then each of these 2 has its own two gradients."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3))
    x = torch.randn(2, 3, 6, 6)
    weights = [net[0].weight, net[2].weight]
    inside = called(lambda: input_gradient(net, x))
    assert inside["aten::convolution"] == 4
    assert "aten::convolution_backward" not in inside
    penalty = R1()(net, x, x)
    outside = called(lambda: torch.autograd.grad(penalty, weights))
    assert outside["aten::convolution_backward"] == 2
    assert "aten::leaky_relu_backward" in outside
    assert outside["aten::leaky_relu_backward"] == 1  # on the way back through the gradient, not through the layers
    assert "aten::convolution" not in outside


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_precision_is_the_networks_own(precision: torch.dtype) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4))
    seen = []

    def judge(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            seen.append(net(x))
        return seen[-1]

    x = torch.randn(4, 3, 6, 6)
    ours, exact = input_gradient(judge, x), plain_gradient(net, x)
    assert seen[0].dtype == precision
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, exact, rtol=0.05, atol=0.02 if precision == torch.bfloat16 else 1e-6)
    ours.square().sum().backward()
    found = [weight.grad for weight in net.parameters() if weight.dim() > 1]
    wanted = torch.autograd.grad(exact.square().sum(), [net[0].weight, net[2].weight])
    for a, b in zip(found, wanted, strict=True):
        assert F.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.999


def test_maps_stay_channels_last() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 5, 3)).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    found = input_gradient(net, x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for gradient in torch.autograd.grad(found.square().sum(), [net[0].weight, net[2].weight]):
        assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_a_single_picture_without_a_batch_is_convolved_too() -> None:
    net, x = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh()).double(), torch.randn(2, 4, 4).double()
    torch.testing.assert_close(input_gradient(net, x), plain_gradient(net, x))


def test_maps_changed_in_place_are_refused() -> None:
    weight, x = torch.randn(2, 2, 3, 3, requires_grad=True), torch.randn(1, 2, 4, 4, requires_grad=True)
    with twice_differentiable("cpu"):
        maps = x * 2
        found = torch.conv2d(maps, weight)
        maps.add_(1)
    with pytest.raises(RuntimeError, match="inplace"):
        torch.autograd.grad(found.sum(), weight)


def test_outside_torch_has_its_own_way() -> None:
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    with twice_differentiable("cpu"):
        assert "Maps" in type(torch.conv2d(x, x).grad_fn).__name__
    assert "Maps" not in type(torch.conv2d(x, x).grad_fn).__name__


@pytest.mark.parametrize("bend", [nn.ReLU(inplace=True), nn.LeakyReLU(0.5, inplace=True)])
def test_in_place_is_in_place(bend: Function) -> None:
    with twice_differentiable("cpu"):
        maps = torch.tensor([-1.0, 2.0], requires_grad=True) * 2
        assert bend(maps) is maps
