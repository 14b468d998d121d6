"""From a rollout to rows to learn from: values filled in, advantages estimated, what is masked left out."""

from dataclasses import fields, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from rl.control.agents import OnPolicyAgent
from rl.control.transitions import Transitions
from rl.rollout import Rollout, gae

Scalar = Float[Tensor, ""]
PerRow = Float[Tensor, "rows"]


class Batch(NamedTuple):
    """Steps to learn from, in rows, none of them masked; actions and densities in the units of the policy's outputs."""

    inputs: Shaped[Tensor, "rows ..."]
    """features where the encoder has no weights, else observations"""
    actions: Shaped[Tensor, "rows ..."]
    log_probs: PerRow
    """under the policy that acted"""
    advantages: PerRow
    """standardised over the whole batch"""
    targets: PerRow
    """of the values"""

    def take(self, index: Shaped[Tensor, "picked"]) -> "Batch":
        """Pick rows."""
        return Batch(*(field[index] for field in self))

    def parts(self, number: int) -> "list[Batch]":
        """Cut into parts whose sizes differ by one row at most."""
        return [Batch(*fields) for fields in zip(*(field.tensor_split(number) for field in self), strict=True)]


@torch.no_grad()
def prepare(agent: OnPolicyAgent, rollout: Rollout[Transitions]) -> Rollout[Transitions]:
    """Fill in log_probs, values and next_values, in one batched pass, before the agent or its statistics change.

    The value of what followed is the value of the row's next step, and that of the true next observation where the row
    ends, is cut off by a time limit or is interrupted; what follows a termination is worth 0. The rollout comes back on
    the agent's device.
    """
    rollout = _moved(rollout, agent.policy.weights.device)
    steps, (rows, time) = rollout.steps.flat(), rollout.mask.shape
    values, log_probs = _in_chunks(agent, steps.obs, steps.actions)
    values = values.view(rows, time)
    follows = F.pad(rollout.mask[:, 1:], (0, 1)) & ~(rollout.truncated | rollout.terminated)
    needed = rollout.mask & ~follows & ~rollout.terminated
    next_values = F.pad(values[:, 1:], (0, 1)).masked_fill(~follows, 0)
    next_values[needed] = agent.value(rollout.steps.next_obs[needed])
    return replace(rollout, log_probs=log_probs.view(rows, time), values=values, next_values=next_values)


@torch.no_grad()
def batch_of(agent: OnPolicyAgent, rollout: Rollout[Transitions], gamma: float, lam: float) -> Batch:
    """Estimate advantages and targets of a rollout that `prepare` has seen, and keep the rows that count."""
    advantages, targets = gae(rollout, gamma, lam)
    kept = rollout.mask.flatten().nonzero().squeeze(1)
    steps = rollout.steps.flat()
    obs = steps.obs[kept]
    return Batch(
        agent.encoder(obs) if agent.fixed_encoder else obs,
        agent.distribution.units(steps.actions[kept]),
        rollout.log_probs.flatten()[kept] + agent.distribution.volume,
        standardised(advantages.flatten()[kept]),
        targets.flatten()[kept],
    )


def features_of(agent: OnPolicyAgent, batch: Batch) -> Float[Tensor, "rows features"]:
    """Encode what is not encoded yet."""
    features: Tensor = batch.inputs if agent.fixed_encoder else agent.encoder(batch.inputs)
    return features


def standardised(advantages: PerRow) -> PerRow:
    """Shift and scale to mean 0 and standard deviation 1."""
    return (advantages - advantages.mean()) / (advantages.std(correction=0) + 1e-8)


def explained_variance(values: PerRow, targets: PerRow) -> Scalar:
    """1 - Var(targets - values) / Var(targets): 1 for perfect values, 0 for constant ones."""
    return 1 - (targets - values).var(correction=0) / targets.var(correction=0).clamp(min=1e-8)


def _moved(rollout: Rollout[Transitions], device: torch.device) -> Rollout[Transitions]:
    return Rollout(*(getattr(rollout, field.name).to(device) for field in fields(rollout)))


def _in_chunks(agent: OnPolicyAgent, obs: Tensor, actions: Tensor, rows: int = 4096) -> tuple[PerRow, PerRow]:
    """Values and log-probabilities, a few thousand rows at a time: pictures would not fit otherwise."""
    parts = []
    for seen, done in zip(torch.split(obs, rows), torch.split(actions, rows), strict=True):
        features = agent.encoder(seen)
        parts.append((agent.value_at(features), agent.log_prob_at(features, done)[0]))
    values, log_probs = zip(*parts, strict=True)
    return torch.cat(values), torch.cat(log_probs)
