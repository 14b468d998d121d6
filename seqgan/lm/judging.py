"""Who judges, sentences as wholes or every token, and how its logits become rewards."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rl.discriminator import Discriminator, Logits, evaluating
from rl.objectives import Objective
from rl.rewards import Reward
from seqgan.lm.earning import each, whole
from seqgan.lm.nets import Build, Nets
from seqgan.reranking import Ids, token_logits

Rows = Int[Tensor, "rows time"]
Said = Bool[Tensor, "rows time"]


def all_logits(logits: Logits, said: Said) -> Logits:
    """Read a judge of whole rows: every row counts."""
    return logits


def said_logits(logits: Logits, said: Said) -> Float[Tensor, "tokens"]:
    """Read a judge of tokens: what was said counts."""
    return logits[said]


@torch.no_grad()
def own_logits(judge: nn.Module, prompt: Ids, said: Ids) -> list[float]:
    """Return a judge of tokens' logit of each token that was said; dropout off."""
    rows = torch.tensor([[*prompt, *said]], device=next(judge.parameters()).device)
    with evaluating(judge):
        logits: list[float] = judge(rows, torch.ones_like(rows, dtype=torch.bool))[0, len(prompt) :].tolist()
    return logits


@dataclass(frozen=True)
class Judging:
    """A kind of judge."""

    build: Callable[[Nets], Build]
    pays: Callable[[Discriminator[Tensor], Any, Objective], Reward[Tensor]]
    read: Callable[[Logits, Said], Tensor]
    """which of its logits it learns from"""
    heat: Callable[[nn.Module, Ids, Ids], list[float]]
    """what each token after a prompt is worth to it"""


SENTENCES = Judging(lambda nets: nets.of_rows, whole, all_logits, token_logits)
TOKENS = Judging(lambda nets: nets.of_tokens, each, said_logits, own_logits)
