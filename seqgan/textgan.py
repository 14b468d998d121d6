"""TextGAN: soft sentences whose features are distributed as the real ones' are.

Zhang et al. 2017, "Adversarial Feature Matching for Text Generation" (1706.03850). Where the paper's LSTM gets its only
noise as a latent code and so has no likelihood, ours draws every place from a Gumbel-softmax, and has one; the paper's
reconstruction of the code falls away with it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from rl.discriminator import full_precision
from rl.objectives import NonSaturating, Objective
from rl.runtime import Engine
from seqgan.corpus import Corpus
from seqgan.numbers import Numbers
from seqgan.pathwise import Scalar, SoftPlayers
from seqgan.players import FILTERS, Rows, generator_of
from seqgan.soft import Sentences, SoftDiscriminator

Features = Float[Tensor, "batch features"]
Distance = Callable[[Features, Features], Scalar]
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)  # widths of the kernels, in medians of the distance between real sentences


def mean_distance(real: Features, fake: Features) -> Scalar:
    """|E f(x) - E f(y)|^2, the squared distance of the means; Salimans et al. 2016 (1606.03498), section 3.1."""
    return (full_precision(real).mean(0) - full_precision(fake).mean(0)).square().sum()


def kernel_distance(real: Features, fake: Features) -> Scalar:
    """MMD^2 under a mixture of Gaussian kernels, without bias; Gretton et al. 2012, eq. 3; TextGAN, eq. 6.

    The widths are multiples of the median distance between real rows, and no gradient flows into them: scaling all
    features changes nothing. Its mean is zero where both come from one distribution, so it may be negative.
    """
    real, fake = full_precision(real), full_precision(fake)
    squares = [squared_distances(a, b) for a, b in ((real, real), (fake, fake), (real, fake))]
    median = off_diagonal(squares[0]).detach().median().clamp(min=1e-12)
    within_real, within_fake, between = (
        sum(torch.exp(-square / (2 * scale**2 * median)) for scale in SCALES) / len(SCALES) for square in squares
    )
    return off_diagonal(within_real).mean() + off_diagonal(within_fake).mean() - 2 * between.mean()


def squared_distances(a: Features, b: Features) -> Float[Tensor, "rows others"]:
    """Return |a_i - b_j|^2 by one matrix product, never below zero."""
    centre = b.detach().mean(0)  # far from the origin the expanded square would lose its digits
    a, b = a - centre, b - centre
    return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.t()).clamp(min=0)


def off_diagonal(square: Float[Tensor, "rows rows"]) -> Float[Tensor, "pairs"]:
    """Return what two different rows have with each other."""
    return square[~torch.eye(len(square), dtype=torch.bool, device=square.device)]


DISTANCES: dict[str, Distance] = {"mean": mean_distance, "kernel": kernel_distance}


@dataclass(frozen=True)
class FeatureMatching:
    """The generator goes down the distance of features; the discriminator up, and tells real from fake besides.

    Section 2.3: without the distance in its loss the discriminator's features need not tell what the generator misses,
    without the logits they need not mean anything.
    """

    objective: Objective
    distance: Distance
    weight: float

    def discriminator_loss(self, discriminator: SoftDiscriminator, real: Rows, fake: Sentences) -> Scalar:
        """Give the objective's loss less the weighted distance."""
        features = [discriminator.represent(sentences) for sentences in (real, fake)]
        logits = [discriminator.judge_represented(some) for some in features]
        return self.objective.discriminator_loss(*logits) - self.weight * self.between(*features)

    def reward(self, discriminator: SoftDiscriminator, real: Rows, fake: Sentences) -> Scalar:
        """Give minus the distance."""
        return -self.between(discriminator.represent(real), discriminator.represent(fake))

    def between(self, real: Tensor, fake: Tensor) -> Scalar:
        """Return the distance of features [batch, representations, features], side by side."""
        return self.distance(real.flatten(1), fake.flatten(1))


def textgan(n: Numbers, corpus: Corpus, engine: Engine) -> SoftPlayers:
    """Return TextGAN's players: the LSTM and the CNN of SeqGAN."""
    discriminator = SoftDiscriminator(
        len(corpus.vocabulary.words),
        corpus.length,
        embedding=n.d_embedding,
        filters=FILTERS[n.d_filters],
        dropout=n.d_dropout,
    )
    return SoftPlayers(
        n,
        corpus,
        engine,
        make_generator=partial(generator_of, n, corpus),
        discriminator=discriminator,
        game=FeatureMatching(NonSaturating(), DISTANCES[n.matching], n.matching_weight),
    )
