"""ProGAN: both nets grow while they learn, and the real pictures with them; Karras et al. 2018 (1710.10196)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from image_gans.dealing import Deal
from image_gans.judging import Seen
from image_gans.nets.growing import Depth, GrowingGenerator, GrowingJudge, coarse
from image_gans.numbers import Facts, Numbers
from image_gans.players import Players
from image_gans.samples import Labels, Pictures
from image_gans.terms import NoTerms, Scalar


def depth_at(share: float, levels: int, growing: float) -> float:
    """Give how far the nets have grown when a share of the run is done.

    They grow over the first `growing` of it: each level is kept for as long as the next one takes to fade in. The
    paper's phases, of which the last is as long as the others, are growing = 2 levels / (2 levels + 1).
    """
    at = levels * min(share / growing, 1.0)
    level = int(at)
    return level + max(0.0, 2 * (at - level) - 1)


@dataclass(frozen=True)
class Coarse:
    """Noise to picture, where real pictures are made as coarse as the net still paints."""

    size: int
    """numbers in a latent"""
    side: int
    """of whole pictures, in which all are shown"""
    depth: Depth
    """of the nets that learn"""

    def deal(self, pictures: Pictures, labels: Labels) -> Deal:
        """Judge coarse pictures."""
        return Deal(coarse(pictures, self.depth), self.free(len(pictures), None, pictures.device))

    def free(self, rows: int, labels: Labels | None, device: torch.device) -> Float[Tensor, "rows size"]:
        """Draw noise."""
        return torch.randn(rows, self.size, device=device)

    def show(self, generator: nn.Module, latent: Any) -> Pictures:
        """Paint, and enlarge the pixels of a net that has still to grow."""
        painted = generator(latent)
        return F.interpolate(painted, scale_factor=self.side // painted.shape[-1], mode="nearest")


@dataclass(frozen=True)
class Drift(NoTerms):
    """weight E logit(real)^2, as a difference of means leaves their level open; Karras et al. 2018, appendix A.1."""

    weight: float

    def of_discriminator(self, latent: Any, real: Seen, fake: Seen) -> Mapping[str, Scalar]:
        """Hold the logits of reals near zero."""
        return {"drift": self.weight * real.logits.float().square().mean()}


def progressive(n: Numbers, facts: Facts) -> Players:
    """Noise to pictures of 4 x 4, then 8 x 8, up to the data's."""
    generator = GrowingGenerator(n.latent, facts.shape, n.width)
    discriminator = GrowingJudge(facts.shape, n.width)
    depths = generator.depth, discriminator.depth

    def grow(share: float) -> None:
        for depth in depths:
            depth.set(depth_at(share, depth.levels, n.growing))

    dealer = Coarse(n.latent, facts.shape[-1], discriminator.depth)
    return Players(generator, discriminator, dealer, Drift(n.term_weight), grow)
