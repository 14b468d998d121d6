"""Pictures of one square size: padded, or cropped and resized."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate, pad

from rl.runtime import InputError

Bytes = UInt8[Tensor, "pictures channels height width"]
SMALLEST = 8  # side of a picture that the networks can still halve
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as Pillow has it
CHUNK = 1024  # pictures that are numbers at a time: these take four times the memory of bytes


class Wanted(NamedTuple):
    """What pictures shall be like."""

    size: int = 0
    """their side; 0: their own, padded with black to a power of two"""
    channels: int = 0
    """1 or 3; 0: their own"""


def fit(pictures: Bytes, wanted: Wanted, place: str) -> Bytes:
    """Return square pictures of the side and with the channels that are wanted; raise InputError naming the place."""
    own, height, width = pictures.shape[1:]
    if 0 in (height, width):
        raise InputError(f"{place}: {height} x {width} pixels")
    if wanted.channels > own:
        raise InputError(f"{place}: one channel where three are asked for (--channels)")
    if not wanted.size and height != width:
        raise InputError(f"{place}: {height} x {width} pixels, not square (--size crops and resizes)")
    return torch.cat([shaped(chunk, wanted) for chunk in pictures.split(CHUNK)])


def shaped(pictures: Bytes, wanted: Wanted) -> Bytes:
    """Convert channels, then crop and resize, or pad."""
    if 0 < wanted.channels < pictures.shape[1]:
        pictures = luma(pictures)
    return resized(pictures, wanted.size) if wanted.size else padded(pictures)


def luma(pictures: Bytes) -> Bytes:
    """Return how bright colours are."""
    return to_bytes(torch.einsum("nchw,c->nhw", pictures.float(), torch.tensor(LUMA)).unsqueeze(1))


def padded(pictures: Bytes) -> Bytes:
    """Surround square pictures evenly with black, up to the next power of two."""
    side = pictures.shape[-1]
    missing = max(SMALLEST, 1 << (side - 1).bit_length()) - side
    before, after = missing // 2, missing - missing // 2
    return pad(pictures, (before, after, before, after))


def resized(pictures: Bytes, size: int) -> Bytes:
    """Crop the middle square and resize it, bicubic and antialiased: Parmar et al. 2022, arXiv:2104.11222, say why."""
    height, width = pictures.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = pictures[..., top : top + side, left : left + side]
    return middle if side == size else to_bytes(interpolate(middle.float(), size, mode="bicubic", antialias=True))


def to_bytes(values: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Round numbers of 0..255; what lies beyond is cut off."""
    return values.round().clamp(0, 255).to(torch.uint8)


def gather(found: Iterable[tuple[str, UInt8[Tensor, "channels height width"]]], wanted: Wanted) -> Bytes:
    """Fit pictures, each with its place, as they come; raise InputError naming the first of another shape."""
    fitted: list[Tensor] = []
    for place, picture in found:
        # what nobody asked to be changed must be the same in all
        own = (0 if wanted.channels else len(picture), *(() if wanted.size else picture.shape[1:]))
        first = first if fitted else (place, own)
        if own != first[1]:
            raise InputError(
                f"{place}: {written(picture)}, not like {first[0]} (--size and --channels make pictures alike)"
            )
        fitted.append(fit(picture.unsqueeze(0), wanted, place))
    return torch.cat(fitted)


def written(pictures: Tensor) -> str:
    """Write the shape of one picture: `3 x 32 x 32`."""
    return " x ".join(map(str, pictures.shape[-3:]))
