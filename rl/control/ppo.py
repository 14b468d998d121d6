"""Proximal policy optimisation: several passes over a rollout, each step of the policy held near the one that acted.

A round is `ppo_round(agent, optimizer, prepare(agent, rollout.relabel(reward)), numbers, engine)`.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from rl.control.agents import OnPolicyAgent
from rl.control.transitions import Transitions
from rl.estimators import ppo_clip
from rl.rollout import Rollout, gae
from rl.runtime.engine import Engine

Scalar = Float[Tensor, ""]
PerRow = Float[Tensor, "rows"]


@dataclass(frozen=True)
class PPO:
    """Numbers of proximal policy optimisation; Schulman et al. 2017 (1707.06347)."""

    gamma: float = 0.99
    """discount of a step"""
    lam: float = 0.95
    """of the generalised advantages: 0 trusts the values, 1 the rewards"""
    clip: float = 0.2
    """how far the ratio of new to old probability is followed from 1"""
    epochs: int = 10
    """passes over a rollout"""
    minibatch: int = 64
    """steps to an update; a rollout is cut into equal parts of at least so many"""
    lr: float = 3e-4
    """of Adam"""
    entropy_weight: float = 0.0
    """of the policy's entropy, in nats"""
    value_weight: float = 0.5
    """of the squared error of the values"""
    max_grad_norm: float = 0.5
    """bound on the norm of an update's gradient"""
    target_kl: float = math.inf
    """no further pass once the policy moved this far in one, in nats"""


class Batch(NamedTuple):
    """Steps to learn from, in rows, none of them masked."""

    inputs: Shaped[Tensor, "rows ..."]
    """features where the encoder has no weights, else observations"""
    actions: Shaped[Tensor, "rows ..."]
    log_probs: PerRow
    """under the policy that acted"""
    advantages: PerRow
    targets: PerRow
    """of the values"""

    def take(self, index: Shaped[Tensor, "picked"]) -> "Batch":
        """Pick rows."""
        return Batch(*(field[index] for field in self))

    def parts(self, number: int) -> "list[Batch]":
        """Cut into parts whose sizes differ by one row at most."""
        return [Batch(*fields) for fields in zip(*(field.tensor_split(number) for field in self), strict=True)]


def optimizer_for(agent: OnPolicyAgent, numbers: PPO) -> torch.optim.Optimizer:
    """Give the optimizer of all the agent's weights."""
    return torch.optim.Adam(agent.parameters(), numbers.lr, eps=1e-5, fused=True)


@torch.no_grad()
def prepare(agent: OnPolicyAgent, rollout: Rollout[Transitions]) -> Rollout[Transitions]:
    """Fill in log_probs, values and next_values, in one batched pass, before the agent changes.

    The value of what followed is the value of the row's next step, and that of the true next observation where the row
    ends, is cut off by a time limit or is interrupted; what follows a termination is worth 0.
    """
    steps, (rows, time) = rollout.steps.flat(), rollout.mask.shape
    values, log_probs = _in_chunks(agent, steps.obs, steps.actions)
    values = values.view(rows, time)
    follows = F.pad(rollout.mask[:, 1:], (0, 1)) & ~rollout.truncated
    needed = rollout.mask & ~follows & ~rollout.terminated
    next_values = F.pad(values[:, 1:], (0, 1)).masked_fill(~follows | rollout.terminated, 0)
    next_values[needed] = agent.value(rollout.steps.next_obs[needed])
    return replace(rollout, log_probs=log_probs.view(rows, time), values=values, next_values=next_values)


def ppo_round(
    agent: OnPolicyAgent,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout[Transitions],
    numbers: PPO,
    engine: Engine,
) -> dict[str, Tensor]:
    """Learn from one rollout that `prepare` has seen; metrics are means over all updates.

    Advantages are standardised over the whole rollout. Raises Diverged where a gradient is not finite.
    """
    batch = batch_of(agent, rollout, numbers)
    # from the places, not from the rows: all ranks make the same number of updates
    number = max(1, rollout.mask.numel() // numbers.minibatch)
    seen: list[Tensor] = []
    for _ in range(numbers.epochs):
        shuffled = batch.take(torch.randperm(len(batch.targets), device=batch.targets.device))
        for part in shuffled.parts(number):
            loss, terms = ppo_loss(agent, part, numbers)
            norm = engine.update(optimizer, loss, name="agent", clip=numbers.max_grad_norm)
            seen.append(torch.cat([terms, norm.reshape(1)]))
        if numbers.target_kl < math.inf:
            moved = torch.stack(seen[-number:])[:, TERMS.index("kl")].mean()
            if engine.gather({"kl": moved})["kl"] > numbers.target_kl:
                break
    return dict(zip((*TERMS, "gradient"), torch.stack(seen).mean(0), strict=True)) | {
        "explained_variance": explained_variance(rollout.values[rollout.mask], batch.targets)
    }


TERMS = ("policy_loss", "value_loss", "entropy", "kl", "clipped")


@torch.no_grad()
def batch_of(agent: OnPolicyAgent, rollout: Rollout[Transitions], numbers: PPO) -> Batch:
    """Estimate advantages and targets, and keep the rows that count."""
    advantages, targets = gae(rollout, numbers.gamma, numbers.lam)
    kept = rollout.mask.flatten().nonzero().squeeze(1)
    steps = rollout.steps.flat()
    obs = steps.obs[kept]
    return Batch(
        agent.encoder(obs) if agent.fixed_encoder else obs,
        steps.actions[kept],
        rollout.log_probs.flatten()[kept],
        standardised(advantages.flatten()[kept]),
        targets.flatten()[kept],
    )


def ppo_loss(agent: OnPolicyAgent, batch: Batch, numbers: PPO) -> tuple[Scalar, Float[Tensor, "terms"]]:
    """Clipped surrogate, squared error of the values and entropy, weighted, each a mean over rows; and the `TERMS`."""
    features = batch.inputs if agent.fixed_encoder else agent.encoder(batch.inputs)
    log_probs, entropies = agent.log_prob_at(features, batch.actions)
    new, old, advantages = (part.unsqueeze(1) for part in (log_probs, batch.log_probs, batch.advantages))
    policy_loss = ppo_clip(new, old, advantages, torch.ones_like(new, dtype=torch.bool), numbers.clip)
    value_loss = F.mse_loss(agent.value_at(features), batch.targets)
    entropy = entropies.mean()
    loss = policy_loss + numbers.value_weight * value_loss - numbers.entropy_weight * entropy
    with torch.no_grad():
        gap = log_probs - batch.log_probs
        clipped = ((gap.exp() - 1).abs() > numbers.clip).float().mean()
        return loss, torch.stack([policy_loss, value_loss, entropy, (gap.expm1() - gap).mean(), clipped]).detach()


def standardised(advantages: PerRow) -> PerRow:
    """Shift and scale to mean 0 and standard deviation 1."""
    return (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)


def explained_variance(values: PerRow, targets: PerRow) -> Scalar:
    """1 - Var(targets - values) / Var(targets): 1 for perfect values, 0 for constant ones."""
    return 1 - (targets - values).var(correction=0) / targets.var(correction=0).clamp(min=1e-8)


def _in_chunks(agent: OnPolicyAgent, obs: Tensor, actions: Tensor, rows: int = 4096) -> tuple[PerRow, PerRow]:
    """Values and log-probabilities, a few thousand rows at a time: pictures would not fit otherwise."""
    parts = []
    for seen, done in zip(torch.split(obs, rows), torch.split(actions, rows), strict=True):
        features = agent.encoder(seen)
        parts.append((agent.value_at(features), agent.log_prob_at(features, done)[0]))
    values, log_probs = zip(*parts, strict=True)
    return torch.cat(values), torch.cat(log_probs)
