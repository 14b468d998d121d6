"""A generator driven by styles: StyleGAN2, Karras et al. 2020 (1912.04958), with skips, the discriminator residual.

A style sets how strong each channel of a convolution's input is; styles of the first levels (4 x 4, 8 x 8) decide what
is coarse in a picture, those of the last what is fine.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from image_gans.judging import Judge, Verdict
from image_gans.layers import DownConv2d, EqualisedConv2d, EqualisedLinear, MinibatchStd, PixelNorm, UpConv2d
from image_gans.nets.growing import GAIN, START, equalised, halved, widths
from image_gans.nets.parts import SLOPE, Flat
from image_gans.samples import Pictures
from rl.discriminator import full_precision

Maps = Float[Tensor, "batch channels height width"]
Style = Float[Tensor, "batch style"]
Styles = Float[Tensor, "batch levels style"]


class Crossed(NamedTuple):
    """Two latents for a picture: the first for its levels below `crossing`, the second for the others."""

    first: Float[Tensor, "batch latent"]
    second: Float[Tensor, "batch latent"]
    crossing: Int[Tensor, "batch"]


class StyledConv(nn.Module):
    """A convolution of maps whose channels are scaled by a style, its output brought to unit variance; then noise.

    Equations 1 and 3: to scale the input and to divide the output by its expected deviation is the same as to do both
    to the weights, for every picture its own.
    """

    def __init__(self, conv: nn.Module, style: int) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style, conv.in_channels, bias=1.0)
        self.conv = conv
        """3 x 3, without a bias; it may double the side"""
        nn.init.normal_(conv.weight)
        self.bias = nn.Parameter(torch.zeros(conv.out_channels, 1, 1))
        self.strength = nn.Parameter(torch.zeros(()))
        """of the noise"""

    def forward(self, maps: Maps, style: Style) -> Maps:
        """Scale, convolve, normalise, add one noise to all channels of a place."""
        scale = self.affine(style)
        maps = self.conv(maps * on_maps(scale)) * on_maps(self.deviation(scale).reciprocal())
        noise = self.strength * torch.randn_like(maps[:, :1])
        return GAIN * F.leaky_relu(maps + noise + self.bias, SLOPE)

    def deviation(self, scale: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch outputs"]:
        """Give the standard deviation of the output for an input of unit variance."""
        power = self.conv.weight.square().sum((2, 3))
        by_input = power if isinstance(self.conv, nn.ConvTranspose2d) else power.T
        return (scale.square() @ by_input + 1e-8).sqrt()


class StyledPaint(nn.Module):
    """From maps to a picture: a 1 x 1 convolution, styled but not normalised."""

    def __init__(self, inputs: int, channels: int, style: int) -> None:
        super().__init__()
        self.affine = EqualisedLinear(style, inputs, bias=1.0)
        self.conv = EqualisedConv2d(inputs, channels, 1)

    def forward(self, maps: Maps, style: Style) -> Pictures:
        """Scale and convolve."""
        return self.conv(maps * on_maps(self.affine(style)))


class StyleGenerator(nn.Module):
    """Two latents to styles, styles to a picture that starts from a learned constant.

    `width` channels at the picture's side, which is 8, 16, 32, ...; ValueError otherwise.
    """

    average: Tensor

    def __init__(self, latent: int, shape: tuple[int, ...], width: int, mapping: int = 4) -> None:
        super().__init__()
        sizes = widths(shape, width)
        self.levels = len(sizes)
        layers = [(EqualisedLinear(latent, latent, gain=GAIN, rate=0.01), nn.LeakyReLU(SLOPE)) for _ in range(mapping)]
        self.mapping = nn.Sequential(PixelNorm(), *(module for layer in layers for module in layer))
        self.constant = nn.Parameter(torch.randn(1, sizes[0], START, START))
        self.enters = nn.ModuleList(StyledConv(UpConv2d(a, b, bias=False), latent) for a, b in pairwise(sizes))
        """from a level to the next"""
        self.stays = nn.ModuleList(
            StyledConv(nn.Conv2d(size, size, 3, padding=1, bias=False), latent) for size in sizes
        )
        self.paints = nn.ModuleList(StyledPaint(size, shape[0], latent) for size in sizes)
        self.register_buffer("average", torch.zeros(latent))
        """style of all pictures, followed in training"""

    def forward(self, latent: Crossed) -> Pictures:
        """Paint the picture of two latents."""
        return self.paint(self.styles(latent))

    def styles(self, latent: Crossed) -> Styles:
        """Give the style of every level."""
        first, second = (full_precision(self.mapping(noise)) for noise in latent[:2])
        if self.training:
            with torch.no_grad():
                self.average.lerp_(first.mean(0), 0.005)
        levels = torch.arange(self.levels, device=first.device)
        below = (levels < latent.crossing.unsqueeze(1)).unsqueeze(2)
        return torch.where(below, first.unsqueeze(1), second.unsqueeze(1))

    def paint(self, styles: Styles) -> Pictures:
        """Add up what every level paints, the coarse ones enlarged."""
        by_level = styles.unbind(1)
        maps = self.stays[0](self.constant.expand(len(styles), -1, -1, -1), by_level[0])
        picture = self.paints[0](maps, by_level[0])
        for style, enter, stay, paint in zip(by_level[1:], self.enters, self.stays[1:], self.paints[1:], strict=True):
            maps = stay(enter(maps, style), style)
            picture = enlarged(picture) + paint(maps, style)
        return picture


class ResidualHalving(nn.Module):
    """Two convolutions beside a shortcut, to half of the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            EqualisedConv2d(inputs, inputs, 3, gain=GAIN),
            nn.LeakyReLU(SLOPE),
            equalised(DownConv2d(inputs, outputs)),
            nn.LeakyReLU(SLOPE),
        )
        self.shortcut = EqualisedConv2d(inputs, outputs, 1)

    def forward(self, maps: Maps) -> Maps:
        """Give the sum, of the variance of either."""
        return (self.body(maps) + self.shortcut(halved(maps))) / math.sqrt(2)


class StyleJudge(Judge):
    """Residual blocks without a norm, then the batch's deviation; features [batch, channels at 4 x 4].

    `width` channels at the picture's side, which is 8, 16, 32, ...; ValueError otherwise.
    """

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        sizes = widths(shape, width)[::-1]
        self.features = sizes[-1]
        """numbers in a verdict's features"""
        self.body = nn.Sequential(
            EqualisedConv2d(shape[0], sizes[0], 1, gain=GAIN),
            nn.LeakyReLU(SLOPE),
            *(ResidualHalving(a, b) for a, b in pairwise(sizes)),
            MinibatchStd(),
            EqualisedConv2d(sizes[-1] + 1, sizes[-1], 3, gain=GAIN),
            nn.LeakyReLU(SLOPE),
            Flat(),
            EqualisedLinear(sizes[-1] * START**2, sizes[-1], gain=GAIN),
            nn.LeakyReLU(SLOPE),
        )
        self.logit = EqualisedLinear(sizes[-1], 1)

    def judge(self, pictures: Pictures) -> Verdict:
        """Find features and judge them."""
        features = self.body(pictures)
        return Verdict(self.logit(features).squeeze(1), features)


def enlarged(maps: Maps) -> Maps:
    """Double the side smoothly, with the weights 1, 3, 3, 1 of the paper's filter."""
    return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


def on_maps(channels: Float[Tensor, "batch channels"]) -> Float[Tensor, "batch channels 1 1"]:
    """Hold a number of each channel against its map."""
    return channels[:, :, None, None]
