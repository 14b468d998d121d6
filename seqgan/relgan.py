"""RelGAN: a relational memory speaks softly, many representations of a sentence are judged against a real one's.

Nie, Narodytska & Patel, "RelGAN: Relational Generative Adversarial Networks for Text Generation", ICLR 2019.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from rl.objectives import Objective, Relativistic
from rl.runtime import Engine
from seqgan.corpus import Corpus
from seqgan.numbers import Numbers
from seqgan.pathwise import Scalar, SoftPlayers
from seqgan.players import Rows
from seqgan.relational import RelationalGenerator
from seqgan.soft import Sentences, SoftDiscriminator

# (width, filters): the paper's, and a fifth of them
FILTERS = {"paper": ((2, 300), (3, 300), (4, 300), (5, 300)), "small": ((2, 64), (3, 64), (4, 64), (5, 64))}


@dataclass(frozen=True)
class Judged:
    """Logits against logits, pair by pair and representation by representation; eq. 5 for Relativistic."""

    objective: Objective

    def discriminator_loss(self, discriminator: SoftDiscriminator, real: Rows, fake: Sentences) -> Scalar:
        """Give the objective's loss."""
        return self.objective.discriminator_loss(discriminator(real), discriminator(fake))

    def reward(self, discriminator: SoftDiscriminator, real: Rows, fake: Sentences) -> Float[Tensor, "batch places"]:
        """Give the objective's reward for each logit."""
        return self.objective.reward(discriminator(fake), discriminator(real))


def memory(n: Numbers, corpus: Corpus) -> nn.Module:
    """Return the paper's generator."""
    return RelationalGenerator(
        len(corpus.vocabulary.words), embedding=n.embedding, slots=n.slots, heads=n.heads, head_size=n.head_size,
        end=corpus.end, prompt=corpus.prompt,
    )  # fmt: skip


def relgan(
    n: Numbers, corpus: Corpus, engine: Engine, *, speaks: Callable[[Numbers, Corpus], nn.Module] = memory
) -> SoftPlayers:
    """Return RelGAN's players; the whole embedding of `n.d_embedding` numbers is shared out to the representations."""
    discriminator = SoftDiscriminator(
        len(corpus.vocabulary.words),
        corpus.length,
        representations=n.representations,
        embedding=max(1, n.d_embedding // n.representations),
        filters=FILTERS[n.d_filters],
        dropout=n.d_dropout,
    )
    return SoftPlayers(
        n,
        corpus,
        engine,
        make_generator=partial(speaks, n, corpus),
        discriminator=discriminator,
        game=Judged(Relativistic()),
    )
