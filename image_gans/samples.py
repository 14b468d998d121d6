"""What a generator paints and a discriminator judges."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Pictures = Float[Tensor, "batch channels height width"]
"""From -1 (black) to 1 (white)."""
Labels = Int[Tensor, "batch"]


class Pair(NamedTuple):
    """A picture with its class, or the noise to paint from with the class to paint."""

    x: Tensor
    label: Labels


def as_floats(stored: Tensor) -> Float[Tensor, "..."]:
    """Bytes 0..255 become numbers from -1 to 1; numbers stay what they are (points of a plane)."""
    return stored.float().div(127.5).sub(1) if stored.dtype == torch.uint8 else stored


def as_bytes(pictures: Float[Tensor, "..."]) -> Tensor:
    """Numbers from -1 to 1 become bytes 0..255, what lies beyond is cut off."""
    return pictures.float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
