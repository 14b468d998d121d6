"""Feature matching: fakes whose features are like the reals' on average; Salimans et al. 2016 (1606.03498)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from image_gans.judging import Seen
from image_gans.numbers import Facts, Numbers
from image_gans.players import Players, plain
from image_gans.terms import NoTerms, Scalar
from rl.discriminator import full_precision


def mean_distance(real: Float[Tensor, "batch features"], fake: Float[Tensor, "batch features"]) -> Scalar:
    """|E f(x) - E f(G(z))|^2, the squared distance of the batches' mean features; section 3.1."""
    return (full_precision(real).mean(0) - full_precision(fake).mean(0)).square().sum()


@dataclass(frozen=True)
class FeatureMatching(NoTerms):
    """The generator matches the discriminator's features of reals; its step must look at reals."""

    weight: float = 1.0

    def of_generator(self, latent: Tensor, real: Seen, fake: Seen) -> dict[str, Scalar]:
        """Give the squared distance of mean features."""
        return {"matching": self.weight * mean_distance(real.features, fake.features)}


def feature_matching(n: Numbers, facts: Facts) -> Players:
    """Noise to picture, by features."""
    players = plain(n, facts)
    return Players(players.generator, players.discriminator, players.dealer, FeatureMatching(n.term_weight))
