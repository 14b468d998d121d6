"""What small nets learn: weights at their bounds, a bell curve, eight modes found or lost."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import mean

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor, nn
from torch.optim import RMSprop

from experiments.plots import Line, histogram, over_steps
from experiments.theory_parts import (
    Effort,
    Optimizers,
    Shown,
    adam,
    cooling,
    dots,
    engine,
    evenly,
    frame,
    judge_alone,
    play,
)
from image_gans.distances import earth_mover_line
from image_gans.latent import Game, Rules
from image_gans.metrics.modes import modes
from image_gans.nets import MLPGenerator, MLPJudge
from image_gans.points import ring
from rl.objectives import LeastSquares, NonSaturating, Relativistic, Wasserstein
from rl.penalties import R1, R2, GradientPenalty, Penalty, Sum, WeightClipping


@dataclass(frozen=True)
class Method:
    """Rules, and how often the discriminator learns."""

    rules: Rules
    colour: str
    d_steps: int = 1


METHODS = {
    "gan": Method(Rules(NonSaturating()), "c1"),
    "lsgan": Method(Rules(LeastSquares()), "c6"),
    "gan + r1": Method(Rules(NonSaturating(), R1(0.1)), "c2"),
    "r3gan": Method(Rules(Relativistic(), Sum([R1(0.1), R2(0.1)]), compares=True), "c0"),
    "wgan-gp": Method(Rules(Wasserstein(), GradientPenalty(0.1)), "c3", d_steps=2),
}
LEGEND = [(method.colour, name) for name, method in METHODS.items()]
CLIPPING = """A discriminator of three layers of 128 learns Wasserstein's objective on the ring of eight Gaussians,
against the same points with Gaussian noise of size 1. With weights clipped to ±0.01 (RMSProp at 0.00005, as in the
paper of WGAN) nearly all end up at a bound (as at the first step, since they start larger): the net has two weights.
The gradient penalty (RMSProp at 0.001) leaves them spread. At the bounds: within 1 % of the size of the largest; all
weights and biases count. Gulrajani et al. 2017 (arXiv 1704.00028), figure 1."""
GAUSSIAN = """Noise that is uniform between 0 and 1 becomes N(0, 1): perceptrons of two layers of 64, batches of 256,
Adam at 0.001 with momentum 0.5, the rates falling to zero over the second half; all alike, only the rule differs
(WGAN-GP takes two steps of its discriminator). The distance is the earth mover's between what 4,000 evenly spaced
noises become and as many quantiles of N(0, 1), at the last step. Dashed: what 4,000 real draws come to, and the bar of
0.15. Means over the seeds, and the worst; the figures are of the first seed."""
EIGHT = """Eight Gaussians of size 0.01 on the unit circle; perceptrons of three layers of 128, batches of 256, Adam at
0.001 with momentum 0.5, the rates falling to zero over the second half; all alike, only the rule differs (WGAN-GP
takes two steps of its discriminator). A mode is found where one of 2,500 points lies within three deviations of its
centre; of high quality are all points that do; reverse KL compares their modes with even shares: log 8 = 2.079 is the
worst (PacGAN's measures, arXiv 1712.04086). Means over the seeds, at the last step; the pictures are of the first
seed."""


def clipping(effort: Effort) -> Shown:
    """Look at the weights of a clipped and of a penalised discriminator."""
    kinds = {"clipped": (WeightClipping(0.01), 5e-5, "c1"), "gradient penalty": (GradientPenalty(10.0), 1e-3, "c0")}
    found = {name: weights(penalty, rate, effort) for name, (penalty, rate, _) in kinds.items()}
    colours = [colour for *_, colour in kinds.values()]
    edges = [place / 20 for place in range(-20, 21)]
    counts = [np.histogram((last / last.abs().max()).numpy(), edges)[0].tolist() for last, _ in found.values()]
    over = [Line(range(1, len(shares) + 1), shares, c) for (_, shares), c in zip(found.values(), colours, strict=True)]
    return Shown(
        title="Clipped weights are two weights",
        words=CLIPPING,
        legend=list(zip(colours, kinds, strict=True)),
        figures=[
            (
                "weights, in shares",
                histogram(edges, list(zip(counts, colours, strict=True)), "weight over the largest"),
            ),
            ("share at the bounds", over_steps(over, [], x_label="steps")),
        ],
        numbers={f"{name}/at_bounds": at_bounds(last) for name, (last, _) in found.items()},
    )


def weights(penalty: Penalty, rate: float, effort: Effort) -> tuple[Tensor, list[float]]:
    """Teach a discriminator the ring against a blurred one; its last weights, and their share at bounds by step."""
    here, judge, centres = engine(effort.seed), MLPJudge((2,), (128,) * 3, "none"), ring()
    last, shares = torch.empty(0), []

    def deal() -> tuple[Tensor, Tensor]:
        real, near = (centres.draw(256, torch.default_generator)[0] for _ in range(2))
        return real, near + torch.randn_like(near)

    def watched(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        nonlocal last
        term = penalty(discriminator, real, fake)  # it may clip: these are the weights that judge
        last = nn.utils.parameters_to_vector(discriminator.parameters()).detach()
        shares.append(at_bounds(last))
        return term

    game = Game(nn.Identity(), judge, Rules(Wasserstein(), watched), here)
    for _ in judge_alone(game, deal, RMSprop(judge.parameters(), rate), effort.steps(600)):
        pass
    return last, shares


def at_bounds(weights: Tensor) -> float:
    """Return the share of weights whose size is at least 99 % of the largest."""
    size = weights.abs()
    return (size >= 0.99 * size.max()).float().mean().item()


def gaussian(effort: Effort) -> Shown:
    """Learn N(0, 1) from uniform noise by every method."""
    noises, quantiles = evenly(4_000)[:, None].float(), torch.special.ndtri(evenly(4_000))
    steps = effort.steps(NORMAL.steps)
    looks = range(steps, 0, -max(1, steps // 60))[::-1]
    engine(effort.seed)
    real = torch.randn(4_000)
    edges = [place / 5 for place in range(-20, 21)]
    groups = [(np.histogram(real.numpy(), edges)[0].tolist(), "soft")]
    lines, numbers = [], {"REAL/w1": earth_mover_line(real, quantiles).item()}
    for name, method in METHODS.items():
        runs = []
        for seed in effort.each_seed():
            nets = enumerate(train(NORMAL, method, effort, seed), 1)
            painted = [paint(net, noises)[:, 0] for step, net in nets if step in looks]
            runs.append([earth_mover_line(points, quantiles).item() for points in painted])
            if seed == effort.seed:
                groups += [(np.histogram(painted[-1].numpy(), edges)[0].tolist(), method.colour)]
        lines.append(Line(looks, runs[0], method.colour))
        last = [run[-1] for run in runs]
        numbers |= {f"{name}/w1": mean(last), f"{name}/w1_worst": max(last)}
    levels = [(numbers["REAL/w1"], "soft"), (0.15, "soft")]
    return Shown(
        title="A bell curve from uniform noise",
        words=GAUSSIAN,
        legend=[("soft", "REAL"), *LEGEND],
        figures=[
            ("points, in shares", histogram(edges, groups, "")),
            ("earth mover's distance", over_steps(lines, [], levels, x_label="steps")),
        ],
        numbers=numbers,
    )


def eight(effort: Effort) -> Shown:
    """Count the modes of the ring that every method finds."""
    centres = ring()
    engine(effort.seed)
    real = CIRCLE.real(2_500)
    figures, numbers = [("REAL", scatter(real, "soft"))], within("REAL", [modes(real, centres.centres, centres.sd)])
    for name, method in METHODS.items():
        runs = []
        for seed in effort.each_seed():
            *_, net = train(CIRCLE, method, effort, seed)
            points = paint(net, CIRCLE.noise(2_500))
            runs.append(modes(points, centres.centres, centres.sd))
            if seed == effort.seed:
                figures.append((name, scatter(points, method.colour)))
        numbers |= within(name, runs)
    return Shown(title="Eight modes, found or lost", words=EIGHT, figures=figures, numbers=numbers)


@dataclass(frozen=True)
class Task:
    """What is learned: draws of so many real points and noises, nets of these hidden layers, steps."""

    real: Callable[[int], Tensor]
    noise: Callable[[int], Tensor]
    hidden: tuple[int, ...]
    steps: int


NORMAL = Task(lambda rows: torch.randn(rows, 1), lambda rows: torch.rand(rows, 1), (64,) * 2, 1_000)
CIRCLE = Task(
    lambda rows: ring().draw(rows, torch.default_generator)[0], lambda rows: torch.randn(rows, 2), (128,) * 3, 1_500
)


def train(task: Task, method: Method, effort: Effort, seed: int) -> Iterator[nn.Module]:
    """Give the generator after each of its steps."""
    here, steps = engine(seed), effort.steps(task.steps)
    shape, latent = task.real(1).shape[1:], task.noise(1).shape[1]
    generator, judge = MLPGenerator(latent, shape, task.hidden), MLPJudge(shape, task.hidden, "none")
    optimizers = Optimizers(adam(generator, 0.001), adam(judge, 0.001))
    schedules = [cooling(optimizer, steps) for optimizer in optimizers]
    game = Game(generator, judge, method.rules, here)
    for _ in play(game, lambda: (task.real(256), task.noise(256)), optimizers, steps, method.d_steps):
        for schedule in schedules:
            schedule.step()
        yield generator


@torch.no_grad()
def paint(generator: nn.Module, noise: Tensor) -> Tensor:
    """Give the points that noises become."""
    return generator(noise)


def within(name: str, runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each measure over runs."""
    return {f"{name}/{key}": mean(run[key] for run in runs) for key in runs[0]}


def scatter(points: Tensor, colour: str) -> Markup:
    """Draw 1,000 points, and the circle's corners so that it looks like one."""
    return over_steps([frame(1.4, 1.8), dots(points[:1_000], colour)], [])
