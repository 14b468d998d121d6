"""Neighbours in feature space: whether fakes are where reals are, reals where fakes are, and which are copies."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

Features = Float[Tensor, "batch features"]

CHUNK = 1_000  # rows whose distances to all others stand in memory at once


def precision_recall(real: Features, fake: Features, k: int = 3) -> dict[str, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, 1904.06991); density and coverage (2002.09797).

    The manifold of a set is the union of balls around its rows, each reaching to the row's k-th nearest other.
    `precision`: share of fakes on the manifold of reals. `recall`: share of reals on that of fakes. `density`: mean
    number of reals' balls that a fake lies in, over k. `coverage`: share of reals whose ball holds a fake.
    Raises ValueError unless both sets have more than k rows.
    """
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"{k} neighbours need more than {k} rows, not {len(real)} and {len(fake)}")
    reach_real, reach_fake = reach(real, k), reach(fake, k)
    inside, recalled, covered = torch.zeros(len(fake)), [], []
    for rows, limit in zip(real.split(CHUNK), reach_real.split(CHUNK), strict=True):
        squared = squared_distances(rows, fake)
        within = squared <= limit[:, None]
        inside += within.sum(0)
        covered.append(within.any(1))
        recalled.append((squared <= reach_fake).any(1))
    return {
        "precision": float((inside > 0).double().mean()),
        "recall": float(torch.cat(recalled).double().mean()),
        "density": float(inside.double().mean() / k),
        "coverage": float(torch.cat(covered).double().mean()),
    }


class Neighbours(NamedTuple):
    """The nearest row of another set, for each row."""

    distance: Float[Tensor, "batch"]
    index: Int[Tensor, "batch"]


def nearest(rows: Features, among: Features) -> Neighbours:
    """Find the nearest of `among` to each row; Euclidean, a tie goes to either."""
    index = torch.cat([squared_distances(chunk, among).argmin(1) for chunk in rows.split(CHUNK)])
    # From the difference itself: the distance to a copy is then 0, not what cancellation leaves.
    return Neighbours((rows - among[index]).norm(dim=1), index)


def memorisation(fake: Neighbours, test: Neighbours) -> dict[str, float]:
    """Tell whether fakes lie nearer to the training set than unseen real pictures do.

    `nearest_train`: median distance of fakes to their nearest training picture over that of test pictures: 1 for what
    is as new as those, 0 for copies. `memorised`: share of fakes as near as the nearest 1 % of test pictures are.
    """
    near = test.distance.quantile(0.01)
    return {
        "nearest_train": float(fake.distance.median() / test.distance.median()),
        "memorised": float((fake.distance <= near).double().mean()),
    }


def reach(rows: Features, k: int) -> Float[Tensor, "batch"]:
    """Squared distance of each row to its k-th nearest other; a copy of the row is another."""
    parts = []
    for start in range(0, len(rows), CHUNK):
        squared = squared_distances(rows[start : start + CHUNK], rows)
        squared.diagonal(start).fill_(torch.inf)
        parts.append(squared.topk(k, largest=False).values[:, -1])
    return torch.cat(parts)


def squared_distances(a: Features, b: Features) -> Float[Tensor, "a b"]:
    """Squared Euclidean distances, never negative."""
    return torch.addmm(b.square().sum(1), a, b.T, alpha=-2).add_(a.square().sum(1)[:, None]).clamp_min_(0)
