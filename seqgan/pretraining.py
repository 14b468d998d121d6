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
