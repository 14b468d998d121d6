"""Penalties on what a judge of ids does between its embeddings and its logits."""

from typing import Any, NamedTuple, TypeVar

from jaxtyping import Bool, Float
from torch import Tensor, nn

from rl.discriminator import Logits
from rl.penalties import Penalty
from seqgan.judges import Judge


class EmbeddedRows(NamedTuple):
    """Embeddings and which of them are there, a condition."""

    embedded: Float[Tensor, "batch time width"]
    mask: Bool[Tensor, "batch time"]


class _Reading(nn.Module):
    """A judge of embedded rows, with the judge's weights."""

    def __init__(self, judge: Any) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, rows: EmbeddedRows) -> Logits:
        logits: Tensor = self.judge.judge_embedded(*rows)
        return logits


AnyRows = TypeVar("AnyRows", bound=tuple[Tensor, Tensor])


class OnEmbeddings(nn.Module):
    """A penalty on the gradient with respect to embeddings, of a judge of ids.

    A transformer's attention must be "sdpa" or "eager": it is then plain mathematics, which alone has a second
    derivative. Mixtures of a real and a fake row have the tokens' places of the real one.
    """

    def __init__(self, penalty: Penalty) -> None:
        super().__init__()
        self.penalty = penalty

    def forward(self, judge: Judge, real: AnyRows, fake: AnyRows) -> Float[Tensor, ""]:
        """Penalise the judge on rows (tokens, mask)."""
        held = [EmbeddedRows(judge.embed(tokens).detach(), mask) for tokens, mask in (real, fake)]
        return self.penalty(_Reading(judge), *held)
