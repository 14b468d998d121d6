"""One step of an agent, and batches of them: what demonstrations, replay and discriminators exchange."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor


class Transitions(NamedTuple):
    """Steps of agents; the leading places are [rows], or [batch time] inside a rollout.

    Observations are flat rows as `spaces.observations` lays them out: float32, or uint8 for pixels. Actions are int64
    [*places] or float32 [*places numbers].
    """

    obs: Shaped[Tensor, "*places width"]
    """what the agent saw"""
    actions: Shaped[Tensor, "..."]
    """what it did"""
    next_obs: Shaped[Tensor, "*places width"]
    """what followed, the true last observation where the episode ended"""
    terminated: Bool[Tensor, "*places"]
    """the episode ended with this step, not by a time limit"""

    @property
    def rows(self) -> int:
        """Return the number of steps; the places must be [rows]."""
        return len(self.terminated)

    def take(self, index: Shaped[Tensor, "picked"] | slice) -> "Transitions":
        """Pick rows; a slice makes views."""
        return Transitions(*(field[index] for field in self))

    def flat(self) -> "Transitions":
        """Turn the places [batch time] into [rows], row after row."""
        return Transitions(*(field.flatten(0, 1) for field in self))

    def to(self, device: torch.device) -> "Transitions":
        """Move to a device."""
        return Transitions(*(field.to(device) for field in self))


def concatenate(*parts: Transitions) -> Transitions:
    """Join rows."""
    return Transitions(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
