"""Distances between distributions: what objectives measure where the discriminator is at its best. float64 inside."""

import torch
from jaxtyping import Float
from torch import Tensor

Scalar = Float[Tensor, ""]
Shares = Float[Tensor, "outcomes"]
"""Probabilities of outcomes."""
Points = Float[Tensor, "points coordinates"]
"""A distribution that is even over these points."""


def kullback_leibler(p: Shares, q: Shares) -> Scalar:
    """E_p log(p / q), in nats; infinite where p has what q lacks. Raises ValueError for what are no probabilities."""
    p, q = _checked(p, q)
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()


def jensen_shannon(p: Shares, q: Shares) -> Scalar:
    """Mean divergence of both from their mixture, from 0 to log 2; Goodfellow et al. 2014 (1406.2661), theorem 1."""
    mixture = (p.double() + q.double()) / 2
    return (kullback_leibler(p, mixture) + kullback_leibler(q, mixture)) / 2


def total_variation(p: Shares, q: Shares) -> Scalar:
    """Return the largest difference in the probability of any event, from 0 to 1."""
    p, q = _checked(p, q)
    return (p - q).abs().sum() / 2


def earth_mover_line(a: Float[Tensor, "some"], b: Float[Tensor, "others"]) -> Scalar:
    """Return W1 of two samples of numbers, of any two sizes: the area between their distribution functions."""
    a, b = a.double().sort().values, b.double().sort().values
    places = torch.cat([a, b]).sort().values
    below = [torch.searchsorted(x, places[:-1], right=True).double() / len(x) for x in (a, b)]
    return ((below[0] - below[1]).abs() * places.diff()).sum()


def earth_mover(a: Points, b: Points) -> Scalar:
    """Return W1 of as many points in a space, by the best assignment; Arjovsky et al. 2017 (1701.07875), eq. 1.

    Moving a point costs its Euclidean distance. O(points^3). Raises ValueError where the numbers of points differ.
    """
    from scipy.optimize import linear_sum_assignment

    if a.shape != b.shape:
        raise ValueError(f"earth_mover: {tuple(a.shape)} and {tuple(b.shape)}: as many points are assigned to as many")
    # not through a matrix product, which would cost eight digits
    costs = torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return costs[linear_sum_assignment(costs.numpy())].mean()


def _checked(p: Shares, q: Shares) -> tuple[Shares, Shares]:
    for shares in (p, q):
        if shares.min() < 0 or abs(shares.double().sum().item() - 1) > 1e-6:
            raise ValueError("probabilities are not negative and sum to one")
    if p.shape != q.shape:
        raise ValueError(f"{len(p)} and {len(q)} probabilities are of different outcomes")
    return p.double(), q.double()
