"""Perceptrons, for points and for small pictures; Goodfellow et al. 2014 (1406.2661)."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from image_gans.nets.parts import NORMS, SLOPE, FeatureJudge


class MLPGenerator(nn.Sequential):
    """ReLU layers; a picture [channels, height, width] ends in tanh, a point [numbers] lies anywhere."""

    def __init__(self, latent: int, shape: tuple[int, ...], hidden: Sequence[int]) -> None:
        sizes = (latent, *hidden)
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        end = nn.Tanh() if len(shape) > 1 else nn.Identity()
        super().__init__(*layers, nn.Linear(sizes[-1], math.prod(shape)), nn.Unflatten(1, shape), end)


class MLPJudge(FeatureJudge):
    """Leaky ReLU layers; the features are the last one's."""

    def __init__(self, shape: tuple[int, ...], hidden: Sequence[int], norm: str) -> None:
        rules = NORMS[norm]
        sizes = (math.prod(shape), *hidden)
        layers = [
            layer
            for a, b in pairwise(sizes)
            for layer in (nn.Linear(a, b, bias=rules.bias), rules.rows(b), nn.LeakyReLU(SLOPE))
        ]
        super().__init__(rules.weights(nn.Sequential(nn.Flatten(), *layers)), sizes[-1], norm)
