"""SAGAN and BigGAN: residual nets that are told the class, with attention and spectral norm in both players."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from image_gans.conditioning import ProjectionJudge
from image_gans.dealing import Classes
from image_gans.judging import Seen
from image_gans.layers import spectral, weighted
from image_gans.nets import judge_of
from image_gans.nets.resnet import ResNetGenerator
from image_gans.numbers import Facts, Numbers
from image_gans.players import Players, conditional
from image_gans.samples import Labels, Pair
from image_gans.terms import NoTerms, Scalar
from image_gans.walks import truncated_normal


@dataclass(frozen=True)
class Truncated(Classes):
    """Noise and class, where what is shown is painted from noise near the middle; 1809.11096, section 3.1."""

    bound: float
    """largest number in shown noise"""

    def free(self, rows: int, labels: Labels | None, device: torch.device) -> Pair:
        """Draw noise within the bound, and classes evenly where none are given."""
        noise = truncated_normal(rows, self.size, self.bound, device)
        return super().free(rows, labels, device)._replace(x=noise)


@dataclass(frozen=True)
class Orthogonal(NoTerms):
    """Keep what the layers of a generator find apart: weight sum |W W^T (1 - I)|^2, the product number by number.

    Brock et al. 2019 (1809.11096), eq. 3; W of every layer, before its spectral norm: a row for each output, or for
    each input where these are fewer, as more rows than numbers in a row cannot all be orthogonal.
    """

    weight: float
    net: nn.Module

    def of_generator(self, latent: Any, real: Seen, fake: Seen) -> Mapping[str, Scalar]:
        """Add up how much different outputs of a layer look for the same."""
        return {"orthogonal": self.weight * torch.stack([overlap(matrix) for matrix in matrices(self.net)]).sum()}


def overlap(matrix: Float[Tensor, "rows numbers"]) -> Scalar:
    """Sum the squared products of different rows."""
    products = matrix @ matrix.T
    return (products - products.diag().diag()).square().sum()


def matrices(net: nn.Module) -> Iterator[Float[Tensor, "rows numbers"]]:
    """Walk the weights of all layers as matrices that are not higher than wide."""
    for layer in weighted(net):
        weight = layer.parametrizations.weight.original if is_parametrized(layer) else layer.weight
        matrix = (weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight).flatten(1)
        yield matrix if len(matrix) <= matrix.shape[1] else matrix.T


class BigGenerator(nn.Module):
    """Pair of noise and class -> pair of picture and the same class.

    Every block reads its own chunk of the noise, all read one embedding of the class, which nothing bounds.
    """

    def __init__(self, n: Numbers, facts: Facts) -> None:
        super().__init__()
        self.net = ResNetGenerator(n.latent, facts.shape, n.width, facts.classes, n.attention, hierarchical=True)
        spectral(self.layers())

    def layers(self) -> nn.Module:
        """Return all but the embedding of the class."""
        return nn.ModuleList([self.net.start, self.net.before, self.net.blocks, self.net.end])

    def forward(self, latent: Pair) -> Pair:
        """Paint pictures of these classes."""
        return Pair(self.net(latent), latent.label)


def attentive(n: Numbers, facts: Facts) -> Players:
    """Conditional players of which the generator is bounded too; SAGAN: Zhang et al. 2019 (1805.08318), 4.1."""
    players = conditional(n, facts)
    spectral(players.generator)
    return players


def big(n: Numbers, facts: Facts) -> Players:
    """Noise in chunks and class to a picture, with orthogonal layers; BigGAN."""
    generator = BigGenerator(n, facts)
    discriminator = ProjectionJudge(judge_of(n, facts.shape), facts.classes)
    dealer = Truncated(n.latent, facts.classes, n.bound)
    return Players(generator, discriminator, dealer, Orthogonal(n.term_weight, generator.layers()))
