"""Encoders: from a sample to a row of numbers.

Each sample is encoded by itself (layer norm, no batch statistics), so that a code does not depend on who else is in the
batch, and none waits to be refreshed before an encoder is measured.
"""

import math
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from image_gans.numbers import Numbers


class PictureEncoder(nn.Module):
    """Strided convolutions down to 4x4, then one linear layer; the mirror image of DCGAN's generator."""

    def __init__(self, shape: tuple[int, ...], outputs: int, width: int) -> None:
        """Take a square `shape` (channels, side, side); ValueError unless the side is a power of two from 4 up."""
        super().__init__()
        channels, side = shape[0], shape[-1]
        halvings = side.bit_length() - 3
        if halvings < 0 or side != 4 << halvings:
            raise ValueError(f"PictureEncoder: the side must be a power of two from 4 up, got {side}")
        widths = [min(width << level, 8 * width) for level in range(halvings + 1)]
        self.body = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, padding=1),
            nn.LeakyReLU(0.2),
            *(layer for narrow, wide in pairwise(widths) for layer in _halve(narrow, wide)),
            nn.Flatten(),
            nn.Linear(16 * widths[-1], outputs),
        )

    def forward(self, pictures: Float[Tensor, "batch channels side side"]) -> Float[Tensor, "batch outputs"]:
        """Encode."""
        return self.body(pictures)


class VectorEncoder(nn.Module):
    """A perceptron of two hidden layers; for points, and for pictures as a long row."""

    def __init__(self, shape: tuple[int, ...], outputs: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, outputs),
        )

    def forward(self, samples: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch outputs"]:
        """Encode."""
        return self.body(samples)


def encoder_of(n: Numbers, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """Return the encoder that goes with the nets of a run: a perceptron for points and beside perceptrons."""
    kind = VectorEncoder if n.net == "mlp" or len(shape) != 3 else PictureEncoder
    return kind(shape, outputs, n.width)


def _halve(narrow: int, wide: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(narrow, wide, 4, 2, 1), nn.GroupNorm(1, wide), nn.LeakyReLU(0.2)
