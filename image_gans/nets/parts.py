"""What the nets share: their sizes, what normalises a discriminator, a discriminator made of features and one logit."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from image_gans.judging import Judge, Verdict
from image_gans.layers import spectral, weighted

SLOPE = 0.2  # of the leaky ReLU


def halvings(shape: tuple[int, ...], least: int) -> int:
    """Count how often a picture's side is halved until it is `least`; ValueError unless it is a power of two from 8."""
    *_, height, width = shape
    if len(shape) != 3 or height != width or height < 8 or height & (height - 1):
        raise ValueError(f"a picture [channels, side, side] has a side of 8, 16, 32, ..., not {list(shape)}")
    return int(math.log2(height // least))


def channels_at(width: int, halved: int) -> int:
    """Double the channels with every halving of the side, up to eight times as many."""
    return width * min(2**halved, 8)


@dataclass(frozen=True)
class Normalisation:
    """What keeps the numbers inside a discriminator in bounds."""

    weights: Callable[[nn.Module], nn.Module]
    """gives every layer of a fresh net its first weights, and perhaps a bound on them"""
    maps: Callable[[int], nn.Module]
    """follows a convolution with that many channels"""
    rows: Callable[[int], nn.Module]
    """follows a linear layer with that many outputs"""
    bias: bool
    """whether a layer that one of these follows still needs a bias"""


def small(net: nn.Module) -> nn.Module:
    """Draw the weights of every layer from N(0, 0.02), no biases; Radford et al. 2016 (1511.06434), section 4."""
    return _drawn(net, lambda weight: nn.init.normal_(weight, std=0.02))


def scaled(net: nn.Module) -> nn.Module:
    """Draw weights that keep the variance through leaky ReLUs, no biases; He et al. 2015 (1502.01852), eq. 14."""
    return _drawn(net, lambda weight: nn.init.kaiming_normal_(weight, SLOPE))


def _drawn(net: nn.Module, draw: Callable[[Tensor], Tensor]) -> nn.Module:
    for layer in weighted(net):
        draw(layer.weight)
        if getattr(layer, "bias", None) is not None:  # embeddings know none
            nn.init.zeros_(layer.bias)
    return net


def nothing(size: int) -> nn.Module:
    """Let all pass."""
    return nn.Identity()


NORMS = {
    "none": Normalisation(scaled, nothing, nothing, bias=True),
    "batch": Normalisation(small, nn.BatchNorm2d, nn.BatchNorm1d, bias=False),
    # over all channels and places of a picture, gains by channel: Gulrajani et al. 2017
    "layer": Normalisation(small, lambda size: nn.GroupNorm(1, size), nn.LayerNorm, bias=False),
    "spectral": Normalisation(lambda net: spectral(small(net)), nothing, nothing, bias=True),
}


class FeatureJudge(Judge):
    """A discriminator of tensors: a body finds features, one linear layer makes the logit of them."""

    def __init__(self, body: nn.Module, features: int, norm: str) -> None:
        super().__init__()
        self.body = body
        self.features = features
        """numbers in a verdict's features: what heads and projections start from"""
        self.norm = NORMS[norm]
        self.logit = self.norm.weights(nn.Linear(features, 1))

    def judge(self, x: Float[Tensor, "batch *shape"]) -> Verdict:
        """Find features and judge them."""
        features = self.body(x)
        return Verdict(self.logit(features).squeeze(1), features)


class Canvas(nn.Linear):
    """From rows of numbers to small maps: a linear layer whose output lies in memory as channels_last."""

    def __init__(self, size: int, channels: int, side: int, bias: bool = True) -> None:
        super().__init__(size, side * side * channels, bias)
        self.map = (side, side, channels)

    def forward(self, rows: Float[Tensor, "batch size"]) -> Float[Tensor, "batch channels side side"]:
        """Give maps."""
        return super().forward(rows).unflatten(1, self.map).permute(0, 3, 1, 2)


class Flat(nn.Module):
    """Maps into rows, in Canvas's order: free where they lie in memory as channels_last."""

    def forward(self, maps: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch features"]:
        """Give rows."""
        return maps.permute(0, 2, 3, 1).flatten(1)
