"""Maximum likelihood: one update, and the memory of the best weights on validation."""

import copy
import math
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from rl.runtime import Engine
from seqgan.generators import Generator
from seqgan.likelihood import mle_loss


def mle_round(
    generator: Generator,
    tokens: Int[Tensor, "batch time"],
    optimizer: torch.optim.Optimizer,
    engine: Engine,
    *,
    clip: float,
) -> dict[str, Tensor]:
    """Make one step towards the likelihood of `tokens`; dropout on."""
    generator.train()
    with engine.autocast():
        loss = mle_loss(generator, tokens)
    norm = engine.update(optimizer, loss, name="mle/loss", clip=clip)
    return {"mle/loss": loss.detach(), "mle/grad_norm": norm}


class Best:
    """Keeps the weights of the epoch with the lowest validation loss; part of a checkpoint."""

    def __init__(self, generator: Generator) -> None:
        self.loss = math.inf
        self.weights = copy.deepcopy(generator.state_dict())

    def offer(self, generator: Generator, loss: float) -> None:
        """Keep these weights if they are better."""
        if loss < self.loss:
            self.loss, self.weights = loss, copy.deepcopy(generator.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return loss and weights."""
        return {"loss": self.loss, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take loss and weights."""
        self.loss, self.weights = state["loss"], state["weights"]


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
