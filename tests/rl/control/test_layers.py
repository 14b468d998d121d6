import copy
import math

import pytest
import torch
from torch import nn

from rl.control.layers import TanhLayers, backward, forward


def plain(layers: TanhLayers) -> nn.Sequential:
    """Give torch's own network with the same weights."""
    linears, _ = layers.split(layers.weights.detach())
    modules: list[nn.Module] = []
    for matrix, bias in linears:
        linear = nn.Linear(matrix.shape[1], matrix.shape[0], dtype=matrix.dtype)
        linear.weight.data, linear.bias.data = matrix.clone(), bias.clone()
        modules += [linear, nn.Tanh()]
    return nn.Sequential(*modules[:-1])


def shaken(layers: TanhLayers) -> TanhLayers:
    with torch.no_grad():
        layers.weights.add_(0.2 * torch.randn_like(layers.weights))
    return layers


@pytest.mark.parametrize("grad", [True, False])
def test_same_as_a_sequence_of_torchs_layers(grad: bool) -> None:
    torch.manual_seed(0)
    layers, rows = shaken(TanhLayers((3, 5, 4, 2), 0.01)), torch.randn(7, 3)
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(layers(rows)[0], plain(layers)(rows))
    single = shaken(TanhLayers((3, 2), 1.0))
    torch.testing.assert_close(single(rows)[0], plain(single)(rows))


def test_initial_weights() -> None:
    torch.manual_seed(0)
    extra = torch.tensor([1.0, 2.0])
    layers = TanhLayers((3, 5, 2), 0.01, extra)
    (first, bias), (last, _) = layers.split(layers.weights.detach())[0]
    torch.testing.assert_close(first.T @ first, 2 * torch.eye(3))
    torch.testing.assert_close(last @ last.T, 1e-4 * torch.eye(2))
    assert not bias.any()
    torch.testing.assert_close(layers(torch.zeros(1, 3))[1], extra)
    assert [weight.numel() for weight in layers.parameters()] == [3 * 5 + 5 + 5 * 2 + 2 + 2]
    assert first.std() > math.sqrt(2) / 10  # the gain of a hidden layer, though it is not the last


def test_the_backward_pass_is_autograds() -> None:
    torch.manual_seed(0)
    layers = shaken(TanhLayers((3, 5, 4, 2), 1.0)).double()
    rows, slope = torch.randn(7, 3, dtype=torch.double, requires_grad=True), torch.randn(7, 2, dtype=torch.double)
    outputs, _ = layers(rows)
    of_rows, of_weights = torch.autograd.grad(outputs, (rows, layers.weights), slope)

    filled = torch.full_like(layers.weights, math.nan).detach()
    gradients, _ = layers.split(filled)
    with torch.inference_mode():
        linears, _ = layers.held()
        passed = forward(rows, linears)
        torch.testing.assert_close(passed.pop(), outputs.detach())
        first = backward(slope, passed, linears, gradients)
        torch.testing.assert_close(first @ linears[0][0], of_rows)
    torch.testing.assert_close(filled, of_weights)


def test_views_follow_the_weights() -> None:
    """Through an optimizer's step, loading, a copy, and a change of type."""
    torch.manual_seed(0)
    layers, rows = TanhLayers((3, 5, 2), 1.0), torch.randn(4, 3)

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            held = layers(rows)[0]
        return held, layers(rows)[0].detach()

    first, _ = both()
    optimizer = torch.optim.Adam(layers.parameters(), 0.1, fused=True)
    layers(rows)[0].sum().backward()
    optimizer.step()
    torch.testing.assert_close(*both())
    assert not torch.equal(first, both()[0])
    other = shaken(copy.deepcopy(layers))
    torch.testing.assert_close(*both())
    with torch.no_grad():
        assert not torch.equal(other(rows)[0], layers(rows)[0])
    layers.load_state_dict(other.state_dict())
    torch.testing.assert_close(*both())
    torch.testing.assert_close(both()[0], other(rows)[0].detach())
    rows = rows.double()
    layers.double()
    torch.testing.assert_close(*both())
