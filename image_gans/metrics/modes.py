"""Modes: how many of those that the data has are painted, and how evenly."""

from math import log

import torch
from jaxtyping import Float, Int
from torch import Tensor

from image_gans.samples import Labels


def modes(points: Float[Tensor, "batch dim"], centres: Float[Tensor, "modes dim"], sd: float) -> dict[str, float]:
    """Count the modes of a mixture of Gaussians; VEEGAN (Srivastava et al. 2017, 1705.07761), PacGAN (1712.04086).

    `high_quality`: share of points within 3 `sd` of their nearest centre. `modes`: centres that have such a point.
    `reverse_kl`: nats from the histogram of these points over the centres to the uniform one, as PacGAN's code has it
    (points of low quality are left out); without any such point log(modes), as if all lay in one.
    """
    distance, nearest = torch.cdist(points.double(), centres.double()).min(1)
    good = distance <= 3 * sd
    counts = nearest[good].bincount(minlength=len(centres))
    return {
        "modes": float((counts > 0).sum()),
        "high_quality": float(good.double().mean()),
        "reverse_kl": from_uniform(counts),
    }


def class_modes(seen: Labels, classes: int) -> dict[str, float]:
    """Count the classes that have at least a tenth of an even share of the pictures: `modes`.

    `class_entropy`: of the classes seen, in nats: 0 to log(classes).
    """
    counts = seen.bincount(minlength=classes)
    enough = 10 * classes * counts >= len(seen)
    return {"modes": float(enough.sum()), "class_entropy": log(classes) - from_uniform(counts)}


def stacked_modes(triples: Labels, classes: int = 1_000) -> dict[str, float]:
    """Count the distinct triples of digits; VEEGAN's and PacGAN's convention is to look at 26,000 pictures.

    `modes`: triples seen at least once; `mode_kl`: nats from their histogram to the uniform one.
    """
    counts = triples.bincount(minlength=classes)
    return {"modes": float((counts > 0).sum()), "mode_kl": from_uniform(counts)}


def from_uniform(counts: Int[Tensor, "modes"]) -> float:
    """KL from a histogram to the uniform one, in nats: 0 to log(modes); an empty one counts as the worst."""
    share = counts.double() / counts.sum().clamp_min(1)
    return log(len(counts)) + float(torch.xlogy(share, share).sum())
