"""The two rounds that serve all of the first family: from a latent to a picture.

Both players climb through the sample: the generator's loss is minus the mean reward of its fakes, whatever the
objective. What a sample and a latent are is the dealer's idea, so that a conditional, a coupled or a pyramid GAN
needs no rounds of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from image_gans.augmentation import Augmentation, Unchanged
from image_gans.judging import Judge, Seen
from image_gans.terms import NoTerms, Terms
from rl.discriminator import frozen
from rl.estimators import pathwise
from rl.objectives import Objective
from rl.penalties import NoPenalty, Penalty
from rl.runtime import Engine

Metrics = dict[str, Tensor]


@dataclass(frozen=True)
class Rules:
    """What the players want."""

    objective: Objective
    penalty: Penalty = field(default_factory=NoPenalty)
    terms: Terms = field(default_factory=NoTerms)
    augmentation: Augmentation = field(default_factory=Unchanged)
    reward_weight: float = 1.0
    """of the mean reward in what the generator climbs; 0: it has its terms alone"""
    compares: bool = False
    """whether the generator's reward or terms look at how real samples are judged"""


class Game:
    """The two players and the rules between them."""

    def __init__(self, generator: nn.Module, discriminator: Judge, rules: Rules, engine: Engine) -> None:
        self.generator, self.discriminator, self.rules, self.engine = generator, discriminator, rules, engine
        self.paint, self.judge = engine.fast(generator), engine.fast(discriminator.judge)

    def see(self, sample: Any) -> Seen:
        """Judge samples as they are."""
        return Seen(sample, *self.judge(sample))


def discriminator_round(
    game: Game, real: Any, latent: Any, optimizer: torch.optim.Optimizer, *, clip: float = float("inf")
) -> Metrics:
    """Make one step towards telling real samples from what the generator paints of the latents."""
    rules, engine = game.rules, game.engine
    with torch.no_grad():
        fake = game.paint(latent)
    real, fake = rules.augmentation(real), rules.augmentation(fake)
    with parametrize.cached():  # a spectral norm follows its weights once in a step
        penalty = rules.penalty(engine.smooth(game.discriminator), real, fake)  # first: it may clip weights
        on_real, on_fake = game.see(real), game.see(fake)
        with engine.autocast():
            terms = rules.terms.of_discriminator(latent, on_real, on_fake)
        loss = rules.objective.discriminator_loss(on_real.logits, on_fake.logits) + penalty + total(terms, penalty)
        norm = engine.update(optimizer, loss, name="d/loss", clip=clip)
    rules.augmentation.observe(on_real.logits.detach())
    correct = torch.cat([on_real.logits.flatten() > 0, on_fake.logits.flatten() < 0]).float().mean()
    measured = {
        "loss": loss,
        "penalty": penalty,
        "real": on_real.logits.float().mean(),
        "fake": on_fake.logits.float().mean(),
        "accuracy": correct,
        "grad_norm": norm,
    }
    return {f"d/{name}": value.detach() for name, value in (measured | dict(terms)).items()}


def generator_round(
    game: Game, real: Any, latent: Any, optimizer: torch.optim.Optimizer, *, clip: float = float("inf")
) -> Metrics:
    """Make one step towards samples that earn more; the discriminator's weights take no gradient."""
    rules, engine = game.rules, game.engine
    with frozen(game.discriminator), parametrize.cached():
        fake = rules.augmentation(game.paint(latent))
        on_fake = game.see(fake)
        on_real = game.see(rules.augmentation(real)) if rules.compares else unseen(real)
        reward = rules.objective.reward(on_fake.logits, on_real.logits)
        with engine.autocast():
            terms = rules.terms.of_generator(latent, on_real, on_fake)
        loss = rules.reward_weight * pathwise(reward)
        loss = loss + total(terms, loss)
        norm = engine.update(optimizer, loss, name="g/loss", clip=clip)
    measured = {"loss": loss, "reward": reward.mean(), "grad_norm": norm}
    return {f"g/{name}": value.detach() for name, value in (measured | dict(terms)).items()}


def unseen(sample: Any) -> Seen:
    """Give samples that nobody judged."""
    return Seen(sample, torch.empty(0), torch.empty(0, 0))


def total(terms: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """Add up named losses; nothing is zero."""
    return sum((term.float() for term in terms.values()), torch.zeros_like(like))
