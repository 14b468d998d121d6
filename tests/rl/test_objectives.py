import math
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rl.objectives import (
    AIRL,
    FAIRL,
    GAIL,
    AnyObjective,
    BoundarySeeking,
    EnergyMargin,
    Equilibrium,
    Hinge,
    LeastSquares,
    MaliGAN,
    Minimax,
    NonSaturating,
    Relativistic,
    RelativisticAverage,
    SeqGAN,
    Wasserstein,
)

ALL = get_args(AnyObjective)
LOGISTIC = (NonSaturating, Minimax, AIRL, FAIRL, BoundarySeeking, SeqGAN, MaliGAN)
LOG3 = math.log(3)  # sigmoid(log 3) = 3/4
logits = st.lists(st.floats(-30, 30), min_size=4, max_size=4).map(lambda row: torch.tensor(row, dtype=torch.float64))


def tensor(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize("objective", LOGISTIC)
def test_logistic_loss_by_hand(objective):
    # D(real) = 3/4, 1/2 and D(fake) = 1/2, 1/4: the means are -(log 3/4 + log 1/2)/2 on both sides
    loss = objective().discriminator_loss(tensor(LOG3, 0), tensor(0, -LOG3))
    torch.testing.assert_close(loss, torch.tensor(math.log(8 / 3), dtype=torch.float64))


@pytest.mark.parametrize(
    ("objective", "loss"),
    [
        (Wasserstein(), (-2 + 0.25) / 2 - (3 + 0.5) / 2),
        (Hinge(), (0 + 0.5) / 2 + (0 + 1.25) / 2),
        (LeastSquares(), (4 + 0.25) / 4 + (4 + 0.0625) / 4),
        (Relativistic(), (math.log1p(math.exp(-5)) + math.log1p(math.exp(-0.25))) / 2),
        # the mean real is 1.75, the mean fake -0.875
        (RelativisticAverage(), sum(math.log1p(math.exp(-x)) for x in (3.875, 1.375, 3.75, 1.5)) / 2),
        (EnergyMargin(), -(3 + 0.5) / 2 + (0 + 1.25) / 2),
        (EnergyMargin(margin=5), -(3 + 0.5) / 2 + (3 + 5.25) / 2),
    ],
)
def test_other_losses_by_hand(objective, loss):
    assert objective.discriminator_loss(tensor(3, 0.5), tensor(-2, 0.25)).item() == pytest.approx(loss, abs=1e-14)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (NonSaturating(), [math.log(3 / 4), math.log(1 / 2), math.log(1 / 4)]),
        (Minimax(), [math.log(4), math.log(2), math.log(4 / 3)]),
        (AIRL(), [LOG3, 0, -LOG3]),
        (Wasserstein(), [LOG3, 0, -LOG3]),
        (Hinge(), [LOG3, 0, -LOG3]),
        (FAIRL(), [-3 * LOG3, 0, LOG3 / 3]),
        (LeastSquares(), [-((LOG3 - 1) ** 2) / 2, -1 / 2, -((LOG3 + 1) ** 2) / 2]),
        (BoundarySeeking(), [-LOG3 * LOG3 / 2, 0, -LOG3 * LOG3 / 2]),
        (SeqGAN(), [3 / 4, 1 / 2, 1 / 4]),
        (MaliGAN(), [9 / 13, 3 / 13, 1 / 13]),
        (EnergyMargin(), [LOG3, 0, -LOG3]),
        (Equilibrium(), [LOG3, 0, -LOG3]),
    ],
)
def test_rewards_by_hand(objective, expected):
    torch.testing.assert_close(objective.reward(tensor(LOG3, 0, -LOG3)), tensor(*expected))


def test_relativistic_reward_by_hand():
    reward = Relativistic().reward(tensor(1 + LOG3, 5, 0), tensor(1, 5, LOG3))
    torch.testing.assert_close(reward, tensor(math.log(3 / 4), math.log(1 / 2), math.log(1 / 4)))


def test_relativistic_average_reward_by_hand():
    # the mean fake is 0, the mean real log 3: every fake's share of the reals is -(softplus(0) + softplus(2 log 3)) / 2
    reward = RelativisticAverage().reward(tensor(LOG3, -LOG3, 0), tensor(0, 2 * LOG3))
    shared = -(math.log(2) + math.log(10)) / 2
    torch.testing.assert_close(reward, tensor(math.log(1 / 2), math.log(1 / 10), math.log(1 / 4)) + shared)
    with pytest.raises(ValueError, match=r"give reward\(fake, real\)"):
        RelativisticAverage().reward(tensor(0.0))


def test_equilibrium_by_hand():
    game = Equilibrium(diversity=0.5, rate=0.25)
    real, fake = tensor(-4, -2).requires_grad_(), tensor(-1, 0).requires_grad_()
    first = game.discriminator_loss(real, fake)  # k = 0: the fakes do not count yet
    torch.testing.assert_close(
        torch.stack(torch.autograd.grad(first, [real, fake])), tensor(-0.5, -0.5, 0, 0).view(2, 2)
    )
    assert (first.item(), game.balance.item(), game.convergence.item()) == (3, 0.25, 4)  # gap 0.5 * 3 - 0.5 = 1
    second = game.discriminator_loss(real, fake)
    torch.testing.assert_close(
        torch.stack(torch.autograd.grad(second, [real, fake])), tensor(-0.5, -0.5, 0.125, 0.125).view(2, 2)
    )
    assert (second.item(), game.balance.item()) == (3 - 0.25 * 0.5, 0.5)


def test_equilibrium_keeps_the_weight_between_0_and_1_and_moves_it_in_training_only():
    game = Equilibrium(diversity=0.5, rate=1)
    assert not torch.equal(game.discriminator_loss(tensor(-9), tensor(-1)), torch.zeros(()))
    assert game.balance == 1
    held = game.eval().state_dict()
    torch.testing.assert_close(game.discriminator_loss(tensor(-1), tensor(-9)), tensor(1 - 9).squeeze())
    assert game.balance == 1
    again = Equilibrium(diversity=0.5, rate=1)
    again.load_state_dict(held)
    again.discriminator_loss(tensor(-1), tensor(-9))  # gap -8.5
    assert (again.balance, again.convergence) == (0, 9.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_equilibrium_in_half_precision(dtype):
    real, fake = torch.linspace(-3, -1, 10).to(dtype), torch.linspace(-4, -2, 10).to(dtype)
    low, high = (Equilibrium().discriminator_loss(cast(real), cast(fake)) for cast in (lambda x: x, torch.Tensor.float))
    assert low.dtype == Equilibrium().reward(fake).dtype == torch.float32
    assert torch.equal(low, high)


def test_relativistic_needs_a_real_of_the_same_shape():
    with pytest.raises(ValueError, match=r"give reward\(fake, real\)"):
        Relativistic().reward(torch.zeros(2))
    with pytest.raises(ValueError, match="shapes must agree"):
        Relativistic().reward(torch.zeros(2, 3), torch.zeros(2, 1))


# the generator's loss as the papers write it, on D = sigmoid(l) or on the raw output l
TEXTBOOK = {
    NonSaturating: lambda x, real: -torch.log(torch.sigmoid(x)),
    Minimax: lambda x, real: torch.log(1 - torch.sigmoid(x)),
    AIRL: lambda x, real: torch.log(1 - torch.sigmoid(x)) - torch.log(torch.sigmoid(x)),
    FAIRL: lambda x, real: torch.exp(x) * x,
    Wasserstein: lambda x, real: -x,
    Hinge: lambda x, real: -x,
    LeastSquares: lambda x, real: 0.5 * (x - 1) ** 2,
    BoundarySeeking: lambda x, real: 0.5 * (torch.log(torch.sigmoid(x)) - torch.log(1 - torch.sigmoid(x))) ** 2,
    SeqGAN: lambda x, real: -torch.sigmoid(x),
    MaliGAN: lambda x, real: -(torch.sigmoid(x) / (1 - torch.sigmoid(x))) / (torch.exp(x).sum(0)),
    Relativistic: lambda x, real: -torch.log(torch.sigmoid(x - real)),
    RelativisticAverage: lambda x, real: (
        -torch.log(torch.sigmoid(x - real.mean())) - torch.log(1 - torch.sigmoid(real - x.mean())).mean()
    ),
    EnergyMargin: lambda x, real: -x,
    Equilibrium: lambda x, real: -x,
}


@pytest.mark.parametrize("objective", [*ALL, Equilibrium])
def test_climbing_the_reward_is_the_textbook_generator(objective):
    generator = torch.Generator().manual_seed(0)
    fake = torch.randn(6, 3, dtype=torch.float64, generator=generator).requires_grad_()
    real = torch.randn(6, 3, dtype=torch.float64, generator=generator)
    weights = torch.rand(6, 3, dtype=torch.float64, generator=generator)  # MaliGAN's plain sum has no gradient
    (ours,) = torch.autograd.grad(-(weights * objective().reward(fake, real)).sum(), fake)
    (theirs,) = torch.autograd.grad((weights * TEXTBOOK[objective](fake, real)).sum(), fake)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("objective", ALL)
def test_gradients_match_finite_differences(objective):
    generator = torch.Generator().manual_seed(1)
    real, fake = (torch.randn(2, 5, 2, dtype=torch.float64, generator=generator) * 2).requires_grad_()
    assert torch.autograd.gradcheck(objective().discriminator_loss, (real, fake))
    assert torch.autograd.gradcheck(objective().reward, (fake, real))
    assert torch.autograd.gradgradcheck(objective().discriminator_loss, (real, fake))


@pytest.mark.parametrize("objective", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_cast_first(objective, dtype):
    real, fake = torch.linspace(-3, 3, 10).to(dtype), torch.linspace(4, -2, 10).to(dtype)
    for give in (objective().discriminator_loss, lambda r, f: objective().reward(f, r)):
        low, high = give(real, fake), give(real.float(), fake.float())
        assert low.dtype == torch.float32
        assert torch.equal(low, high)
    assert objective().reward(fake.double(), real.double()).dtype == torch.float64


@pytest.mark.parametrize("objective", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_for_huge_logits(objective, dtype):
    fake = torch.tensor([-1e4, -50.0, 0, 50, 1e4], dtype=dtype, requires_grad=True)
    real = fake.detach().flip(0).requires_grad_()
    reward, loss = objective().reward(fake, real), objective().discriminator_loss(real, fake)
    gradients = torch.autograd.grad(reward.sum() + loss, [fake, real])
    assert all(torch.isfinite(x).all() for x in (reward, loss, *gradients))


def test_float64_keeps_its_digits_above_twenty():
    # log(1 + e^30) - 30 = e^-30, which a softplus that turns linear at 20 loses
    assert (Minimax().reward(tensor(30.0)) - 30).item() == pytest.approx(math.exp(-30), rel=0.05)
    assert Minimax().reward(tensor(21.0)).item() != 21.0


def test_fairl_limit_bounds_the_exponent_only():
    far = torch.tensor([11.0], dtype=torch.float64, requires_grad=True)
    reward = FAIRL(limit=10).reward(far)
    assert reward.item() == pytest.approx(-11 * math.exp(10))
    assert torch.autograd.grad(reward, far)[0].item() == pytest.approx(-math.exp(10))  # still pushes back
    assert FAIRL(limit=10).reward(tensor(-1.0)).item() == pytest.approx(1 / math.e)


def test_maligan_normalises_each_place_over_the_batch():
    x = torch.randn(5, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weights = MaliGAN().reward(x)
    torch.testing.assert_close(weights.sum(0), torch.ones(3, 2, dtype=torch.float64))
    torch.testing.assert_close(weights, MaliGAN().reward(x + 7))


def test_gail_is_minimax_and_is_never_negative():
    assert GAIL is Minimax
    assert (GAIL().reward(torch.linspace(-50, 50, 101)) >= 0).all()
    assert (NonSaturating().reward(torch.linspace(-50, 50, 101)) <= 0).all()


@given(logits, logits)
def test_swapping_the_sides_and_the_sign_changes_nothing(real, fake):
    for objective in (*LOGISTIC, Hinge, Wasserstein):
        loss, swapped = objective().discriminator_loss(real, fake), objective().discriminator_loss(-fake, -real)
        torch.testing.assert_close(loss, swapped)
    torch.testing.assert_close(
        LeastSquares().discriminator_loss(real, fake), LeastSquares().discriminator_loss(1 - fake, 1 - real)
    )


@given(logits, logits)
def test_swapping_the_sides_flips_wasserstein_and_relativistic(real, fake):
    w = Wasserstein()
    torch.testing.assert_close(w.discriminator_loss(fake, real), -w.discriminator_loss(real, fake))
    r = Relativistic()
    torch.testing.assert_close(r.discriminator_loss(fake, real), -r.reward(fake, real).mean())


@given(logits, logits, st.permutations(range(4)))
def test_order_and_splits_of_the_batch_do_not_matter(real, fake, order):
    for objective in (kind() for kind in ALL):
        loss = objective.discriminator_loss(real, fake)
        torch.testing.assert_close(objective.discriminator_loss(real[order], fake[order]), loss)
        if not isinstance(objective, RelativisticAverage):  # looks at the average of all
            halves = [objective.discriminator_loss(real[half], fake[half]) for half in (slice(0, 2), slice(2, 4))]
            torch.testing.assert_close(sum(halves) / 2, loss)
        shuffled = objective.reward(fake[order], real[order])
        torch.testing.assert_close(shuffled, objective.reward(fake, real)[order])


@given(logits, logits)
def test_a_better_discriminator_pays(real, fake):
    """Raising real logits and lowering fake ones never costs the discriminator (least squares has a target instead)."""
    for objective in (kind() for kind in ALL if kind is not LeastSquares):
        loss = objective.discriminator_loss(real, fake)
        assert objective.discriminator_loss(real + 1, fake) <= loss + 1e-12
        assert objective.discriminator_loss(real, fake - 1) <= loss + 1e-12


@pytest.mark.parametrize("objective", [kind for kind in ALL if kind is not Relativistic])
def test_real_and_fake_may_differ_in_number(objective):
    loss = objective().discriminator_loss(torch.zeros(3), torch.zeros(8, 2))
    torch.testing.assert_close(loss, objective().discriminator_loss(torch.zeros(1), torch.zeros(1)))
