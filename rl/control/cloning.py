"""Behaviour cloning: actions learned from the expert's pairs alone; and values warmed up before an agent learns on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.control.transitions import Transitions
from rl.rollout import Rollout, gae
from rl.runtime.engine import Engine
from rl.runtime.errors import InputError

Scalar = Float[Tensor, ""]


class Clonable(Protocol):
    """A policy that says how likely actions are."""

    def log_prob(self, obs: Tensor, actions: Tensor, /) -> tuple[Tensor, Tensor]:
        """Give log pi(actions | obs) and entropies, [rows] each, differentiable."""
        ...


@dataclass(frozen=True)
class Cloning:
    """The numbers of Ho & Ermon 2016 (1606.03476), section 6."""

    lr: float = 1e-3
    """Adam's"""
    batch: int = 128
    updates: int = 20_000
    valid_share: float = 0.3
    """of the pairs, held out to choose the snapshot"""
    every: int = 200
    """updates from one look at the held-out pairs to the next"""


def negative_log_likelihood(policy: Clonable, pairs: Transitions) -> Scalar:
    """-mean log pi(a | s), nats a pair; for a Gaussian of fixed spread it is the squared error, scaled and shifted."""
    return -policy.log_prob(pairs.obs, pairs.actions)[0].mean()


def split(pairs: Transitions, valid_share: float, seed: int) -> tuple[Transitions, Transitions]:
    """Deal pairs to training and validation at random; raise InputError where a side would be empty."""
    held_out = round(pairs.rows * valid_share)
    if not 0 < held_out < pairs.rows:
        raise InputError(f"cloning: {pairs.rows} pairs cannot be split with a share of {valid_share} held out")
    order = torch.randperm(pairs.rows, generator=torch.Generator().manual_seed(seed)).to(pairs.terminated.device)
    return pairs.take(order[held_out:]), pairs.take(order[:held_out])


def clone(
    policy: Clonable,
    weights: Iterable[nn.Parameter],
    pairs: Transitions,
    numbers: Cloning,
    engine: Engine,
    *,
    seed: int,
) -> dict[str, float]:
    """Fit the policy's weights to the pairs and leave them where the held-out pairs were likeliest.

    `weights` may hold others too (a value's): they get no gradient and stay. The statistics of an encoder are the
    caller's to set before. `seed` deals the pairs; minibatches come from torch's generator. Returns `bc/loss` of the
    last minibatch, `bc/valid` of the weights kept, and `bc/update`, after how many updates they stood.
    """
    train, valid = split(pairs.to(engine.device), numbers.valid_share, seed)
    kept = list(weights)
    optimizer = torch.optim.Adam(kept, numbers.lr, fused=True)
    best, best_update, snapshot = _validate(policy, valid), 0, _copy(kept)
    loss = torch.tensor(best)
    for update in range(1, numbers.updates + 1):
        batch = train.take(torch.randint(train.rows, (numbers.batch,), device=engine.device))
        loss = negative_log_likelihood(policy, batch)
        engine.update(optimizer, loss, name="clone")
        if update % numbers.every == 0 or update == numbers.updates:
            now = _validate(policy, valid)
            if now < best:
                best, best_update, snapshot = now, update, _copy(kept)
    with torch.no_grad():
        for weight, value in zip(kept, snapshot, strict=True):
            weight.copy_(value)
    return {"bc/loss": loss.item(), "bc/valid": best, "bc/update": float(best_update)}


@torch.no_grad()
def _validate(policy: Clonable, valid: Transitions) -> float:
    return negative_log_likelihood(policy, valid).item()


def _copy(weights: Iterable[nn.Parameter]) -> list[Tensor]:
    return [weight.detach().clone() for weight in weights]


@dataclass(frozen=True)
class Warming:
    """How the values of a cloned policy are fitted before it learns on."""

    discount: float = 0.995
    lr: float = 1e-3
    batch: int = 256
    epochs: int = 10
    passes: int = 3
    """targets are drawn up anew before each pass"""


def warm_values(
    value: Callable[[Tensor], Tensor],
    weights: Iterable[nn.Parameter],
    rollout: Rollout[Transitions],
    numbers: Warming,
    engine: Engine,
) -> dict[str, float]:
    """Regress the value [rows width] -> [rows] on the discounted returns of the policy's own rollout.

    Where we stopped looking the return goes on with the value itself, hence several passes. Returns `warm/error`, the
    mean squared error against the last targets, after fitting them.
    """
    optimizer = torch.optim.Adam(list(weights), numbers.lr, fused=True)
    obs, targets = rollout.steps.obs[rollout.mask], torch.zeros(0)
    for _ in range(numbers.passes):
        targets = discounted_returns(value, rollout, numbers.discount)[rollout.mask]
        for _ in range(numbers.epochs):
            for rows in torch.split(torch.randperm(len(obs), device=obs.device), numbers.batch):
                loss = (value(obs[rows]) - targets[rows]).square().mean()
                engine.update(optimizer, loss, name="warm")
    with torch.no_grad():
        return {"warm/error": (value(obs) - targets).square().mean().item()}


@torch.no_grad()
def discounted_returns(
    value: Callable[[Tensor], Tensor], rollout: Rollout[Transitions], discount: float
) -> Float[Tensor, "batch time"]:
    """Sum discounted rewards up to the episode's end, or up to where we stopped looking, and the value from there."""
    steps, shape = rollout.steps.flat(), rollout.mask.shape
    values, next_values = (value(obs).view(shape) for obs in (steps.obs, steps.next_obs))
    return gae(replace(rollout, values=values, next_values=next_values), discount, 1.0)[1]
