"""Many small parameters as one tensor, and Adam on it: steps of small networks are otherwise mostly book-keeping."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rl.runtime.errors import Diverged


class Flat:
    """Parameters laid side by side in one tensor `values`, their gradients in `gradients`.

    The parameters and their `grad` become views. Move the networks to their device before; `load_state_dict` of the
    networks keeps the views.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.values = torch.cat([weight.detach().reshape(-1) for weight in self.parameters])
        self.gradients = torch.zeros_like(self.values)
        start = 0
        for weight in self.parameters:
            end = start + weight.numel()
            weight.data = self.values[start:end].view_as(weight)
            weight.grad = self.gradients[start:end].view_as(weight)
            start = end

    def require_intact(self) -> None:
        """Raise ValueError if the parameters are no longer views, as those of a net that was moved."""
        if self.parameters[0].data_ptr() != self.values.data_ptr():
            raise ValueError("the agent was moved after its optimizer was made: make a new one")


def gradient_of(parameter: nn.Parameter) -> Tensor:
    """Give the memory of its gradient; raises ValueError for a parameter that is part of no Flat."""
    if parameter.grad is None:
        raise ValueError("the parameter has no memory for its gradient: make its optimizer first")
    return parameter.grad


def check_finite(net: nn.Module, parts: Iterable[Flat]) -> None:
    """Raise Diverged naming the first parameter of the net that is not finite; `parts` hold all of them."""
    if torch.stack([part.values.sum() for part in parts]).isfinite().all():
        return
    for name, weight in net.named_parameters():
        if not weight.isfinite().all():
            raise Diverged(f"{type(net).__name__}.{name} is not finite")


def adam_(
    parts: Sequence[Flat],
    first: list[Tensor],
    second: list[Tensor],
    counts: list[Tensor],
    rate: float,
    betas: tuple[float, float],
    eps: float,
) -> None:
    """Move the values of every part against their gradients, and Adam's moments and counts with them."""
    for count in counts:
        count += 1
    torch._fused_adam_(
        [part.values for part in parts],
        [part.gradients for part in parts],
        first,
        second,
        [],
        counts,
        lr=rate,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=0.0,
        eps=eps,
        amsgrad=False,
        maximize=False,
    )


class FlatAdam:
    """Adam, each part with its own learning rate, by torch's fused kernel; Kingma & Ba 2015 (1412.6980), algorithm 1.

    torch.optim.Adam does the same, at 50 us more per part and step.
    """

    def __init__(
        self, parts: Sequence[Flat], rates: Sequence[float], betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self.parts, self.rates, self.betas = list(parts), list(rates), betas
        self.share = 1.0
        """of the rates that a step takes: what a schedule sets; not part of the state"""
        self.first = [torch.zeros_like(part.values) for part in parts]
        self.second = [torch.zeros_like(part.values) for part in parts]
        self.counts = [torch.zeros((), device=part.values.device) for part in parts]

    @torch.no_grad()
    def step(self) -> None:
        """Move the values against their gradients."""
        for rate in set(self.rates):
            chosen = [index for index, its in enumerate(self.rates) if its == rate]
            self._step(chosen, rate * self.share)

    def _step(self, chosen: list[int], rate: float) -> None:
        parts = [self.parts[index] for index in chosen]
        first, second, counts = ([held[index] for index in chosen] for held in (self.first, self.second, self.counts))
        adam_(parts, first, second, counts, rate, self.betas, eps=1e-8)

    def state_dict(self) -> dict[str, Any]:
        """Give the moments and how many steps they have seen."""
        return {"first": list(self.first), "second": list(self.second), "counts": list(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the moments where they were."""
        for name, held in {"first": self.first, "second": self.second, "counts": self.counts}.items():
            for tensor, saved in zip(held, state[name], strict=True):
                if tensor.shape != saved.shape:
                    raise ValueError(f"FlatAdam: {name}: {tuple(saved.shape)} for {tuple(tensor.shape)}")
                tensor.copy_(saved)
