"""Who judges, sentences as wholes or every token, and how its logits become rewards."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rl.discriminator import Discriminator, Logits
from rl.objectives import Objective
from rl.rewards import Reward
from seqgan.judges import ConvJudge
from seqgan.lm.earning import each, whole
from seqgan.lm.numbers import Numbers
from seqgan.lm.task import Task
from seqgan.scratchgan import RecurrentDiscriminator

Rows = Int[Tensor, "rows time"]
Said = Bool[Tensor, "rows time"]


class RecurrentJudge(RecurrentDiscriminator):
    """An LSTM that gives each token a logit from the token and those before it; what is not there gets zero."""

    def forward(self, tokens: Rows, mask: Said) -> Float[Tensor, "rows time"]:
        """Judge every token."""
        return super().forward(tokens).masked_fill(~mask, 0)


def conv_judge(n: Numbers, task: Task) -> ConvJudge:
    """Return SeqGAN's CNN."""
    corpus = task.shown
    return ConvJudge(len(corpus.vocabulary.words), corpus.length, embedding=n.d_embedding, dropout=n.d_dropout)


def recurrent_judge(n: Numbers, task: Task) -> RecurrentJudge:
    """Return a judge of tokens."""
    corpus = task.shown
    return RecurrentJudge(
        len(corpus.vocabulary.words), corpus.length,
        embedding=n.d_embedding, hidden=2 * n.d_embedding, dropout=n.d_dropout,
    )  # fmt: skip


def all_logits(logits: Logits, said: Said) -> Logits:
    """Read a judge of whole rows: every row counts."""
    return logits


def said_logits(logits: Logits, said: Said) -> Float[Tensor, "tokens"]:
    """Read a judge of tokens: what was said counts."""
    return logits[said]


@dataclass(frozen=True)
class Judging:
    """A kind of judge."""

    build: Callable[[Numbers, Task], nn.Module]
    pays: Callable[[Discriminator[Tensor], Any, Objective], Reward[Tensor]]
    read: Callable[[Logits, Said], Tensor]
    """which of its logits it learns from"""


SENTENCES = Judging(conv_judge, whole, all_logits)
TOKENS = Judging(recurrent_judge, each, said_logits)
