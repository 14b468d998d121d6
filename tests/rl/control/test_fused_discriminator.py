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
from rl.control.fused_discriminator import (
    RELU,
    TANH,
    FusedUpdates,
    autograd_slope,
    fast,
    fill,
    lay_out,
    layers_of,
    slope_of,
)
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
    return Transitions(
        obs=torch.randn(rows, WIDTH, generator=chance, dtype=dtype),
        actions=actions,
        next_obs=torch.randn(rows, WIDTH, generator=chance, dtype=dtype),
        terminated=torch.zeros(rows, dtype=torch.bool),
    )


def judge(space=BOX, seed=0, **numbers):
    torch.manual_seed(seed)
    return StepDiscriminator(WIDTH, spaces.actions(space, where="env"), **numbers)


ORDINARY, PENALTY = GAIL(), GradientPenalty()


def updates(net, objective=ORDINARY, penalty=PENALTY, entropy=0.01, lr=1e-2, fused=True):
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
    *itertools.product((BOX, CHOICES), ("state-action",), ((), (5,), (5, 4, 3)), ("relu", "tanh"), (False, True)),
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


@pytest.mark.parametrize("space", [BOX, CHOICES])
@pytest.mark.parametrize("penalty", [GradientPenalty(10, 1), GradientPenalty(1, 0), NoPenalty()])
@pytest.mark.parametrize("objective", [GAIL(), AIRL(), FAIRL(), Wasserstein(), Hinge(), LeastSquares(), Relativistic()])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_steps_are_those_of_the_reference(space, penalty, objective, activation):
    ours = updates(judge(space, hidden=(8, 7), activation=activation), objective, penalty)
    theirs = updates(judge(space, hidden=(8, 7), activation=activation), objective, penalty)
    quick, minus = fast(ours), (torch.randn(ROWS), torch.randn(ROWS))
    assert isinstance(quick, FusedUpdates)
    for seed in range(4):
        real, own = steps(space, seed=seed), steps(space, seed=seed + 10)
        torch.manual_seed(seed)
        told = quick(real, own, minus)
        torch.manual_seed(seed)
        torch.testing.assert_close(told, theirs(real, own, minus), rtol=1e-4, atol=1e-5)
    for mine, reference in zip(ours.discriminator.parameters(), theirs.discriminator.parameters(), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=2e-5)
        assert mine.grad is None
    mine, reference = ours.optimizer.state_dict(), theirs.optimizer.state_dict()
    assert mine["param_groups"] == reference["param_groups"]
    torch.testing.assert_close(mine["state"], reference["state"], rtol=1e-3, atol=1e-5)


def test_one_call_makes_many_updates_in_order():
    once, thrice = (fast(updates(judge(), penalty=NoPenalty(), lr=0.1)) for _ in range(2))
    real, own = steps(BOX, 20 * ROWS, 1), steps(BOX, 20 * ROWS, 2)
    minus = torch.randn(20 * ROWS), torch.randn(20 * ROWS)
    told = once(real, own, minus)
    apart = []
    for first in range(0, 20 * ROWS, ROWS):
        a, b = (Transitions(*(field[first : first + ROWS] for field in whole)) for whole in (real, own))
        apart.append(thrice(a, b, tuple(held[first : first + ROWS] for held in minus)))
    torch.testing.assert_close(told, torch.stack(apart).mean(0))
    assert torch.equal(once.weights.values, thrice.weights.values)
    assert [float(state["step"]) for state in once.adam.optimizer.state.values()] == [20] * 4


def test_a_penalty_without_weight_changes_nothing():
    none, zero = (fast(updates(judge(), penalty=penalty)) for penalty in (NoPenalty(), GradientPenalty(0.0)))
    for quick in (none, zero):
        quick(steps(BOX, seed=1), steps(BOX, seed=2), NONE)
    assert torch.equal(none.weights.values, zero.weights.values)


def test_gradients_are_finite_where_the_logit_is_flat():
    quick = fast(updates(judge()))
    with torch.no_grad():
        quick.weights.values.zero_()
    quick(steps(BOX, seed=1), steps(BOX, seed=2), NONE)
    assert quick.weights.values.isfinite().all()


def test_singular_vectors_are_followed_as_in_a_training_pass():
    net, other = judge(hidden=(8,), spectral=True), judge(hidden=(8,), spectral=True)
    other.train()(steps(BOX))
    fast(updates(net))(steps(BOX, seed=1), steps(BOX, seed=2), NONE)
    for mine, reference in zip(net.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(mine, reference)


def test_spectral_norms_stay_near_one_as_weights_grow():
    net = judge(hidden=(8, 8), spectral=True)
    quick = fast(updates(net, lr=0.05))
    for seed in range(60):
        quick(steps(BOX, seed=seed), steps(BOX, seed=seed + 100), NONE)
    for layer in quick.layers:
        layer.prepare()
        assert float(torch.linalg.matrix_norm(layer.matrix, 2)) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("spectral", [False, True])
def test_a_restored_run_goes_on_bit_by_bit(spectral):
    net = judge(spectral=spectral)
    quick = fast(updates(net))
    quick(steps(BOX, seed=1), steps(BOX, seed=2), NONE)
    weights, moments = copy.deepcopy(net.state_dict()), copy.deepcopy(quick.adam.optimizer.state_dict())
    torch.manual_seed(3)
    quick(steps(BOX, seed=3), steps(BOX, seed=4), NONE)
    again = fast(updates(judge(seed=9, spectral=spectral)))
    again(steps(BOX, seed=5), steps(BOX, seed=6), NONE)
    again.net.load_state_dict(weights)
    again.adam.optimizer.load_state_dict(moments)
    torch.manual_seed(3)
    again(steps(BOX, seed=3), steps(BOX, seed=4), NONE)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, again.net.state_dict()[name])
    torch.testing.assert_close(
        quick.adam.optimizer.state_dict()["state"], again.adam.optimizer.state_dict()["state"], rtol=0, atol=0
    )


def test_autograd_can_take_over_and_hand_back():
    ours = updates(judge(), penalty=NoPenalty())
    theirs = updates(judge(), penalty=NoPenalty())
    quick = fast(ours)
    for seed, way in enumerate((quick, ours, quick, ours, ours, quick)):
        real, own = steps(BOX, seed=seed), steps(BOX, seed=seed + 10)
        way(real, own, NONE)
        theirs(real, own, NONE)
    for mine, reference in zip(ours.discriminator.parameters(), theirs.discriminator.parameters(), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-4, atol=1e-5)


def test_what_has_no_written_out_derivative_is_left_to_autograd():
    def with_optimizer(kind, **numbers):
        plain = updates(judge())
        return AutogradUpdates(
            plain.discriminator, GAIL(), NoPenalty(), kind(plain.discriminator.parameters(), **numbers),
            plain.engine, ROWS, 0.0,
        )  # fmt: skip

    def with_engine(world, precision):
        plain = updates(judge())
        engine = SimpleNamespace(world=world, precision=precision)
        return AutogradUpdates(plain.discriminator, GAIL(), NoPenalty(), plain.optimizer, engine, ROWS, 0.0)

    assert isinstance(fast(with_engine(1, "fp32")), FusedUpdates)
    assert isinstance(fast(with_engine(1, "bf16")), FusedUpdates)
    assert isinstance(fast(with_optimizer(torch.optim.Adam, fused=True)), FusedUpdates)
    others = [
        updates(judge(dropout=0.1)),
        updates(ShapedDiscriminator(WIDTH, 0.9)),
        updates(judge(), penalty=R1()),
        updates(judge(), fused=False),
        with_optimizer(torch.optim.Adam, fused=True, weight_decay=0.1),
        with_optimizer(torch.optim.Adam, fused=True, amsgrad=True),
        with_optimizer(torch.optim.AdamW, fused=True),
        with_optimizer(torch.optim.SGD, lr=0.1),
        with_engine(2, "fp32"),
        with_engine(1, "fp16"),
    ]
    for other in others:
        assert fast(other) is other
    wrong = updates(judge())
    wrong.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})
    assert fast(wrong) is wrong


def test_divergence_names_the_player_and_the_update():
    quick = fast(updates(judge()))
    real, own = steps(BOX, 3 * ROWS, 1), steps(BOX, 3 * ROWS, 2)
    real.obs[ROWS + 1] = float("inf")
    with pytest.raises(Diverged, match="discriminator: update 2 of 3"):
        quick(real, own, (torch.zeros(3 * ROWS), torch.zeros(3 * ROWS)))


def test_weights_lost_in_the_last_update_are_noticed():
    quick = fast(updates(judge(), lr=float("inf")))
    with pytest.raises(Diverged, match="discriminator: the weights"):
        quick(steps(BOX, seed=1), steps(BOX, seed=2), NONE)


def test_a_net_that_was_moved_is_refused():
    quick = fast(updates(judge()))
    quick.net.double()
    with pytest.raises(ValueError, match="moved"):
        quick(steps(BOX, seed=1), steps(BOX, seed=2), NONE)


@pytest.mark.parametrize("objective", [GAIL(), Hinge(), LeastSquares(), Wasserstein()])
@pytest.mark.parametrize("entropy", [0.0, 0.7])
def test_slopes_of_the_loss_are_finite_differences(objective, entropy):
    logits, step = torch.linspace(-2.3, 2.9, 8, dtype=torch.float64), 1e-6

    def loss(at):
        return objective.discriminator_loss(*at.chunk(2)) - entropy * bernoulli_entropy(at)

    wanted = [(loss(logits + step * unit) - loss(logits - step * unit)) / (2 * step) for unit in torch.eye(8).double()]
    torch.testing.assert_close(slope_of(objective, entropy)(logits), torch.stack(wanted), rtol=1e-5, atol=1e-8)
    assert autograd_slope(objective, logits).requires_grad is False


def test_mixtures_lie_between_real_and_own_by_one_share_per_row():
    net = judge()
    real, own = steps(BOX, 4 * ROWS, 1), steps(BOX, 4 * ROWS, 2)
    rows, picks = lay_out(net, real, own, ROWS, mixed=True)
    a, b, mixed = rows.split(ROWS, 1)
    shares = (mixed - b) / (a - b)
    torch.testing.assert_close(shares, shares[..., :1].expand_as(shares), rtol=1e-2, atol=1e-3)
    assert shares.min() > -1e-3
    assert shares.max() < 1 + 1e-3
    assert shares[..., 0].flatten().unique().numel() == 4 * ROWS
    assert (picks == 1).all()
    assert lay_out(net, real, own, ROWS, mixed=False)[0].shape == (4, 2 * ROWS, 5)
