"""The order in which rows of data are seen."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor


class Shuffled:
    """Endless batches of row numbers, every pass in a new order, the same on all ranks; part of a checkpoint."""

    def __init__(self, rows: int, batch: int, *, seed: int) -> None:
        self.rows, self.batch = rows, min(batch, rows)
        self.random = torch.Generator().manual_seed(seed)
        self.order, self.next = torch.randperm(rows, generator=self.random), 0

    def __len__(self) -> int:
        """Return the batches of one pass; rows left over at its end wait for another."""
        return self.rows // self.batch

    def __next__(self) -> Int[Tensor, "batch"]:
        """Return the next batch."""
        if self.next + self.batch > self.rows:
            self.order, self.next = torch.randperm(self.rows, generator=self.random), 0
        self.next += self.batch
        return self.order[self.next - self.batch : self.next]

    def state_dict(self) -> dict[str, Any]:
        """Return the order of this pass, the place in it, and the generator of the next."""
        return {"order": self.order, "next": self.next, "random": self.random.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        self.order, self.next = state["order"], int(state["next"])
        self.random.set_state(state["random"])
