"""CoGAN: a joint distribution of two domains, learned without a single pair; Liu & Tuzel 2016 (1606.07536).

Two generators share all but their last layer, two discriminators all but their first. The domains are the data and
their negatives, taken from different pictures, so that only the shared weights can bring the two together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from image_gans.dealing import Deal, Plain
from image_gans.judging import Judge, Verdict
from image_gans.nets import generator_of, judge_of
from image_gans.nets.parts import NORMS, SLOPE
from image_gans.numbers import Facts, Numbers
from image_gans.players import Examined, Players, no_probe
from image_gans.samples import Labels, Pictures


class Couple(NamedTuple):
    """A picture of either domain."""

    first: Pictures
    second: Pictures


def negative(pictures: Pictures) -> Pictures:
    """Turn black into white: from the first domain to the second and back."""
    return -pictures


@dataclass(frozen=True)
class Couples(Plain):
    """Pictures, and the negatives of other pictures; the two paint from one noise."""

    def deal(self, pictures: Pictures, labels: Labels) -> Deal:
        """Judge a picture and the negative of its neighbour in the batch."""
        return Deal(Couple(pictures, negative(pictures.roll(1, 0))), self.free(len(pictures), None, pictures.device))

    def show(self, generator: nn.Module, latent: Float[Tensor, "rows size"]) -> Pictures:
        """Paint the first domain."""
        return generator(latent).first


class CoupledGenerator(nn.Module):
    """One noise to a picture of either domain: a shared net up to the full side, then a last layer for each domain."""

    def __init__(self, n: Numbers, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, *sides = shape
        self.shared = generator_of(n, (n.width, *sides), n.latent)
        ends = (nn.Conv2d(n.width, channels, 3, padding=1) for _ in Couple._fields)
        self.ends = nn.ModuleList(nn.Sequential(layer, nn.Tanh()) for layer in ends)

    def forward(self, latent: Float[Tensor, "batch size"]) -> Couple:
        """Paint both."""
        maps = self.shared(latent)
        return Couple(*(end(maps) for end in self.ends))


class CoupledJudge(Judge):
    """A first layer for each domain, then a shared net; logits [batch, 2], the features of both domains in one row.

    Each domain is judged by itself: nothing looks at whether the two pictures belong together.
    """

    def __init__(self, n: Numbers, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, *sides = shape
        bound = NORMS[n.d_norm].weights
        convolutions = (bound(nn.Conv2d(channels, n.width, 3, padding=1)) for _ in Couple._fields)
        self.starts = nn.ModuleList(nn.Sequential(layer, nn.LeakyReLU(SLOPE)) for layer in convolutions)
        self.shared = judge_of(n, (n.width, *sides))

    def judge(self, x: Couple) -> Verdict:
        """Judge both."""
        first, second = (self.shared.judge(start(x_)) for start, x_ in zip(self.starts, x, strict=True))
        return Verdict(torch.stack([first.logits, second.logits], 1), torch.cat([first.features, second.features], 1))


def cogan(n: Numbers, facts: Facts) -> Players:
    """Pair two domains by shared weights: coupled GANs, Liu & Tuzel 2016 (1606.07536), section 3."""
    dealer = Couples(n.latent)
    probe = partial(agreement, dealer) if facts.classes else no_probe
    return Players(CoupledGenerator(n, facts.shape), CoupledJudge(n, facts.shape), dealer, probe=probe)


@torch.no_grad()
def agreement(dealer: Couples, examined: Examined, *, rows: int = 1000) -> Mapping[str, float]:
    """Measure how many of the pairs show one class: `pair_agreement`, from 0 to 1; 1 / classes by chance."""
    device = next(examined.generator.parameters()).device
    couple = examined.generator(dealer.free(rows, None, device))
    same = examined.classify(couple.first) == examined.classify(negative(couple.second))
    return {"pair_agreement": float(same.float().mean())}
