"""R3GAN's nets, made small: grouped convolutions, nothing normalised; Huang et al. 2024 (2501.05441), section 4."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from image_gans.layers import Maps, Rows
from image_gans.nets.parts import SLOPE, FeatureJudge, channels_at, halvings, scaled

EXPANSION = 2  # of the channels inside a block
GROUP = 16  # channels that its 3x3 convolution mixes


class Block(nn.Module):
    """Maps, and 1x1, grouped 3x3 and 1x1 convolutions of them added.

    Fix-up initialisation (Zhang et al. 2019, 1901.09321): the last convolution is zero, the others' weights are as much
    smaller as there are blocks, so that depth does not move the first outputs and gradients.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        inner = channels * EXPANSION
        groups = max(inner // GROUP, 1)
        first, middle = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, inner, 3, padding=1, groups=groups)
        last = nn.Conv2d(inner, channels, 1, bias=False)
        self.body = nn.Sequential(first, nn.LeakyReLU(SLOPE), middle, nn.LeakyReLU(SLOPE), last)
        scaled(self)
        with torch.no_grad():
            first.weight.mul_(blocks**-0.25)
            middle.weight.mul_(blocks**-0.25)
            last.weight.zero_()

    def forward(self, maps: Maps) -> Maps:
        """Give maps of the same shape."""
        return maps + self.body(maps)


class Basis(nn.Module):
    """A learned map of side 4 for each channel, times what a linear layer makes of the noise."""

    def __init__(self, latent: int, channels: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(channels, 4, 4))
        self.linear = nn.Linear(latent, channels)

    def forward(self, noise: Rows) -> Maps:
        """Give maps of side 4."""
        return self.maps * self.linear(noise)[..., None, None]


class Probe(nn.Module):
    """Where the maps end: each channel's product with a learned map of side 4.

    A convolution with as many groups as channels says the same, but its second derivative is a loop over groups.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.randn(channels, 4, 4) / 4)

    def forward(self, maps: Maps) -> Rows:
        """Give a number for each channel."""
        return (maps * self.maps).sum((2, 3))


class Up(nn.Module):
    """Other channels, then twice the side, bilinear: the two commute, the cheaper comes first."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, maps: Maps) -> Maps:
        """Give maps of twice the side."""
        return F.interpolate(self.mix(maps), scale_factor=2, mode="bilinear")


class R3Generator(nn.Sequential):
    """Maps of side 4 are doubled until half of the picture's side, with `width` channels; then the picture.

    A picture has a side of 8, 16, 32, ...; ValueError otherwise.
    """

    def __init__(self, latent: int, shape: tuple[int, ...], width: int) -> None:
        blocks = halvings(shape, 4)
        widths = [channels_at(width, halved) for halved in reversed(range(blocks))]
        layers: list[nn.Module] = [Basis(latent, widths[0]), Block(widths[0], blocks)]
        for a, b in pairwise(widths):
            layers += [Up(a, b), Block(b, blocks)]
        super().__init__(*layers, nn.ConvTranspose2d(width, shape[0], 4, 2, 1), nn.Tanh())


class R3Judge(FeatureJudge):
    """From half of the picture's side, `width` channels, sides are halved until 4; each channel has its own 4x4 end.

    Features [batch, channels]. A picture has a side of 8, 16, 32, ...; ValueError otherwise.
    """

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        blocks = halvings(shape, 4)
        widths = [channels_at(width, halved) for halved in range(blocks)]
        layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 4, 2, 1), Block(width, blocks)]
        for a, b in pairwise(widths):
            layers += [nn.AvgPool2d(2), nn.Conv2d(a, b, 1, bias=False), Block(b, blocks)]
        super().__init__(nn.Sequential(*layers, Probe(widths[-1])), widths[-1], "none")
