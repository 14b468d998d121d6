"""Nets that begin with pictures of 4 x 4 and double their side: ProGAN, Karras et al. 2018 (1710.10196)."""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import register_parametrization

from image_gans.judging import Judge, Verdict
from image_gans.layers import DownConv2d, EqualisedConv2d, EqualisedLinear, MinibatchStd, PixelNorm, UpConv2d
from image_gans.nets.parts import SLOPE, Flat, channels_at, halvings
from image_gans.samples import Pictures

START = 4
GAIN = math.sqrt(2)  # of a layer that a leaky ReLU follows


class Depth(nn.Module):
    """How far a net has grown, as a number that goes into its checkpoints and averages.

    0 is a side of 4; 1.3 is a side of 16, where the finest layers count for 0.3 and what a net of 8 says for the rest.
    """

    value: Tensor

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        """of the whole net"""
        self.register_buffer("value", torch.zeros(()))

    def set(self, value: float) -> None:
        """Grow to here; ValueError for a depth that the net does not have."""
        if not 0 <= value <= self.levels:
            raise ValueError(f"a net of {self.levels} levels has no depth {value}")
        self.value.fill_(value)

    @torch.compiler.disable  # a compiled net is cut here, and made anew for every level
    def top(self) -> int:
        """Return the finest level that counts; waits for the device."""
        return math.ceil(self.value.item())

    def share(self, top: int) -> Float[Tensor, ""]:
        """Return for how much the finest level counts."""
        return self.value - (top - 1)


def doubled(pictures: Pictures) -> Pictures:
    """Make four equal pixels of each."""
    return F.interpolate(pictures, scale_factor=2, mode="nearest")


def halved(pictures: Pictures) -> Pictures:
    """Make the mean of four pixels one."""
    return F.avg_pool2d(pictures, 2)


def coarse(pictures: Pictures, depth: Depth) -> Pictures:
    """Make of whole pictures what a net of that depth should paint; section 2, figure 2."""
    top = depth.top()
    small = F.avg_pool2d(pictures, 2 ** (depth.levels - top))
    return doubled(halved(small)).lerp(small, depth.share(top))


def widths(shape: tuple[int, ...], width: int) -> list[int]:
    """Return the channels at 4 x 4, 8 x 8, ..., the picture's side, where they are `width`."""
    levels = halvings(shape, START)
    return [channels_at(width, levels - level) for level in range(levels + 1)]


class GrowingGenerator(nn.Module):
    """Noise to pictures of the side that it has grown to: equalised rates, pixel norm, no end but a 1 x 1 convolution.

    `width` channels at the picture's side, which is 8, 16, 32, ...; ValueError otherwise.
    """

    def __init__(self, latent: int, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        sizes = widths(shape, width)
        self.depth = Depth(len(sizes) - 1)
        self.start = nn.Sequential(
            PixelNorm(),
            EqualisedLinear(latent, sizes[0] * START**2, gain=GAIN / 4),
            nn.Unflatten(1, (sizes[0], START, START)),
            *_normed(),
            *_painted(sizes[0], sizes[0]),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(equalised(UpConv2d(a, b)), *_normed(), *_painted(b, b)) for a, b in pairwise(sizes)
        )
        self.paints = nn.ModuleList(EqualisedConv2d(size, shape[0], 1) for size in sizes)

    def forward(self, noise: Float[Tensor, "batch latent"]) -> Pictures:
        """Paint with the finest layers that count, faded in over the same net without them."""
        top = self.depth.top()
        maps = self.start(noise)
        if top == 0:
            return self.paints[0](maps)
        for block in self.blocks[: top - 1]:
            maps = block(maps)
        before, after = doubled(self.paints[top - 1](maps)), self.paints[top](self.blocks[top - 1](maps))
        return before.lerp(after, self.depth.share(top).to(after))


class GrowingJudge(Judge):
    """Judges pictures of the side that it has grown to; the generator's mirror image, with the batch's deviation.

    Features [batch, channels at 4 x 4]. A picture has a side of 8, 16, 32, ...; ValueError otherwise.
    """

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        sizes = widths(shape, width)
        self.depth = Depth(len(sizes) - 1)
        self.features = sizes[0]
        """numbers in a verdict's features"""
        self.reads = nn.ModuleList(
            nn.Sequential(EqualisedConv2d(shape[0], size, 1, gain=GAIN), nn.LeakyReLU(SLOPE)) for size in sizes
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*_judged(b, b), equalised(DownConv2d(b, a)), nn.LeakyReLU(SLOPE)) for a, b in pairwise(sizes)
        )
        self.end = nn.Sequential(
            MinibatchStd(),
            *_judged(sizes[0] + 1, sizes[0]),
            Flat(),
            EqualisedLinear(sizes[0] * START**2, sizes[0], gain=GAIN),
            nn.LeakyReLU(SLOPE),
        )
        self.logit = EqualisedLinear(sizes[0], 1)

    def judge(self, pictures: Pictures) -> Verdict:
        """Read with the finest layers that count, faded in over what the net without them reads."""
        top = self.depth.top()
        maps = self.reads[top](pictures)
        if top > 0:
            before, after = self.reads[top - 1](halved(pictures)), self.blocks[top - 1](maps)
            maps = before.lerp(after, self.depth.share(top).to(after))
        for level in reversed(range(top - 1)):
            maps = self.blocks[level](maps)
        features = self.end(maps)
        return Verdict(self.logit(features).squeeze(1), features)


class Times(nn.Module):
    """Multiply by a fixed number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, weight: Tensor) -> Tensor:
        """Give the product."""
        return self.factor * weight


def equalised(conv: nn.Module) -> nn.Module:
    """Treat a convolution [3 x 3, a leaky ReLU follows] as EqualisedConv2d does its own."""
    nn.init.normal_(conv.weight)
    nn.init.zeros_(conv.bias)
    return register_parametrization(conv, "weight", Times(GAIN / math.sqrt(9 * conv.in_channels)))


def _normed() -> tuple[nn.Module, ...]:
    return nn.LeakyReLU(SLOPE), PixelNorm()


def _painted(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return EqualisedConv2d(inputs, outputs, 3, gain=GAIN), *_normed()


def _judged(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return EqualisedConv2d(inputs, outputs, 3, gain=GAIN), nn.LeakyReLU(SLOPE)
