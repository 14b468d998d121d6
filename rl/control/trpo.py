"""Trust region policy optimisation: one natural-gradient step a rollout, as long as the KL divergence allows.

A round is `trpo_round(agent, optimizer, prepare(agent, rollout.relabel(reward)), numbers, engine)`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rl.control.agents import OnPolicyAgent
from rl.control.batches import Batch, batch_of, explained_variance
from rl.control.fused import Gradients, fill_baseline
from rl.control.transitions import Transitions
from rl.rollout import Rollout
from rl.runtime.engine import Engine
from rl.runtime.errors import Diverged, InputError

Scalar = Float[Tensor, ""]
Weights = Float[Tensor, "weights"]


@dataclass(frozen=True)
class TRPO:
    """Numbers of trust region policy optimisation; Schulman et al. 2015 (1502.05477), Ho & Ermon 2016 (1606.03476)."""

    gamma: float = 0.995
    """discount of a step"""
    lam: float = 0.97
    """of the generalised advantages: 0 trusts the values, 1 the rewards"""
    max_kl: float = 0.01
    """how far a round may move the policy: mean KL(old || new) in nats"""
    damping: float = 0.1
    """added to the diagonal of the Fisher matrix"""
    cg_steps: int = 10
    """of conjugate gradients"""
    fisher_every: int = 1
    """the Fisher matrix is that of every n-th step of the rollout"""
    backtracks: int = 10
    """halvings of a step that goes too far or does not improve, before none is made"""
    entropy_weight: float = 0.0
    """of the policy's entropy, in nats"""
    value_epochs: int = 5
    """passes of the values' fit, by Adam, over a rollout"""
    value_minibatch: int = 128
    """steps to an update of the values; a rollout is cut into equal parts of about so many"""
    value_lr: float = 1e-3
    """of Adam, for the values"""


def optimizer_for(agent: OnPolicyAgent, numbers: TRPO) -> torch.optim.Optimizer:
    """Give the optimizer of the values; the policy needs none."""
    return torch.optim.Adam([agent.baseline.weights], numbers.value_lr, fused=True)


def trpo_round(
    agent: OnPolicyAgent,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout[Transitions],
    numbers: TRPO,
    engine: Engine,
) -> dict[str, Tensor]:
    """Learn from one rollout that `prepare` has seen: a step of the policy, then some of the values.

    Raises InputError for an encoder that learns, as its changes escape the bound, and for more than one rank; Diverged
    where a gradient is not finite.
    """
    if not agent.fixed_encoder:
        raise InputError("TRPO: observations with pixels need an encoder that learns; PPO and SAC have one")
    if engine.world > 1:
        raise InputError("TRPO: runs on one rank only")
    batch = batch_of(agent, rollout, numbers.gamma, numbers.lam)
    metrics = policy_step(agent, batch, numbers)
    value_loss = fit_values(agent, optimizer, batch, numbers)
    variance = explained_variance(rollout.values[rollout.mask], batch.targets)
    return metrics | {"value_loss": value_loss, "explained_variance": variance}


def policy_step(agent: OnPolicyAgent, batch: Batch, numbers: TRPO) -> dict[str, Tensor]:
    """Move the policy along the natural gradient: mean KL at most max_kl and a better surrogate, or not at all.

    Schulman et al. 2015, appendix C: with x = (F + damping)^-1 g the step is sqrt(2 max_kl / x (F + damping) x) x,
    halved until both hold.
    """
    weights = agent.policy.weights
    before = improvement(agent, batch, numbers.entropy_weight)
    (gradient,) = torch.autograd.grad(before, weights)
    if not gradient.isfinite().all():
        raise Diverged("agent: the gradient of the policy is not finite")
    product = fisher_product(agent, batch.inputs[:: numbers.fisher_every], numbers.damping)
    direction = conjugate_gradient(product, gradient, numbers.cg_steps)
    step = direction * (2 * numbers.max_kl / direction.dot(product(direction)).clamp(min=1e-12)).sqrt()
    with torch.no_grad():
        old, gained, kl, share = weights.clone(), torch.zeros_like(before), torch.zeros_like(before), 0.0
        outputs, extra = agent.policy(batch.inputs)
        extra = extra.clone()  # a view of what moves
        for halvings in range(numbers.backtracks + 1):
            torch.add(old, step, alpha=0.5**halvings, out=weights)
            moved = agent.distribution.kl(outputs, extra, *agent.policy(batch.inputs)).mean()
            better = improvement(agent, batch, numbers.entropy_weight) - before
            if moved <= numbers.max_kl and better > 0:  # false for NaN
                gained, kl, share = better, moved, 0.5**halvings
                break
        else:
            weights.copy_(old)
        entropy = agent.units_log_prob(batch.inputs, batch.actions)[1].mean() + agent.distribution.volume
    return {
        "improvement": gained,
        "kl": kl,
        "step": torch.tensor(share),
        "entropy": entropy,
        "gradient": gradient.norm(),
    }


def improvement(agent: OnPolicyAgent, batch: Batch, entropy_weight: float) -> Scalar:
    """E[ratio A] + entropy_weight E[entropy]: Schulman et al. 2015, eq. 14, with advantages for action values."""
    log_probs, entropies = agent.units_log_prob(batch.inputs, batch.actions)
    gained = ((log_probs - batch.log_probs).exp() * batch.advantages).mean()
    return gained + entropy_weight * entropies.mean()


def fisher_product(
    agent: OnPolicyAgent, features: Float[Tensor, "rows features"], damping: float
) -> Callable[[Weights], Weights]:
    """Return v -> (F + damping) v, F the Hessian of the mean KL(old || new) at the old weights: the Fisher matrix."""
    weights = agent.policy.weights
    outputs, extra = agent.policy(features)
    kl = agent.distribution.kl(outputs.detach(), extra.detach(), outputs, extra).mean()
    (slope,) = torch.autograd.grad(kl, weights, create_graph=True)

    def product(vector: Weights) -> Weights:
        (times,) = torch.autograd.grad(slope, weights, vector, retain_graph=True)
        return times + damping * vector

    return product


@torch.no_grad()
def conjugate_gradient(
    product: Callable[[Weights], Weights], right: Weights, steps: int, tolerance: float = 1e-10
) -> Weights:
    """Solve A x = right for a symmetric positive definite A, known by its products; Hestenes & Stiefel 1952.

    Stops when the squared residual is below the tolerance times that of x = 0.
    """
    found, residual, direction = torch.zeros_like(right), right.clone(), right.clone()
    size = residual.dot(residual)
    enough = tolerance * size
    for _ in range(steps):
        if size <= enough:
            break
        times = product(direction)
        length = size / direction.dot(times)
        found += length * direction
        residual -= length * times
        before, size = size, residual.dot(residual)
        direction = residual + (size / before) * direction
    return found


def fit_values(agent: OnPolicyAgent, optimizer: torch.optim.Optimizer, batch: Batch, numbers: TRPO) -> Tensor:
    """Regress the values on their targets; the mean squared error after it."""
    number = max(1, len(batch.targets) // numbers.value_minibatch)
    with Gradients(agent) as gradients:
        for _ in range(numbers.value_epochs):
            index = torch.randperm(len(batch.targets), device=batch.targets.device)
            for part in batch.take(index).parts(number):
                with torch.inference_mode():
                    fill_baseline(gradients, agent, part.inputs, part, weight=1.0)
                gradients.step(optimizer, clip=math.inf)
    with torch.no_grad():
        return (agent.value_at(batch.inputs) - batch.targets).square().mean()
