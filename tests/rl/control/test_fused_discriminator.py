import copy
import itertools
from types import SimpleNamespace

import pytest
import torch
from gymnasium.spaces import Box, Discrete

from rl import AIRL, FAIRL, GAIL, R1, GradientPenalty, Hinge, LeastSquares, NoPenalty, Relativistic, Wasserstein
from rl.control import spaces
from rl.control.discriminator_updates import AutogradUpdates, bernoulli_entropy
from rl.control.discriminators import ShapedDiscriminator, StepDiscriminator
from rl.control.fused_discriminator import RELU, TANH, FusedUpdates, autograd_slope, fast, fill, layers_of, lay_out, slope_of
from rl.control.transitions import Transitions, concatenate
from rl.penalties import input_gradient
from rl.runtime import Diverged, Engine, Runtime

WIDTH, ROWS = 3, 6
BOX, UNBOUNDED, CHOICES = Box(-1, 3, (2,)), Box(-float("inf"), float("inf"), (2,)), Discrete(3)
NONE = (torch.zeros(ROWS), torch.zeros(ROWS))


def steps(space, rows=ROWS, seed=0, dtype=torch.float32):
    chance = torch.Generator().manual_seed(seed)
    actions = (
        torch.randint(0, 3, (rows,), generator=chance)
        if isinstance(space, Discrete)
        else torch.randn(rows, 2, generator=chance, dtype=dtype)
    )
    found = {
        "obs": torch.randn(rows, WIDTH, generator=chance, dtype=dtype),
        "actions": actions,
        "next_obs": torch.randn(rows, WIDTH, generator=chance, dtype=dtype),
        "terminated": torch.zeros(rows, dtype=torch.bool),
    }
    return Transitions(**{name: found.get(name, torch.zeros(rows)) for name in Transitions._fields})


def judge(space=BOX, seed=0, **numbers):
    torch.manual_seed(seed)
    return StepDiscriminator(WIDTH, spaces.actions(space, where="env"), **numbers)


def updates(net, objective=GAIL(), penalty=GradientPenalty(), entropy=0.01, lr=1e-2, fused=True):
    optimizer = torch.optim.Adam(net.parameters(), lr, fused=fused)
    return AutogradUpdates(net, objective, penalty, optimizer, Engine(Runtime("cpu", "fp32"), 0), ROWS, entropy)


def expected(net, real, own, mixed, objective, penalty, entropy, minus):
    """What autograd finds with the penalty on given mixtures; in eval mode, so that all passes divide by one norm."""
    judged = net(concatenate(real, own)) - minus
    loss = objective.discriminator_loss(*judged.chunk(2)) - entropy * bernoulli_entropy(judged)
    found = input_gradient(net, mixed)
    seen = [found.obs, found.next_obs] + ([found.actions] if found.actions.is_floating_point() else [])
    norms = (sum(part.square().sum(1) for part in seen) + 1e-12).sqrt()
    penalised = penalty.weight * (norms - penalty.target).abs().pow(penalty.power).mean()
    return torch.autograd.grad(loss + penalised, list(net.parameters())), penalised, judged


def mixture(real, own, share):
    def mix(a, b):
        return b.lerp(a, share.unsqueeze(1).to(a.dtype)) if a.is_floating_point() and a.ndim == 2 else a

    return Transitions(*(mix(a, b) for a, b in zip(real, own, strict=True)))


CASES = [
    *itertools.product((BOX, CHOICES), ("state-action",), ((), (5,), (5, 4), (5, 4, 3)), ("relu", "tanh"), (False, True)),
    *itertools.product((BOX,), ("state", "state-next"), ((5,),), ("relu", "tanh"), (True,)),
    (UNBOUNDED, "state-action", (5,), "tanh", False),
]  # fmt: skip


@pytest.mark.parametrize(("space", "sees", "hidden", "activation", "spectral"), CASES)
@pytest.mark.parametrize("penalty", [GradientPenalty(10, 1), GradientPenalty(2, 0, 6), GradientPenalty(3, 0.5, 1)])
def test_gradients_are_autograds(space, sees, hidden, activation, spectral, penalty):
    net = judge(space, sees=sees, hidden=hidden, activation=activation, spectral=spectral).double().eval()
    real, own = steps(space, seed=1, dtype=torch.float64), steps(space, seed=2, dtype=torch.float64)
    minus = torch.randn(2 * ROWS, dtype=torch.float64)
    torch.manual_seed(5)
    rows, picks = lay_out(net, real, own, ROWS, mixed=True)
    torch.manual_seed(5)
    mixed = mixture(real, own, torch.rand(1, ROWS, dtype=torch.float64)[0])
    wanted, cost, logits = expected(net, real, own, mixed, AIRL(), penalty, 0.3, minus)
    held = torch.zeros(sum(weight.numel() for weight in net.parameters()), dtype=torch.float64)
    with torch.no_grad():
        found = fill(
            layers_of(net, held), {"relu": RELU, "tanh": TANH}[activation], rows[0], picks[0], minus,
            slope_of(AIRL(), 0.3), penalty, net.scale.pow(-2),
        )  # fmt: skip
    torch.testing.assert_close(found[0], logits.detach())
    torch.testing.assert_close(found[1], cost.detach())
    torch.testing.assert_close(held, torch.cat([part.flatten() for part in wanted]), rtol=1e-6, atol=1e-9)
