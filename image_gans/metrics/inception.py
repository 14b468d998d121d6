"""Inception score: sure of each picture, and of all classes over all pictures."""

import torch
from jaxtyping import Float
from torch import Tensor


def inception_score(logits: Float[Tensor, "batch classes"], splits: int = 1) -> float:
    """Exponential of the mean KL from p(y | x) to p(y): 1 to the number of classes.

    Salimans et al. 2016 (1606.03498, sec. 4). `splits`: the mean over so many consecutive parts, as papers have it. It
    looks at no real picture: one perfect picture of each class has the best score. Raises ValueError for an empty part.
    """
    if not 1 <= splits <= len(logits):
        raise ValueError(f"{len(logits)} rows cannot be split into {splits} parts")
    return float(torch.stack([score(part.double()) for part in logits.tensor_split(splits)]).mean())


def score(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, ""]:
    """Score one part."""
    given = logits.log_softmax(1)
    over_all = given.logsumexp(0) - torch.tensor(len(given)).log()
    return (given.exp() * (given - over_all)).sum(1).mean().exp()
