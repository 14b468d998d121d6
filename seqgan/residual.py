"""Residual energy-based model of text: a frozen generator, and a discriminator that chooses among what it says.

Deng et al. 2020 (2004.11714): p(x) = start(x) exp(l(x)) / Z, where l is the logit of a discriminator that tells real
sentences from the start's. At the best discriminator this is the truth itself. Sentences are drawn from it by
importance resampling (section 3.3): of several candidates one is taken with probabilities softmax(l). It has a
likelihood only up to Z, so none is told.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from rl.discriminator import evaluating
from rl.estimators import no_baseline
from rl.objectives import AIRL
from rl.rewards import Constant
from rl.runtime import Engine
from seqgan.corpus import Corpus
from seqgan.discriminators import ConvDiscriminator
from seqgan.generators import Generator
from seqgan.numbers import Numbers
from seqgan.players import PolicyPlayers, Rows
from seqgan.speakers import PolicySpeaker, Speaker

JUDGED = 512  # candidates that are judged at once


@dataclass(frozen=True)
class ChosenSpeaker:
    """Says `candidates` sentences for each that is heard, and chooses by the discriminator's logits."""

    speaker: PolicySpeaker
    discriminator: ConvDiscriminator
    candidates: int

    @torch.no_grad()
    def speak(self, rows: int, inverse_temperature: float = 1.0) -> Rows:
        """Say that many sentences; the temperature is that of the candidates."""
        device = self.discriminator.output.weight.device
        # said one candidate after the other: all of a row answer its prompt
        said = torch.cat([self.speaker.speak(rows, inverse_temperature) for _ in range(self.candidates)])
        with evaluating(self.discriminator):
            logits = torch.cat([self.discriminator(part.to(device)).float().cpu() for part in said.split(JUDGED)])
        return choose(said.view(self.candidates, rows, -1), logits.view(self.candidates, rows))

    def likelihood(self, tokens: Rows, inverse_temperature: float = 1.0) -> dict[str, float]:
        """Give nothing: the likelihood is known up to a constant only."""
        return {}


def choose(said: Int[Tensor, "candidates rows time"], logits: Tensor) -> Rows:
    """Take for each row one of its candidates, with probabilities softmax of the logits [candidates, rows]."""
    chosen = torch.multinomial(logits.softmax(0).T, 1)[:, 0]
    return said[chosen, torch.arange(said.shape[1])]


class ResidualPlayers(PolicyPlayers):
    """SeqGAN's players, of whom only the discriminator learns once the generator can speak.

    The generator is sharpened first (n.sharpness), and the discriminator tells what it then says from what is real.
    """

    def __init__(self, n: Numbers, corpus: Corpus, engine: Engine) -> None:
        unpaid = Constant(0.0)
        super().__init__(n, corpus, engine, objective=AIRL(), reward=lambda *_: unpaid, baseline=no_baseline)

    def speaker(self, net: Generator) -> Speaker:
        """Let the start speak alone, and the generator with the discriminator."""
        alone = PolicySpeaker(net, self.corpus.length, self.corpus.test[:, : self.corpus.prompt])
        return alone if net is self.start else ChosenSpeaker(alone, self.discriminator, self.n.candidates)
