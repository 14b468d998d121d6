"""Draws from a fixed distribution over many places in constant time each."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from rl.inverse_cdf import resolution, uniforms


@dataclass(frozen=True, eq=False)
class AliasTable:
    """Every place is a bucket of mass 1/N that it shares with one other place; Walker 1977, Vose 1991.

    A draw is one bucket, uniformly, and one coin. The table is built without a loop: in the order in which lights
    (below the mean) are filled up by heavies, who fills whom stands in two cumulative sums (Hübschle-Schneider &
    Sanders 2019, 1903.00227).
    """

    keep: Float[Tensor, "places"]
    """probability that the bucket's own place is meant"""
    other: Int[Tensor, "places"]
    """the place that is meant otherwise"""

    @classmethod
    def of(cls, weights: Float[Tensor, "places"]) -> "AliasTable":
        """Build the table of finite weights, none negative; raises ValueError if they are not, or all are zero."""
        if not bool((weights >= 0).all()) or not 0 < float(weights.double().sum()) < torch.inf:
            raise ValueError("AliasTable: weights must be finite and not negative, and one of them positive")
        share = weights.to(resolution(weights.device))
        share = share * (len(share) / share.sum())
        light, heavy = (share < 1).nonzero().squeeze(1), (share >= 1).nonzero().squeeze(1)
        keep, other = torch.ones_like(share), torch.arange(len(share), device=share.device)
        if len(light) == 0 or len(heavy) == 0:  # all equal, up to rounding
            return cls(keep, other)
        lacks, spares = (1 - share[light]).cumsum(0), (share[heavy] - 1).cumsum(0)
        # a heavy fills lights until it is no longer above the mean: then it is light itself, and the next heavy's
        last = len(heavy) - 1
        filler = torch.searchsorted(spares, F.pad(lacks[:-1], (1, 0))).clamp(max=last)
        keep[light], other[light] = share[light], heavy[filler]
        emptied = torch.searchsorted(lacks, spares[:-1], right=True)
        done = emptied < len(light)  # False where rounding alone leaves a heavy above the mean at the end
        beyond = lacks[emptied[done]] - spares[:-1][done]
        giver = done.nonzero().squeeze(1)
        keep[heavy[giver]], other[heavy[giver]] = (1 - beyond).clamp(0, 1), heavy[giver + 1]
        return cls(keep, other)

    def draw(self, *shape: int) -> Int[Tensor, "*shape"]:
        """Return independent places."""
        bucket = torch.randint(len(self.keep), shape, device=self.keep.device)
        own = uniforms(*shape, device=self.keep.device) < self.keep[bucket]
        return torch.where(own, bucket, self.other[bucket])

    def probabilities(self) -> Float[Tensor, "places"]:
        """Return with what probability the table gives each place, exactly."""
        given = self.keep.clone().index_add_(0, self.other, 1 - self.keep)
        return given / len(self.keep)
