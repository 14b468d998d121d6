"""Rows with holes, packed to the left: padding then stands nowhere but on the right, whoever put it where."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

Mask = Bool[Tensor, "batch time"]
Embedded = Float[Tensor, "batch time width"]
Pooled = Float[Tensor, "batch width"]


@dataclass(frozen=True)
class Packing:
    """Where the tokens of each row stand: the places that are there first, in their order."""

    order: Int[Tensor, "batch longest"]
    """of each packed place, the place that it was taken from"""
    mask: Mask
    """which packed places hold a token"""

    @classmethod
    def of(cls, mask: Mask) -> "Packing":
        """Pack to the longest row, one place at least."""
        counts = mask.sum(1)
        longest = max(1, int(counts.max()))
        order = mask.logical_not().long().argsort(dim=1, stable=True)[:, :longest]
        return cls(order, torch.arange(longest, device=mask.device) < counts[:, None])

    def pack(self, x: Embedded) -> Float[Tensor, "batch longest width"]:
        """Take what stands at each packed place."""
        return x.gather(1, self.order[..., None].expand(-1, -1, x.shape[2]))

    def unpack(self, x: Float[Tensor, "batch longest"], time: int) -> Float[Tensor, "batch time"]:
        """Put numbers back where they came from; zero where no token is."""
        return x.new_zeros(len(x), time).scatter(1, self.order, x.masked_fill(~self.mask, 0))


def first(states: Embedded, mask: Mask) -> Pooled:
    """Return the state of the first token, an encoder's [CLS]."""
    return states[:, 0]


def last(states: Embedded, mask: Mask) -> Pooled:
    """Return the state of the last token, which has read the whole row in a decoder."""
    return states[torch.arange(len(states), device=states.device), mask.sum(1).clamp(min=1) - 1]


def mean(states: Embedded, mask: Mask) -> Pooled:
    """Return the mean state of the tokens."""
    total = states.masked_fill(~mask[..., None], 0).sum(1)
    return total / mask.sum(1, keepdim=True).clamp(min=1)


POOLING: dict[str, Callable[[Embedded, Mask], Pooled]] = {"first": first, "last": last, "mean": mean}
"""From packed states to one state of a row."""


def filled(x: Embedded, mask: Mask, filler: Float[Tensor, "width"], length: int) -> Float[Tensor, "batch length width"]:
    """Put the filler wherever packed rows hold no token, up to `length` places."""
    full = torch.where(mask[..., None], x, filler)
    rest = filler.expand(len(x), length - x.shape[1], -1)
    return torch.cat([full, rest], 1)


def padded(rows: list[list[int]]) -> tuple[Int[Tensor, "rows time"], Mask]:
    """Return rows of tokens side by side, with what is there; zeros fill them up on the right."""
    longest = max(map(len, rows))
    tokens = torch.stack([F.pad(torch.tensor(row, dtype=torch.long), (0, longest - len(row))) for row in rows])
    return tokens, torch.arange(longest) < torch.tensor([[len(row)] for row in rows])
