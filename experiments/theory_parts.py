"""What the demonstrations share: what one has to show, and the loop over the library's two rounds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from markupsafe import Markup
from torch import Tensor, nn
from torch.optim import Optimizer

from experiments import plots
from experiments.plots import Line, Mark
from image_gans.judging import Judge
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from rl.runtime import Engine, Runtime

Deal = Callable[[], tuple[Any, Any]]
"""Gives real samples and latents of a round."""
Metrics = dict[str, Tensor]


@dataclass(frozen=True)
class Effort:
    """How much work a demonstration may do."""

    seed: int = 0
    seeds: int = 3
    """seeds of what is learned several times"""
    share: float = 1.0
    """of the steps"""

    def steps(self, most: int) -> int:
        """Return how many steps to take where the whole demonstration takes so many."""
        return max(4, round(self.share * most))


@dataclass(frozen=True)
class Shown:
    """What a demonstration shows; a number's key is its name, or row/name where it has several of that name."""

    title: str
    words: str
    figures: list[tuple[str, Markup]]
    numbers: dict[str, float]
    legend: list[tuple[str, str]] = field(default_factory=list)
    """colour and what it stands for"""
    large: list[Markup] = field(default_factory=list)


class Optimizers(NamedTuple):
    """One for each player."""

    generator: Optimizer
    discriminator: Optimizer


def begin(generator: nn.Module, discriminator: Judge, rules: Rules) -> Game:
    """Return a game on the processor, in float32."""
    return Game(generator, discriminator, rules, engine())


def engine(seed: int | None = None) -> Engine:
    """Return an engine of one thread; all draws after this one repeat with the seed."""
    return Engine(Runtime(device="cpu", precision="fp32", threads=1), seed)


def play(game: Game, deal: Deal, optimizers: Optimizers, steps: int, d_steps: int = 1) -> Iterator[tuple[int, Metrics]]:
    """Take steps of the generator, each after `d_steps` of the discriminator, and give what the last rounds measured."""
    for step in range(1, steps + 1):
        for _ in range(d_steps):
            measured = discriminator_round(game, *deal(), optimizers.discriminator)
        yield step, measured | generator_round(game, *deal(), optimizers.generator)


def judge_alone(game: Game, deal: Deal, optimizer: Optimizer, steps: int) -> Iterator[tuple[int, Metrics]]:
    """Take steps of the discriminator; the generator stays as it is."""
    for step in range(1, steps + 1):
        yield step, discriminator_round(game, *deal(), optimizer)
