"""What earlier rounds said, beside the demonstrations of the same prompts: a discriminator that forgets is fooled."""

import torch
from jaxtyping import Int
from torch import Tensor

from rl.runtime import InputError


class Memory:
    """The latest pairs, at most `size`: [size, fake | real]; part of a checkpoint."""

    def __init__(self, size: int, width: int) -> None:
        self.rows, self.seen = torch.zeros(size, 2 * width, dtype=torch.long), 0

    def add(self, fake: Int[Tensor, "rows width"], real: Int[Tensor, "rows width"]) -> None:
        """Keep pairs; the oldest go."""
        pairs = torch.cat([fake, real], 1).to(self.rows.device)[-len(self.rows) :]
        self.rows[(self.seen + torch.arange(len(pairs))) % len(self.rows)] = pairs
        self.seen += len(pairs)

    def draw(self, rows: int) -> tuple[Int[Tensor, "rows width"], Int[Tensor, "rows width"]]:
        """Return pairs drawn with replacement; there must be one."""
        drawn = self.rows[torch.randint(min(self.seen, len(self.rows)), (rows,))]
        fake, real = drawn.chunk(2, 1)
        return fake, real

    def state_dict(self) -> dict[str, Tensor | int]:
        """Return rows and count."""
        return {"rows": self.rows.int(), "seen": self.seen}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Take rows and count."""
        rows = state["rows"]
        if rows.shape != self.rows.shape:
            raise InputError(
                f"memory {list(rows.shape)}, not {list(self.rows.shape)}: --d-memory has changed since this checkpoint"
            )
        self.rows, self.seen = rows.long(), int(state["seen"])
