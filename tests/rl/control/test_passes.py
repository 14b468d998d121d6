import pytest
import torch
from torch import nn

from rl.control.flat import Flat
from rl.control.offpolicy_agents import StackedMLP
from rl.control.passes import Passes


def separate(net: StackedMLP, index: int) -> nn.Sequential:
    """Build one of the stacked nets from torch's own layers."""
    layers: list[nn.Module] = []
    for weight, bias in zip(net.weights, net.biases, strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[2])
        linear.weight.data, linear.bias.data = weight[index].detach().t().clone(), bias[index, 0].detach().clone()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("sizes", [(3, 5, 4, 1), (3, 5, 2), (3, 1)])
def test_stacked_nets_are_separate_nets(sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    net = StackedMLP(2, sizes)
    rows = torch.randn(6, 3)
    for index, answers in enumerate(net(rows)):
        torch.testing.assert_close(answers, separate(net, index)(rows))
    assert not torch.allclose(*net(rows))


def test_nets_begin_as_torchs_own() -> None:
    torch.manual_seed(0)
    net = StackedMLP(2, (16, 400, 1))
    for weight, bias, inputs in zip(net.weights, net.biases, (16, 400), strict=True):
        bound = inputs**-0.5
        assert weight.abs().max() <= bound
        assert bias.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


@pytest.mark.parametrize("nets", [1, 2])
@pytest.mark.parametrize("sizes", [(3, 5, 4, 1), (3, 5, 4, 2), (3, 4, 1), (3, 2)])
@pytest.mark.parametrize(("back", "learn"), [(6, 6), (6, 2), (4, 4), (4, 0)])
def test_passes_are_autograds(nets: int, sizes: tuple[int, ...], back: int, learn: int) -> None:
    torch.manual_seed(0)
    net = StackedMLP(nets, sizes).double()
    Flat(net.parameters())
    wide = torch.randn(6, 9, dtype=torch.float64)
    passes = Passes(net, wide[:, 2:5], back=back, learn=learn)
    for _ in range(2):  # the memory is used again
        wide.normal_()
        inputs = wide[:, 2:5].clone().requires_grad_()
        slope = torch.randn(nets, 6, sizes[-1], dtype=torch.float64)
        with torch.no_grad():
            answers = passes.forward().clone()
            passes.gradients.copy_(slope[:, :back])
            first = passes.backward()
            of_inputs = (first @ net.weights[0].mT).sum(0)
            mine = [weight.grad.clone() for weight in net.parameters()]
        expected = net(inputs)
        torch.testing.assert_close(answers, expected)
        (wanted,) = torch.autograd.grad(expected, inputs, slope, retain_graph=True)
        torch.testing.assert_close(of_inputs, wanted[:back])
        only = torch.zeros_like(slope)
        only[:, :learn] = slope[:, :learn]
        for gradient, other in zip(mine, torch.autograd.grad(expected, list(net.parameters()), only), strict=True):
            torch.testing.assert_close(gradient, other)
