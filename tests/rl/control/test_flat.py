import copy

import pytest
import torch
from torch import nn

from rl.control.flat import Flat, FlatAdam, check_finite
from rl.runtime.errors import Diverged


def nets() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Linear(3, 4), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))


def push(both: tuple[nn.Module, nn.Module], seed: int) -> None:
    """Write gradients in place."""
    torch.manual_seed(seed)
    for net in both:
        for weight in net.parameters():
            gradient = torch.randn_like(weight)
            if weight.grad is None:
                weight.grad = gradient
            else:
                weight.grad.copy_(gradient)


def test_parameters_become_views_and_keep_their_values() -> None:
    net = nets()[1]
    before = copy.deepcopy(net.state_dict())
    flat = Flat(net.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    assert flat.values.tolist() == torch.cat([value.flatten() for value in before.values()]).tolist()
    flat.values.fill_(7)
    assert all((weight == 7).all() for weight in net.parameters())
    net[0].bias.grad.fill_(3)
    assert flat.gradients.tolist() == [0] * 4 + [3] * 2 + [0] * 3
    net.load_state_dict(before)
    assert flat.values.tolist() == torch.cat([value.flatten() for value in before.values()]).tolist()


@pytest.mark.parametrize("rates", [(1e-2, 1e-2), (1e-2, 3e-3), (0.0, 1e-2)])
def test_adam_is_adam(rates: tuple[float, float]) -> None:
    ours, theirs = nets(), nets()
    adam = FlatAdam([Flat(net.parameters()) for net in ours], rates, betas=(0.5, 0.9))
    reference = torch.optim.Adam(
        [{"params": list(net.parameters()), "lr": rate} for net, rate in zip(theirs, rates, strict=True)],
        betas=(0.5, 0.9),
    )
    for seed in range(5):
        push(ours, seed)
        push(theirs, seed)
        adam.step()
        reference.step()
    for one, two in zip(ours, theirs, strict=True):
        for mine, other in zip(one.parameters(), two.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)


def test_saved_moments_go_on_as_if_never_stopped() -> None:
    straight, stopped = nets(), nets()
    adam, first = (FlatAdam([Flat(net.parameters()) for net in both], (1e-2, 1e-3)) for both in (straight, stopped))
    for seed in range(3):
        for both, its in ((straight, adam), (stopped, first)):
            push(both, seed)
            its.step()
    second = FlatAdam([Flat(net.parameters()) for net in stopped], (1e-2, 1e-3))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for both, its in ((straight, adam), (stopped, second)):
        push(both, 9)
        its.step()
    for one, two in zip(straight, stopped, strict=True):
        assert all(torch.equal(*pair) for pair in zip(one.parameters(), two.parameters(), strict=True))


def test_moments_of_other_nets_are_refused() -> None:
    one, two = nets()
    state = FlatAdam([Flat(one.parameters())], (1e-3,)).state_dict()
    with pytest.raises(ValueError, match="FlatAdam: first"):
        FlatAdam([Flat(two.parameters())], (1e-3,)).load_state_dict(state)


def test_a_moved_net_is_noticed() -> None:
    net = nets()[0]
    flat = Flat(net.parameters())
    flat.require_intact()
    net.double()
    with pytest.raises(ValueError, match="moved"):
        flat.require_intact()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_first_bad_parameter_is_named(value: float) -> None:
    net = nets()[1]
    flat = Flat(net.parameters())
    check_finite(net, [flat])
    with torch.no_grad():
        net[1].weight[0, 1] = value
    with pytest.raises(Diverged, match=r"^Sequential\.1\.weight is not finite$"):
        check_finite(net, [flat])
