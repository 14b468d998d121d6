"""Drawing from many weights by one uniform each against a cumulative sum, in float64 where the device has it.

In float32 the tail beside a place of nearly all the mass falls between two uniforms, and a sum over thousands of
places loses as much as small places hold.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def uniforms(*shape: int, device: torch.device) -> Float[Tensor, "*shape"]:
    """Draw from [0, 1) at the device's finest resolution."""
    return torch.rand(*shape, device=device, dtype=resolution(device))


def resolution(device: torch.device) -> torch.dtype:
    """Name the finest floats of a device."""
    return torch.float32 if device.type == "mps" else torch.float64


def search(masses: Float[Tensor, "rows places"], uniforms: Float[Tensor, "rows draws"]) -> Int[Tensor, "rows draws"]:
    """Return for each uniform the place whose share of its row's mass it falls into; never a place of no mass.

    Masses need not sum to one, but no row may sum to zero. Sums are taken in the dtype of the uniforms.
    """
    cumulative = masses.cumsum(-1, dtype=uniforms.dtype)
    total = cumulative[:, -1:].contiguous()
    below = torch.nextafter(total, torch.zeros_like(total))  # u * total may round up to the total itself
    return torch.searchsorted(cumulative, torch.minimum(uniforms * total, below), right=True)
