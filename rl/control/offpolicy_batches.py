"""Steps drawn from replay, laid out for the updates that follow: encoded once for several, side by side in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.control.offpolicy_agents import PerRow
from rl.control.transitions import Transitions

ToUnit = Callable[[Tensor], Tensor]

_AHEAD = 16  # updates laid out together: enough to share the cost of a call, few enough to stay in the cache


@dataclass(frozen=True)
class Batch:
    """What one update needs."""

    features: Float[Tensor, "rows features"]
    """of obs, with the encoder's graph if it learns"""
    inputs: Float[Tensor, "3 rows width"]
    """features and actions as the networks speak of them, in [-1, 1] or one-hot: what was done; obs and next_obs, whose
    actions the actor has to fill in"""
    noise: Float[Tensor, "2 rows numbers"]
    """standard normal, for the actor in obs and in next_obs"""
    densities: Float[Tensor, "2 rows"]
    """0.5 |noise|^2"""
    rewards: PerRow
    discounts: PerRow
    """gamma, and 0 where terminated"""


def batches(
    encoder: nn.Module, to_unit: ToUnit, steps: Transitions, rewards: PerRow, rows: int, gamma: float
) -> Iterator[Batch]:
    """Give the steps in their order, `rows` for each update; a learning encoder sees each batch as it then stands.

    Raises ValueError for steps that do not divide into batches.
    """
    updates, rest = divmod(steps.rows, rows)
    if rest or not updates:
        raise ValueError(f"{steps.rows} steps are no multiple of the batch {rows}")
    ahead = 1 if learns(encoder) else _AHEAD
    for first in range(0, updates, ahead):
        part = slice(first * rows, min(first + ahead, updates) * rows)
        yield from _lay_out(encoder, to_unit, steps.take(part), rewards[part], rows, gamma)


def _lay_out(
    encoder: nn.Module, to_unit: ToUnit, steps: Transitions, rewards: PerRow, rows: int, gamma: float
) -> Iterator[Batch]:
    with torch.set_grad_enabled(learns(encoder)):
        seen = encoder(steps.obs)
    with torch.no_grad():
        seen_next, unit = encoder(steps.next_obs), to_unit(steps.actions)
    updates, features, numbers = steps.rows // rows, seen.shape[1], unit.shape[1]
    inputs = seen_next.new_zeros(updates, 3, rows, features + numbers)
    inputs[:, :2, :, :features] = seen.detach().view(updates, 1, rows, features)
    inputs[:, 2, :, :features] = seen_next.view(updates, rows, features)
    inputs[:, 0, :, features:] = unit.view(updates, rows, numbers)
    noise = torch.randn(updates, 2, rows, numbers, device=inputs.device)
    densities = noise.square().sum(-1).mul_(0.5)
    discounts = torch.full_like(rewards, gamma).masked_fill_(steps.terminated, 0)
    for update in range(updates):
        place = slice(update * rows, (update + 1) * rows)
        yield Batch(seen[place], inputs[update], noise[update], densities[update], rewards[place], discounts[place])


def learns(encoder: nn.Module) -> bool:
    """Whether the encoder has weights (a normaliser has none)."""
    return next(encoder.parameters(), None) is not None


def teach(
    encoder: nn.Module, features: Float[Tensor, "rows features"], gradient: Float[Tensor, "rows features"]
) -> None:
    """Write the gradients of the encoder's weights, from that of the features it gave."""
    weights = list(encoder.parameters())
    for weight, of_weight in zip(weights, torch.autograd.grad(features, weights, gradient), strict=True):
        if weight.grad is not None:
            weight.grad.copy_(of_weight)
