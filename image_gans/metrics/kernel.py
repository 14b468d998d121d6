"""Kernel distance: two clouds of features compared by a polynomial kernel, without bias in the number of samples."""

import torch
from jaxtyping import Float
from torch import Tensor

Features = Float[Tensor, "batch features"]

CHUNK = 500  # rows at a time


def kernel_distance(a: Features, b: Features) -> float:
    """Squared maximum mean discrepancy, unbiased, all rows at once; KID (Bińkowski et al. 2018, 1801.01401, sec. 4).

    The kernel is (x.y / features + 1)^3. Unbiased: near 0, and as often below, for two sets from one distribution.
    Raises ValueError for fewer than two rows.
    """
    n, m = len(a), len(b)
    if min(n, m) < 2:
        raise ValueError(f"pairs of different rows need at least 2, not {n} and {m}")
    among_a = (total(a, a) - diagonal(a)) / (n * (n - 1))
    among_b = (total(b, b) - diagonal(b)) / (m * (m - 1))
    return float(among_a + among_b - 2 * total(a, b) / (n * m))


def kernel_distances(a: Features, b: Features, *, subsets: int = 100, size: int = 1_000, seed: int = 0) -> Tensor:
    """Give the distance of each of many random subsets: their mean and spread are how papers report it; float64."""
    random = torch.Generator().manual_seed(seed)
    size = min(size, len(a), len(b))

    def some(rows: Features) -> Features:
        return rows[torch.randperm(len(rows), generator=random)[:size]]

    return torch.tensor([kernel_distance(some(a), some(b)) for _ in range(subsets)], dtype=torch.float64)


def total(a: Features, b: Features) -> Float[Tensor, ""]:
    """Sum the kernel over all pairs, in float64."""
    parts = [(chunk @ b.T / a.shape[1] + 1).pow(3).sum(dtype=torch.float64) for chunk in a.split(CHUNK)]
    return torch.stack(parts).sum()


def diagonal(a: Features) -> Float[Tensor, ""]:
    """Sum the kernel of each row with itself, in float64."""
    return (a.square().sum(1) / a.shape[1] + 1).pow(3).sum(dtype=torch.float64)
