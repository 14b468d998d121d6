"""Margins that grow with the distance between samples: LS-GAN and GLS-GAN; Qi 2017 (1701.06264)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from image_gans.judging import Seen
from image_gans.numbers import Facts, Numbers
from image_gans.players import Players, plain
from image_gans.terms import NoTerms, Scalar
from rl.discriminator import Logits, full_precision


@dataclass(frozen=True)
class LogitReward:
    """A fake earns its logit; what the discriminator learns depends on more than logits, and is a term."""

    def discriminator_loss(self, real: Logits, fake: Logits) -> Scalar:
        """Give zero."""
        return full_precision(real).new_zeros(())

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Give the logit itself: the generator lowers the paper's loss L = -logit."""
        return full_precision(fake)


def distance(real: Float[Tensor, "batch *shape"], fake: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch"]:
    """Mean absolute difference of each pair."""
    return (full_precision(real) - full_precision(fake)).abs().flatten(1).mean(1)


@dataclass(frozen=True)
class SampleMargin(NoTerms):
    """A real's logit should lie above its fake's by their distance, so that fakes near the data are let go.

    E C(margin distance(x, G(z)) + L(x) - L(G(z))) with L = -logit and C(a) = max(a, slope a). Slope 0 is LS-GAN, slope
    1 is WGAN, between them lies GLS-GAN. The paper's E L(x) beside it is left out, as in its author's code: with it, a
    constant added to every logit would lower the loss without end.
    """

    margin: float
    """of one unit of distance"""
    slope: float
    """of the cost where the margin is kept, at most 1"""

    def of_discriminator(self, latent: Tensor, real: Seen, fake: Seen) -> dict[str, Scalar]:
        """Give the cost of margins that are not kept; real and fake are paired by position."""
        gap = full_precision(fake.logits) - full_precision(real.logits)
        wanted = self.margin * distance(real.sample, fake.sample)
        return {"margin": F.leaky_relu(wanted.view(-1, *[1] * (gap.dim() - 1)) + gap, self.slope).mean()}


def by_margins(n: Numbers, facts: Facts) -> Players:
    """Noise to picture, judged by margins."""
    players = plain(n, facts)
    return Players(players.generator, players.discriminator, players.dealer, SampleMargin(n.margin, n.slope))
