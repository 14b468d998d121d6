"""Completions that a discriminator has seen, each with the demonstration that it was set against."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rl.adapters.rows import Row
from rl.runtime import ranks
from rl.runtime.errors import warn


class Pair(NamedTuple):
    """A completion and a demonstration."""

    fake: Row
    real: Row


class Memory:
    """The last pairs, up to a number; each process has its own."""

    def __init__(self, size: int) -> None:
        self._pairs: deque[Pair] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._pairs)

    def add(self, pairs: Iterable[Pair]) -> None:
        """Keep pairs; the oldest are forgotten."""
        self._pairs.extend(pairs)

    def draw(self, pairs: int) -> list[Pair]:
        """Draw different ones, all if there are fewer, by torch's generator."""
        return [self._pairs[place] for place in torch.randperm(len(self._pairs))[:pairs].tolist()]

    def state_dict(self) -> dict[str, Any]:
        """Return every rank's pairs. Every rank must call it."""
        parts = [part for pair in self._pairs for row in pair for part in row]
        ids = torch.tensor([token for part in parts for token in part], dtype=torch.long)
        lengths = torch.tensor([len(part) for part in parts], dtype=torch.long)
        return {"ids": _of_each(ids), "lengths": _of_each(lengths)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up this rank's pairs; warn and begin with none where there was no such rank."""
        self._pairs.clear()
        if ranks.rank() >= len(state["ids"]):
            warn("the run has more ranks than it had: those begin with no old completions")
            return
        ids, lengths = state["ids"][ranks.rank()].tolist(), state["lengths"][ranks.rank()].tolist()
        ends = torch.tensor(lengths, dtype=torch.long).cumsum(0).tolist()
        parts = [tuple(ids[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
        rows = [Row(*both) for both in zip(parts[::2], parts[1::2], strict=True)]
        self._pairs.extend(Pair(*both) for both in zip(rows[::2], rows[1::2], strict=True))


def _of_each(mine: Tensor) -> list[Tensor]:
    return [part.view(mine.dtype) for part in ranks.gather_bytes(ranks.to_bytes(mine))]
