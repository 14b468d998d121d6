"""Whoever is measured: says sentences at a temperature, and tells how likely it finds others if it can."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor

from seqgan.generators import Generator, sharpen
from seqgan.likelihood import nll
from seqgan.sampling import blank_rows, speak

Rows = Int[Tensor, "rows time"]


class Speaker(Protocol):
    """Says sentences, and has a likelihood or none."""

    def speak(self, rows: int, inverse_temperature: float = 1.0) -> Rows:
        """Say that many sentences; on the CPU, nets in eval mode."""
        ...

    def likelihood(self, tokens: Rows, inverse_temperature: float = 1.0) -> dict[str, float]:
        """Give `nll`, nats per said token; nothing where there is no likelihood."""
        ...


@dataclass(frozen=True)
class PolicySpeaker:
    """A generator that speaks token by token, after `prompts` [prompts, columns], taken in turn."""

    generator: Generator
    length: int
    prompts: Rows

    @torch.no_grad()
    def speak(self, rows: int, inverse_temperature: float = 1.0) -> Rows:
        """Say that many sentences."""
        self.generator.eval()
        given = prompted(self.prompts, rows, self.length).to(self.generator.head.weight.device)
        return speak(self.generator, rows, self.length, inverse_temperature=inverse_temperature, given=given).cpu()

    def likelihood(self, tokens: Rows, inverse_temperature: float = 1.0) -> dict[str, float]:
        """Give the mean negative log-likelihood, nats per said token."""
        with tempered(self.generator, inverse_temperature):
            return {"nll": nll(self.generator, tokens.to(self.generator.head.weight.device))}


def prompted(prompts: Int[Tensor, "prompts columns"], rows: int, length: int) -> Rows:
    """Return rows whose first columns are the prompts, in turn, and the rest blank."""
    given = blank_rows(rows, length)
    given[:, : prompts.shape[1]] = prompts[torch.arange(rows) % len(prompts)]
    return given


@contextmanager
def tempered(generator: Generator, inverse_temperature: float) -> Iterator[None]:
    """Multiply the logits by the inverse temperature inside, under another head: an embedding may share its weights."""
    head = generator.head
    generator.head = copy.deepcopy(head)
    sharpen(generator, inverse_temperature)
    try:
        yield
    finally:
        generator.head = head
