"""Proximal policy optimisation: several passes over a rollout, each step of the policy held near the one that acted.

A round is `ppo_round(agent, optimizer, prepare(agent, rollout.relabel(reward)), numbers, engine)`.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from rl.control.agents import OnPolicyAgent
from rl.control.batches import Batch, batch_of, explained_variance, features_of
from rl.control.batches import prepare as prepare
from rl.control.fused import Gradients, Weighting, fill, fused_loss
from rl.control.transitions import Transitions
from rl.estimators import ppo_clip
from rl.rollout import Rollout
from rl.runtime.engine import Engine

Scalar = Float[Tensor, ""]


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
    """steps to an update; a rollout is cut into equal parts of about so many"""
    lr: float = 3e-4
    """of Adam"""
    entropy_weight: float = 0.0
    """of the policy's entropy, in nats"""
    value_weight: float = 0.5
    """of the squared error of the values"""
    max_grad_norm: float = 0.5
    """bound on the norm of an update's gradient"""
    target_kl: float = math.inf
    """no further pass once the policy has moved so far in this round, in nats"""


def optimizer_for(agent: OnPolicyAgent, numbers: PPO) -> torch.optim.Optimizer:
    """Give the optimizer of all the agent's weights."""
    return torch.optim.Adam(agent.parameters(), numbers.lr, eps=1e-5, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the rate of all weights."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def ppo_round(
    agent: OnPolicyAgent,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout[Transitions],
    numbers: PPO,
    engine: Engine,
) -> dict[str, Tensor]:
    """Learn from one rollout that `prepare` has seen; metrics are those of `judge`, after the last update.

    Advantages are standardised over the whole rollout; masked steps are left out before it is cut. Raises Diverged
    where a gradient is not finite.
    """
    batch = batch_of(agent, rollout, numbers.gamma, numbers.lam)
    # from the places, not from the rows that count: all ranks make the same number of updates
    number = max(1, rollout.mask.numel() // numbers.minibatch)
    # autograd is needed where the encoder learns as well, the engine where ranks share their gradients
    learn = _learn_by_hand if agent.fixed_encoder and engine.world == 1 else _learn
    norms: list[float] = []
    for _ in range(numbers.epochs):
        shuffled = batch.take(torch.randperm(len(batch.targets), device=batch.targets.device))
        norms += learn(agent, optimizer, shuffled.parts(number), numbers, engine)
        if numbers.target_kl < math.inf and engine.gather(judge(agent, batch, numbers))["kl"] > numbers.target_kl:
            break
    return judge(agent, batch, numbers) | {
        "gradient": torch.tensor(norms).mean(),
        "explained_variance": explained_variance(rollout.values[rollout.mask], batch.targets),
    }


def _learn(
    agent: OnPolicyAgent, optimizer: torch.optim.Optimizer, parts: list[Batch], numbers: PPO, engine: Engine
) -> list[float]:
    norms = []
    for part in parts:
        loss = fused_loss(agent, features_of(agent, part), part, _weighting(numbers))
        norms.append(engine.update(optimizer, loss, name="agent", clip=numbers.max_grad_norm))
    return torch.stack(norms).tolist()


def _learn_by_hand(
    agent: OnPolicyAgent, optimizer: torch.optim.Optimizer, parts: list[Batch], numbers: PPO, engine: Engine
) -> list[float]:
    norms, weighting = [], _weighting(numbers)
    with Gradients(agent) as gradients:
        for part in parts:
            with torch.inference_mode():
                fill(gradients, agent, part.inputs, part, weighting)
            norms.append(gradients.step(optimizer, numbers.max_grad_norm))
    return norms


def _weighting(numbers: PPO) -> Weighting:
    return Weighting(numbers.clip, numbers.value_weight, numbers.entropy_weight)


def ppo_loss(agent: OnPolicyAgent, batch: Batch, numbers: PPO) -> Scalar:
    """Clipped surrogate, squared error of the values and entropy, weighted, each a mean over the rows.

    The definition; `fused_loss` is the same in less time.
    """
    features = features_of(agent, batch)
    log_probs, entropies = agent.units_log_prob(features, batch.actions)
    policy_loss = surrogate(log_probs, batch, numbers.clip)
    value_loss = F.mse_loss(agent.value_at(features), batch.targets)
    return policy_loss + numbers.value_weight * value_loss - numbers.entropy_weight * entropies.mean()


def surrogate(log_probs: Float[Tensor, "rows"], batch: Batch, clip: float) -> Scalar:
    """`rl.estimators.ppo_clip` of rows that all count."""
    new, old, advantages = (part.unsqueeze(1) for part in (log_probs, batch.log_probs, batch.advantages))
    return ppo_clip(new, old, advantages, torch.ones_like(new, dtype=torch.bool), clip)


@torch.no_grad()
def judge(agent: OnPolicyAgent, batch: Batch, numbers: PPO) -> dict[str, Tensor]:
    """How the agent stands to the rollout: losses, entropy in nats, KL(old || new) and the share of clipped ratios.

    The KL is estimated from the actions taken by E[ratio - 1 - log ratio], whose terms are never negative.
    """
    features = features_of(agent, batch)
    log_probs, entropies = agent.units_log_prob(features, batch.actions)
    gap = log_probs - batch.log_probs
    return {
        "policy_loss": surrogate(log_probs, batch, numbers.clip),
        "value_loss": F.mse_loss(agent.value_at(features), batch.targets),
        "entropy": entropies.mean() + agent.distribution.volume,
        "kl": (gap.expm1() - gap).mean(),
        "clipped": (gap.expm1().abs() > numbers.clip).float().mean(),
    }
