"""Observations on one scale: (x - mean) / std, with statistics that are part of the network."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Normaliser(nn.Module):
    """Standardise rows by the mean and the variance of all rows added so far; before any, the rows as they are.

    `floor` is the least standard deviation (an input that hardly moves is not blown up), `limit` the largest size of a
    result. Pixels (uint8) pass unchanged.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, width: int, floor: float = 1e-3, limit: float = 10.0) -> None:
        super().__init__()
        self.floor, self.limit = floor, limit
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def add(self, rows: Float[Tensor, "rows width"]) -> None:
        """Take rows into the statistics; Chan, Golub & LeVeque 1983."""
        if rows.dtype == torch.uint8 or not len(rows):
            return
        total = self.count + len(rows)
        share = (len(rows) / total).to(self.mean)  # of the new rows
        mean, variance = rows.mean(0), rows.var(0, correction=0)
        gap = mean - self.mean
        kept = (1 - share) * (self.count > 0)  # the ones that stand before the first rows count for nothing
        self.variance.copy_(kept * self.variance + share * variance + kept * share * gap.square())
        self.mean.lerp_(mean, share)
        self.count.copy_(total)

    def forward(self, rows: Tensor) -> Tensor:
        """Standardise."""
        if rows.dtype == torch.uint8:
            return rows
        return ((rows - self.mean) / self.variance.sqrt().clamp(min=self.floor)).clamp(-self.limit, self.limit)
