"""What the demonstrations share: what one has to show, and the loop over the library's two rounds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from markupsafe import Markup
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from experiments.plots import Line
from image_gans.latent import Game, discriminator_round, generator_round
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

    def each_seed(self) -> range:
        """Return the seeds, the first one first."""
        return range(self.seed, self.seed + self.seeds)


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


def engine(seed: int) -> Engine:
    """Return an engine on the processor, in float32; all draws from here on repeat with the seed."""
    return Engine(Runtime(device="cpu", precision="fp32", threads=1), seed)


def adam(net: nn.Module, rate: float) -> Adam:
    """Return Adam with the usual memory of adversaries."""
    return Adam(net.parameters(), rate, betas=(0.5, 0.99))


def cooling(optimizer: Optimizer, steps: int) -> LambdaLR:
    """Return a schedule that lets the rate fall to zero over the second half of the steps."""
    return LambdaLR(optimizer, lambda step: min(1.0, 2 - 2 * step / steps))


def play(game: Game, deal: Deal, optimizers: Optimizers, steps: int, d_steps: int = 1) -> Iterator[tuple[int, Metrics]]:
    """Take steps of the generator, each after `d_steps` of the discriminator, and give what each measured."""
    for step in range(1, steps + 1):
        for _ in range(d_steps):
            measured = discriminator_round(game, *deal(), optimizers.discriminator)
        yield step, measured | generator_round(game, *deal(), optimizers.generator)


def judge_alone(game: Game, deal: Deal, optimizer: Optimizer, steps: int) -> Iterator[tuple[int, Metrics]]:
    """Take steps of the discriminator; the generator stays as it is."""
    for step in range(1, steps + 1):
        yield step, discriminator_round(game, *deal(), optimizer)


def evenly(rows: int) -> Float[Tensor, "rows"]:
    """Return the middles of equal parts of 0 to 1."""
    return (torch.arange(rows, dtype=torch.float64) + 0.5) / rows


def dots(points: Float[Tensor, "points 2"], colour: str, opacity: float = 0.5) -> Line:
    """Return points of the plane."""
    return Line(*points.T.tolist(), colour, width=0, marker=".", opacity=opacity)


def frame(height: float, proportion: float) -> Line:
    """Return an invisible line between corners: in a figure of this proportion a circle then looks like one."""
    return Line([-height * proportion, height * proportion], [-height, height], "paper", width=0.1, opacity=0)
