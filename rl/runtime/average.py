"""Averaged weights: what a GAN is judged with."""

import copy
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


class Average(Generic[Net]):
    """Exponential moving average of a net's weights: average = decay * average + (1 - decay) * weight.

    `.net` is a copy in evaluation mode that takes no gradient. Buffers (running statistics) are copied, not averaged.
    """

    def __init__(self, net: Net, decay: float = 0.999) -> None:
        if not 0.0 <= decay <= 1.0:
            raise ValueError(f"decay is {decay}, it must lie in [0, 1]")
        self.decay = decay
        self.net = copy.deepcopy(net).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, net: Net) -> None:
        """Move the average towards the weights of the net."""
        averages: list[Tensor] = list(self.net.parameters())
        weights: list[Tensor] = list(net.parameters())
        if averages:
            torch._foreach_lerp_(averages, weights, 1.0 - self.decay)
        for held, new in zip(self.net.buffers(), net.buffers(), strict=True):
            held.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged net's state."""
        return self.net.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the averaged net's state back."""
        self.net.load_state_dict(state)
