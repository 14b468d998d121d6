"""LAPGAN: a small picture, and the details that every doubling of its side adds; Denton et al. 2015 (1506.05751).

Levels run from fine to coarse. Each has a generator and a discriminator of its own; as no weights are shared, one round
of them all equals training each by itself.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from image_gans.dealing import Deal
from image_gans.judging import Judge, Verdict
from image_gans.nets import generator_of, judge_of
from image_gans.numbers import Facts, Numbers
from image_gans.players import Players
from image_gans.samples import Labels, Pictures

Pyramid = tuple[Pictures, ...]
"""One picture at several sizes, from fine to coarse, each side half of the one before."""


def down(pictures: Pictures) -> Pictures:
    """Halve the side: the mean of every 2x2."""
    return F.avg_pool2d(pictures, 2)


def up(pictures: Pictures) -> Pictures:
    """Double the side, smoothly: the low-pass that a finer level starts from."""
    return F.interpolate(pictures, scale_factor=2, mode="bilinear", align_corners=False)


def pyramid(pictures: Pictures, levels: int) -> Pyramid:
    """Give pictures at `levels` sizes, from their own down: the Gaussian pyramid, section 2.2."""
    sizes = [pictures]
    while len(sizes) < levels:
        sizes.append(down(sizes[-1]))
    return tuple(sizes)


def sides(side: int) -> list[int]:
    """Return the sides of a picture's levels: down to 8, or to 4 where it has 8."""
    end = 8 if side > 8 else 4
    return [side >> level for level in range(side.bit_length()) if side >> level >= end]


def coarse(n: Numbers, side: int) -> Numbers:
    """Return the numbers of the coarsest level's nets: wide for their side, and perceptrons where it is 4."""
    return replace(n, net=n.net if side >= 8 else "mlp", width=4 * n.width)


class Noise(NamedTuple):
    """What a picture is painted from, N(0, 1)."""

    coarsest: Float[Tensor, "batch size"]
    planes: tuple[Float[Tensor, "batch pixels"], ...]
    """of all other levels, from fine to coarse: a number for each pixel"""


class Ladder(NamedTuple):
    """What all levels paint from where none waits for another."""

    noise: Noise
    lows: Pyramid
    """low-pass pictures for all levels but the coarsest"""


@dataclass(frozen=True)
class Levels:
    """Real pictures at all sizes; every level but the coarsest paints on the low-pass of a real picture."""

    size: int
    """numbers of noise at the coarsest level"""
    sides: tuple[int, ...]
    """from fine to coarse"""

    def deal(self, pictures: Pictures, labels: Labels) -> Deal:
        """Judge every size."""
        real = pyramid(pictures, len(self.sides))
        noise = self.free(len(pictures), None, pictures.device)
        return Deal(real, Ladder(noise, tuple(up(smaller) for smaller in real[1:])))

    def free(self, rows: int, labels: Labels | None, device: torch.device) -> Noise:
        """Draw noise for all levels."""
        planes = tuple(torch.randn(rows, side * side, device=device) for side in self.sides[:-1])
        return Noise(torch.randn(rows, self.size, device=device), planes)

    def show(self, generator: "LevelGenerators", latent: Noise) -> Pictures:
        """Paint from coarse to fine."""
        return generator.climb(latent)


class Refiner(nn.Module):
    """A low-pass picture and a plane of noise to the picture itself: the net paints what is missing, the details.

    Judged is the sum of both, as in the paper, section 2.3; so what the right details give is exactly the picture.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.details = nn.Sequential(
            nn.Conv2d(channels + 1, width, 5, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 5, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, channels, 5, padding=2),
        )

    def forward(self, low: Pictures, plane: Float[Tensor, "batch pixels"]) -> Pictures:
        """Add details."""
        return low + self.details(torch.cat([low, plane.unflatten(1, (1, *low.shape[2:]))], 1))


class LevelGenerators(nn.Module):
    """A refiner for each level, from fine to coarse, and a net from noise alone for the coarsest."""

    def __init__(self, n: Numbers, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, side, _ = shape
        *finer, end = sides(side)
        self.refiners = nn.ModuleList(Refiner(channels, n.width) for _ in finer)
        self.coarsest = generator_of(coarse(n, end), (channels, end, end), n.latent)

    def forward(self, latent: Ladder) -> Pyramid:
        """Paint every level by itself, on low-pass pictures that are given."""
        given = zip(self.refiners, latent.lows, latent.noise.planes, strict=True)
        return (*(refine(low, plane) for refine, low, plane in given), self.coarsest(latent.noise.coarsest))

    def climb(self, noise: Noise) -> Pictures:
        """Paint the coarsest picture and refine it, level after level."""
        pictures = self.coarsest(noise.coarsest)
        for refine, plane in zip(reversed(self.refiners), reversed(noise.planes), strict=True):
            pictures = refine(up(pictures), plane)
        return pictures


class LevelJudges(Judge):
    """A discriminator for each level; logits [batch, levels], the features of all levels in one row."""

    def __init__(self, n: Numbers, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, side, _ = shape
        *finer, end = sides(side)
        judges = [judge_of(n, (channels, side, side)) for side in finer]
        self.judges = nn.ModuleList([*judges, judge_of(coarse(n, end), (channels, end, end))])

    def judge(self, x: Pyramid) -> Verdict:
        """Judge every level."""
        verdicts = [judge.judge(level) for judge, level in zip(self.judges, x, strict=True)]
        logits, features = zip(*verdicts, strict=True)
        return Verdict(torch.stack(logits, 1), torch.cat(features, 1))


def lapgan(n: Numbers, facts: Facts) -> Players:
    """Details conditioned on the low-pass picture, level by level; Denton et al. 2015 (1506.05751), section 2.3."""
    levels = Levels(n.latent, tuple(sides(facts.shape[-1])))
    return Players(LevelGenerators(n, facts.shape), LevelJudges(n, facts.shape), levels)
