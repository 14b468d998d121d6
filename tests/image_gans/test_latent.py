import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from image_gans.augmentation import ADA, Augmentation, DiffAugment, Unchanged
from image_gans.dealing import Deal
from image_gans.judging import Judge, Seen, Verdict
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.margins import LogitReward
from image_gans.nets import generator_of, judge_of
from image_gans.numbers import Facts, Numbers
from image_gans.players import Players
from image_gans.samples import as_floats
from image_gans.variants import VARIANTS, numbers_for
from rl.objectives import (
    EnergyMargin,
    Equilibrium,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Objective,
    Relativistic,
    RelativisticAverage,
    Wasserstein,
)
from rl.penalties import R1, R2, GradientPenalty, Sum, WeightClipping
from rl.runtime import Engine, Runtime


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def engine(precision: Any = "fp32") -> Engine:
    return Engine(Runtime(device="cpu", precision=precision), 0)


class Plane(Judge):
    """The logit of x is w x, its features are x."""

    def __init__(self, *slopes: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(slopes))

    def judge(self, x: Tensor) -> Verdict:
        return Verdict(x @ self.w, x)


class Bowl(Judge):
    """The logit of x is w |x|^2."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))

    def judge(self, x: Tensor) -> Verdict:
        return Verdict(self.w * x.square().sum(1), x)


class Scale(nn.Module):
    """Paints a z."""

    def __init__(self, *factors: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(factors))

    def forward(self, z: Tensor) -> Tensor:
        return z * self.a


class Keep(torch.optim.Optimizer):
    """Keeps the gradients of its last step, and moves nothing."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(list(net.parameters()), {})
        self.gradients: list[Tensor] = []

    def step(self) -> None:  # type: ignore[override]
        self.gradients = [weight.grad.clone() for weight in self.param_groups[0]["params"]]


def gradients_of(loss: Tensor, net: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, materialize_grads=True))


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


REAL, LATENT = torch.tensor([[2.0, 0], [0, -4]]), torch.tensor([[1.0, 1], [-3, 2]])


# ---- numbers by hand


def test_a_discriminators_step_by_hand() -> None:
    """w = (1, -1), a = (2, 1): real logits 2 and 4, fakes (2, 1), (-6, 2) with logits 1 and -8."""
    game = Game(Scale(2.0, 1.0), Plane(1.0, -1.0), Rules(Wasserstein(), GradientPenalty(10)), engine())
    optimizer = torch.optim.SGD(game.discriminator.parameters(), 0.1)
    log = discriminator_round(game, REAL, LATENT, optimizer)
    penalty = 10 * (math.sqrt(2) - 1) ** 2
    expected = {"loss": -3.5 - 3 + penalty, "penalty": penalty, "real": 3, "fake": -3.5, "accuracy": 0.75}
    assert {name: log[f"d/{name}"].item() for name in expected} == pytest.approx(expected)
    # d/dw of fake - real: (-2, 1.5) - (1, -2); of the penalty: 20 (|w| - 1) w / |w|
    pull = 20 * (math.sqrt(2) - 1) / math.sqrt(2)
    slope = torch.tensor([-3 + pull, 3.5 - pull])
    torch.testing.assert_close(game.discriminator.w.detach(), torch.tensor([1.0, -1.0]) - 0.1 * slope)
    assert log["d/grad_norm"].item() == pytest.approx(slope.norm().item())


def test_accuracy_counts_reals_above_zero_and_fakes_below() -> None:
    for scale, share in ((1.0, 1), (-1.0, 0.5)):  # fakes (0, 1), (0, 2) with logits -1, -2; then 1, 2
        game = Game(Scale(0.0, scale), Plane(1.0, -1.0), Rules(Wasserstein()), engine())
        assert discriminator_round(game, REAL, LATENT, Keep(game.discriminator))["d/accuracy"].item() == share


def test_a_generators_step_by_hand() -> None:
    """The reward is the mean logit, -3.5: its slope in a is w times the mean latent, (1, -1) (-1, 1.5)."""
    game = Game(Scale(2.0, 1.0), Plane(1.0, -1.0), Rules(Wasserstein(), reward_weight=3), engine())
    log = generator_round(game, REAL, LATENT, torch.optim.SGD(game.generator.parameters(), 0.1))
    assert {name: value.item() for name, value in log.items()} == pytest.approx(
        {"g/loss": 3 * 3.5, "g/reward": -3.5, "g/grad_norm": 3 * math.hypot(1, 1.5)}
    )
    torch.testing.assert_close(game.generator.a.detach(), torch.tensor([2 - 0.3, 1 - 0.45]))


@pytest.mark.parametrize("play", [discriminator_round, generator_round])
def test_a_clipped_step(play: Callable[..., dict[str, Tensor]]) -> None:
    game = Game(Scale(2.0, 1.0), Plane(1.0, -1.0), Rules(Wasserstein()), engine())
    net = game.discriminator if play is discriminator_round else game.generator
    before = flat(list(net.parameters()))
    play(game, REAL, LATENT, torch.optim.SGD(net.parameters(), 1.0), clip=0.25)
    assert (flat(list(net.parameters())) - before).norm().item() == pytest.approx(0.25, rel=1e-4)


def test_weights_are_clipped_before_they_judge_in_every_precision() -> None:
    for precision in ("fp32", "bf16"):
        game = Game(Scale(2.0, 1.0), Plane(1.0, -1.0), Rules(Wasserstein(), WeightClipping(0.5)), engine(precision))
        log = discriminator_round(game, REAL, LATENT, torch.optim.SGD(game.discriminator.parameters(), 0.0))
        assert game.discriminator.w.tolist() == [0.5, -0.5]
        assert log["d/real"].item() == 1.5


# ---- who learns from what


def small(d_norm: str = "none", **numbers: Any) -> tuple[nn.Module, Judge]:
    n = Numbers(width=4, latent=5, d_norm=d_norm, **numbers)  # type: ignore[arg-type]
    return generator_of(n, (1, 8, 8), n.latent), judge_of(n, (1, 8, 8))


PICTURES, NOISE = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)).clamp(-1, 1), torch.ones(6, 5)


def test_each_step_moves_its_own_player() -> None:
    generator, judge = small("batch")
    game = Game(generator, judge, Rules(Relativistic(), Sum([R1(), R2()]), compares=True), engine())
    frozen = judge.get_parameter(next(name for name, _ in judge.named_parameters())).requires_grad_(False)
    kept = frozen.clone()
    for play, mover, other in ((discriminator_round, judge, generator), (generator_round, generator, judge)):
        before, others = flat(list(mover.parameters())), flat(list(other.parameters()))
        play(game, PICTURES, NOISE, torch.optim.SGD(mover.parameters(), 0.1))
        assert not torch.equal(flat(list(mover.parameters())), before)
        assert torch.equal(flat(list(other.parameters())), others)
        assert all(weight.grad is None for weight in (*judge.parameters(), *generator.parameters()))
        assert all(weight.requires_grad == (weight is not frozen) for weight in judge.parameters())
    assert torch.equal(frozen, kept)
    assert generator.training
    assert judge.training


class Listening:
    """Says what it was shown, and wants one more of everything."""

    def __init__(self) -> None:
        self.shown: dict[str, tuple[Any, Seen, Seen]] = {}

    def of_discriminator(self, latent: Any, real: Seen, fake: Seen) -> dict[str, Tensor]:
        self.shown["d"] = latent, real, fake
        return {"one": fake.features.sum() * 0 + 1, "two": real.features.sum() * 0 + 2}

    def of_generator(self, latent: Any, real: Seen, fake: Seen) -> dict[str, Tensor]:
        self.shown["g"] = latent, real, fake
        return {"own": fake.sample.square().sum()}


@pytest.mark.parametrize("compares", [False, True])
def test_terms_see_all_and_are_added_and_logged(compares: bool) -> None:
    terms = Listening()
    rules = Rules(Wasserstein(), terms=terms, reward_weight=0.0, compares=compares)
    game = Game(Scale(2.0, 1.0), Plane(1.0, -1.0), rules, engine())
    log = discriminator_round(game, REAL, LATENT, Keep(game.discriminator))
    assert (log["d/loss"].item(), log["d/one"].item(), log["d/two"].item()) == (-6.5 + 3, 1, 2)
    latent, real, fake = terms.shown["d"]
    assert latent is LATENT
    assert torch.equal(real.sample, REAL)
    assert torch.equal(fake.sample, LATENT * torch.tensor([2.0, 1]))
    assert not fake.sample.requires_grad
    assert fake.logits.requires_grad
    keep = Keep(game.generator)
    log = generator_round(game, REAL, LATENT, keep)
    assert log["g/loss"].item() == log["g/own"].item() == 4 + 36 + 1 + 4
    assert keep.gradients[0].tolist() == [2 * (2 + 18), 2 * (1 + 4)]  # the reward has no part in it
    latent, real, fake = terms.shown["g"]
    assert fake.sample.requires_grad
    assert torch.equal(real.sample, REAL)
    assert len(real.logits) == len(real.features) == (2 if compares else 0)
    assert not real.logits.requires_grad


def test_what_compares_must_say_so() -> None:
    game = Game(Scale(2.0, 1.0), Plane(1.0, -1.0), Rules(Relativistic()), engine())
    with pytest.raises(ValueError, match="shapes must agree"):
        generator_round(game, REAL, LATENT, Keep(game.generator))


class Doubling(Unchanged):
    """Doubles all, and keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Tensor] = []

    def __call__(self, sample: Tensor) -> Tensor:
        return sample * 2

    def observe(self, logits: Tensor) -> None:
        self.told.append(logits)


def test_all_is_judged_augmented() -> None:
    augmentation, terms = Doubling(), Listening()
    rules = Rules(Wasserstein(), R1(2), terms, augmentation, compares=True)
    game = Game(Scale(2.0, 1.0), Bowl(), rules, engine())
    log = discriminator_round(game, REAL, LATENT, Keep(game.discriminator))
    assert log["d/real"].item() == 4 * (4 + 16) / 2
    assert log["d/fake"].item() == 4 * (4 + 1 + 36 + 4) / 2
    assert log["d/penalty"].item() == 4 * 4 * (4 + 16) / 2  # of slopes 2 x at x = 2 real
    (told,) = augmentation.told
    assert told.tolist() == [16, 64]
    assert not told.requires_grad
    keep = Keep(game.generator)
    log = generator_round(game, REAL, LATENT, keep)
    assert len(augmentation.told) == 1  # the discriminator's step alone
    assert terms.shown["g"][1].sample.tolist() == (2 * REAL).tolist()
    # -d/da of the mean of 4 (a z)^2, and the term's d/da sum (2 a z)^2
    slope = 2 * 4 * torch.tensor([20.0, 5.0])
    torch.testing.assert_close(keep.gradients[0], -slope / 2 + slope)


# ---- every row of the table

BCE = F.binary_cross_entropy_with_logits


def fooled(fake: Tensor, real: Tensor) -> Tensor:
    return BCE(fake, torch.ones_like(fake))


def unmasked(fake: Tensor, real: Tensor) -> Tensor:
    return -BCE(fake, torch.zeros_like(fake))


def low(fake: Tensor, real: Tensor) -> Tensor:
    return -fake.mean()


def squared(fake: Tensor, real: Tensor) -> Tensor:
    return F.mse_loss(fake, torch.ones_like(fake)) / 2


def paired(fake: Tensor, real: Tensor) -> Tensor:
    return BCE(fake - real, torch.ones_like(fake))


def averaged(fake: Tensor, real: Tensor) -> Tensor:
    return BCE(fake - real.mean(), torch.ones_like(fake)) + BCE(real - fake.mean(), torch.zeros_like(real))


TEXTBOOK: dict[type[Objective], Callable[[Tensor, Tensor], Tensor]] = {
    NonSaturating: fooled,
    Minimax: unmasked,
    Wasserstein: low,
    Hinge: low,
    LeastSquares: squared,
    Relativistic: paired,
    RelativisticAverage: averaged,
    EnergyMargin: low,
    Equilibrium: low,
    LogitReward: low,
}


def facts(variant: str) -> Facts:
    if variant == "dirac":  # it lives on a line
        return Facts((1,), 0, torch.zeros(40, 1), torch.zeros(40, dtype=torch.int64))
    images = torch.randint(256, (40, 1, 8, 8), dtype=torch.uint8)
    return Facts((1, 8, 8), 4, images, torch.arange(40) % 4)


def set_up(variant: str, augmentation: Augmentation, precision: str = "fp32") -> tuple[Players, Game, Deal]:
    """A row's game with small nets, and what its next round is dealt."""
    row, given, points = VARIANTS[variant], facts(variant), variant == "dirac"
    usual = numbers_for(variant, "points" if points else "pictures", "default")
    n = replace(usual, batch=8, width=4, latent=1 if points else 8, labels=8)
    players = row.build(n, given)
    rules = Rules(row.objective(n), row.penalty(n), players.terms, augmentation, row.reward_weight, row.compares)
    deal = players.dealer.deal(as_floats(given.images[:8]), given.labels[:8])
    return players, Game(players.generator, players.discriminator, rules, engine(precision)), deal


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("augmentation", [Unchanged(), DiffAugment()])
def test_the_generator_climbs_down_the_textbooks_loss(variant: str, augmentation: Augmentation) -> None:
    row, (players, game, deal) = VARIANTS[variant], set_up(variant, augmentation)
    theirs, keep = copy.deepcopy(players), Keep(players.generator)
    torch.manual_seed(2)
    log = generator_round(game, deal.real, deal.latent, keep)

    torch.manual_seed(2)
    fake = augmentation(theirs.generator(deal.latent))
    on_fake = Seen(fake, *theirs.discriminator.judge(fake))
    real = augmentation(deal.real) if row.compares else deal.real
    on_real = Seen(real, *(theirs.discriminator.judge(real) if row.compares else (torch.zeros(0), torch.zeros(0, 0))))
    loss = row.reward_weight * TEXTBOOK[type(game.rules.objective)](on_fake.logits, on_real.logits)
    loss = loss + sum(theirs.terms.of_generator(deal.latent, on_real, on_fake).values())
    exact = flat(gradients_of(loss, theirs.generator))
    torch.testing.assert_close(log["g/loss"], loss.detach(), rtol=1e-4, atol=1e-5)
    assert (flat(keep.gradients) - exact).norm() <= 1e-4 * exact.norm()
    assert exact.norm() > 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_row_plays_a_round_of_each(variant: str) -> None:
    players, game, deal = set_up(variant, ADA(), "bf16")
    log: dict[str, Tensor] = {}
    for play, net in ((discriminator_round, players.discriminator), (generator_round, players.generator)):
        keep = Keep(net)
        log |= play(game, deal.real, deal.latent, keep)
        assert flat(keep.gradients).isfinite().all()
    assert all(value.isfinite() and value.shape == () and not value.requires_grad for value in log.values())
    assert {name.split("/")[0] for name in log} == {"d", "g"}
