"""Updates of a discriminator of steps, by autograd: any network, objective and penalty."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rl.control.transitions import Transitions, concatenate
from rl.objectives import Objective
from rl.penalties import Penalty
from rl.runtime.engine import Engine

Minus = tuple[Float[Tensor, "rows"], Float[Tensor, "rows"]]
"""subtracted from the logits of real steps and own ones"""
VERDICTS = ("d/loss", "d/accuracy_expert", "d/accuracy_agent", "d/logit_expert", "d/logit_agent")


class Updates(Protocol):
    """Teaches a discriminator."""

    def __call__(self, real: Transitions, own: Transitions, minus: Minus) -> Float[Tensor, "verdicts"]:
        """Make one update for every batch of rows, in their order; the means over all updates of `VERDICTS`.

        The steps hold features and are equally many, a multiple of the batch. Raises Diverged.
        """
        ...


@dataclass(frozen=True)
class AutogradUpdates:
    """The loss of an objective, a penalty, less the entropy of the verdicts; a step of the optimizer for each batch."""

    discriminator: nn.Module
    objective: Objective
    penalty: Penalty
    optimizer: torch.optim.Optimizer
    engine: Engine
    batch: int
    """real steps in an update, and as many of one's own"""
    entropy: float
    """weight of the entropy of the verdicts, in nats"""

    def __call__(self, real: Transitions, own: Transitions, minus: Minus) -> Float[Tensor, "verdicts"]:
        """Update."""
        found = []
        self.discriminator.train()
        for part in parts(real.rows, self.batch):
            a, b = (steps.take(part) for steps in (real, own))
            penalised = self.penalty(self.discriminator, a, b)
            judged = self.discriminator(concatenate(a, b)) - torch.cat([held[part] for held in minus])
            on_real, on_own = judged.chunk(2)
            told_apart = self.objective.discriminator_loss(on_real, on_own)
            loss = told_apart + penalised - self.entropy * bernoulli_entropy(judged)
            self.engine.update(self.optimizer, loss, name="discriminator")
            found.append(verdicts(loss, on_real, on_own))
        self.discriminator.eval()
        return torch.stack(found).mean(0)


def parts(rows: int, size: int) -> Iterator[slice]:
    """Cut rows into parts of one size, the last one perhaps smaller."""
    return (slice(first, min(first + size, rows)) for first in range(0, rows, size))


@torch.no_grad()
def verdicts(loss: Tensor, on_real: Tensor, on_own: Tensor) -> Float[Tensor, "verdicts"]:
    """Return loss, accuracies and mean logits."""
    right = (on_real > 0).float().mean(), (on_own < 0).float().mean()
    return torch.stack([loss.detach(), *right, on_real.mean(), on_own.mean()])


def bernoulli_entropy(logits: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """Mean entropy of the verdict sigmoid(l), in nats: softplus(l) - l sigmoid(l)."""
    return (F.softplus(logits) - logits * logits.sigmoid()).mean()
