"""Drawing by weights, exactly: one uniform against a cumulative sum, in float64 where the device has it.

In float32 the tail beside a place of nearly all the mass falls between two uniforms, and a sum over many places loses
as much as the small ones hold.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def resolution(device: torch.device) -> torch.dtype:
    """Name the finest floats of a device."""
    return torch.float32 if device.type == "mps" else torch.float64


def uniforms(*shape: int, device: torch.device) -> Float[Tensor, "*shape"]:
    """Draw from [0, 1) at the device's finest resolution."""
    return torch.rand(*shape, device=device, dtype=resolution(device))


def search(masses: Float[Tensor, "rows places"], uniforms: Float[Tensor, "rows draws"]) -> Int[Tensor, "rows draws"]:
    """Return for each uniform the place whose share of its row's mass it falls into; never a place of no mass.

    Masses need not sum to one, but no row may sum to zero. Sums are taken in the dtype of the uniforms.
    """
    cumulative = masses.cumsum(-1, dtype=uniforms.dtype)
    total = cumulative[:, -1:].contiguous()
    below = torch.nextafter(total, torch.zeros_like(total))  # u * total may round up to the total itself
    return torch.searchsorted(cumulative, torch.minimum(uniforms * total, below), right=True)


def draw(masses: Float[Tensor, "rows places"], draws: int) -> Int[Tensor, "rows draws"]:
    """Return independent places, each with the probability of its share of its row's mass.

    Few draws of many places go first for a block of about sqrt(places) by its mass, then for a place inside it: two
    short searches instead of one long cumulative sum.
    """
    rows, places = masses.shape
    block = math.isqrt(places - 1) + 1
    if 8 * draws > block:
        return search(masses, uniforms(rows, draws, device=masses.device))
    blocks = -(-places // block)
    gaps = blocks * block - places
    return draw_by_blocks((F.pad(masses, (0, gaps)) if gaps else masses).view(rows, blocks, block), draws)


def draw_by_blocks(masses: Float[Tensor, "rows blocks block"], draws: int) -> Int[Tensor, "rows draws"]:
    """Return independent places of the flattened blocks: first a block by its mass, then a place inside it."""
    rows, _, block = masses.shape
    chosen = search(masses.sum(-1), uniforms(rows, draws, device=masses.device))
    inside = masses[torch.arange(rows, device=masses.device)[:, None], chosen].view(rows * draws, block)
    place = search(inside, uniforms(rows * draws, 1, device=masses.device))
    return chosen * block + place.view(rows, draws)
