"""How much of each of two clouds of features the other covers, in one number.

The divergence frontier of Pillutla et al. 2021 (2102.01454, section 2), with counts smoothed by one half each.
"""

import warnings

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

SCALE = 5.0  # c of exp(-c KL): the paper's
POINTS = 25  # mixtures between the two
CLUSTERS, PER_CLUSTER = 500, 10  # at most so many, and at least so many sentences of the smaller set for each
VARIANCE = 0.9  # of the features that is kept
SEED = 0

Shares = Float[np.ndarray, "clusters"]


def divergence(a: Float[Tensor, "sentences features"], b: Float[Tensor, "others features"]) -> float:
    """Return the area under the frontier of two sets of features: in (0, 1], 1 where they fill clusters alike.

    Two finite sets from one source stay below 1, the more so the fewer rows there are: tell the score of REAL against
    REAL, in equal numbers, beside it. The clusters (k-means, a fixed seed) are those of both sets together.
    """
    clusters = quantised(np.concatenate([a.double().numpy(), b.double().numpy()]), min(len(a), len(b)))
    counts = [np.bincount(part, minlength=clusters.max() + 1) for part in (clusters[: len(a)], clusters[len(a) :])]
    return area(*(smoothed(part) for part in counts))


def quantised(rows: Float[np.ndarray, "rows features"], fewer: int) -> Int[np.ndarray, "rows"]:
    """Return the cluster of each row, in the directions that hold most of the variance; `fewer` is the smaller set."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    rows = rows - rows.mean(0)
    values, directions = np.linalg.eigh(rows.T @ rows)
    kept = np.searchsorted(np.cumsum(values[::-1]), VARIANCE * values.sum()) + 1
    reduced = (rows @ directions[:, ::-1][:, :kept]).astype(np.float32)
    k = int(np.clip(fewer // PER_CLUSTER, 2, CLUSTERS))
    with warnings.catch_warnings():  # fewer different rows than clusters: some stay empty, which is no fault
        warnings.simplefilter("ignore", ConvergenceWarning)
        return KMeans(min(k, len(rows)), n_init=1, random_state=SEED).fit(reduced).labels_.astype(np.int64)


def smoothed(counts: Int[np.ndarray, "clusters"]) -> Shares:
    """Return the shares of clusters after half an occurrence more of each, so that none is impossible."""
    return (counts + 0.5) / (counts + 0.5).sum()


def area(p: Shares, q: Shares) -> float:
    """Return the area under (exp(-c KL(q | r)), exp(-c KL(p | r))) for r between p and q; shares must be positive."""
    mixtures = [w * p + (1 - w) * q for w in np.linspace(0, 1, POINTS + 2)[1:-1]]
    x = np.array([0.0, *(np.exp(-SCALE * relative_entropy(q, r)) for r in mixtures[::-1]), 1.0])
    y = np.array([1.0, *(np.exp(-SCALE * relative_entropy(p, r)) for r in mixtures[::-1]), 0.0])
    return float(np.trapezoid(y, x))


def relative_entropy(p: Shares, r: Shares) -> float:
    """KL(p | r), in nats; shares must be positive."""
    return float((p * np.log(p / r)).sum())
