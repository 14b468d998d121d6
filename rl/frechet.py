"""Fréchet distance: two clouds of features compared as if each were a Gaussian."""

import torch
from jaxtyping import Float
from torch import Tensor

Features = Float[Tensor, "batch features"]


def frechet_distance(a: Features, b: Features) -> float:
    """Squared Wasserstein-2 distance between the Gaussians of two sets; FID (Heusel et al. 2017, 1706.08500, eq. 6).

    |mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2)) for covariances A and B (divided by n - 1), in float64. It falls
    with the number of rows on either side even where nothing else changes: tell both beside it.
    Raises ValueError for fewer than two rows.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a covariance needs at least 2 rows, not {len(a)} and {len(b)}")
    a, b = a.double(), b.double()
    cov_a, cov_b = covariance(a), covariance(b)
    # tr (A B)^(1/2) is the sum of the singular values of A^(1/2) B^(1/2), real and exact where A or B is singular.
    overlap = torch.linalg.svdvals(root(cov_a) @ root(cov_b)).sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return max(0.0, float(apart + cov_a.trace() + cov_b.trace() - 2 * overlap))


def covariance(rows: Features) -> Float[Tensor, "n n"]:
    """Divide by one less than there are rows."""
    centred = rows - rows.mean(0)
    products: Tensor = centred.T @ centred
    return products / (len(rows) - 1)


def root(matrix: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Square root of a symmetric matrix without negative eigenvalues; those that rounding made are zero."""
    values, vectors = torch.linalg.eigh(matrix)
    found: Tensor = vectors * values.clamp_min(0).sqrt() @ vectors.T
    return found
