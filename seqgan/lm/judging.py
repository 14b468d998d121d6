"""Who judges, sentences as wholes or every token, and how its logits become rewards."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor

from rl.discriminator import Discriminator, Logits
from rl.objectives import Objective
from rl.rewards import Reward
from seqgan.lm.earning import each, whole
from seqgan.lm.nets import Build, Nets

Rows = Int[Tensor, "rows time"]
Said = Bool[Tensor, "rows time"]


def all_logits(logits: Logits, said: Said) -> Logits:
    """Read a judge of whole rows: every row counts."""
    return logits


def said_logits(logits: Logits, said: Said) -> Float[Tensor, "tokens"]:
    """Read a judge of tokens: what was said counts."""
    return logits[said]


@dataclass(frozen=True)
class Judging:
    """A kind of judge."""

    build: Callable[[Nets], Build]
    pays: Callable[[Discriminator[Tensor], Any, Objective], Reward[Tensor]]
    read: Callable[[Logits, Said], Tensor]
    """which of its logits it learns from"""


SENTENCES = Judging(lambda nets: nets.of_rows, whole, all_logits)
TOKENS = Judging(lambda nets: nets.of_tokens, each, said_logits)
