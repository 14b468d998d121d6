"""PPO's loss with its derivative written out: the same number and the same gradients as `ppo.ppo_loss`, in less time.

The networks are so small that autograd costs several times what the arithmetic does. First derivative only.
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rl.control.agents import OnPolicyAgent
from rl.control.batches import Batch
from rl.control.layers import Linear, backward, forward
from rl.runtime.errors import Diverged

Scalar = Float[Tensor, ""]
Rows = Float[Tensor, "rows features"]


class Weighting(NamedTuple):
    """What the loss is made of."""

    clip: float
    value: float
    entropy: float


class Gradients:
    """Memory for the gradients of an agent's two networks, in one piece, with the views that the formulas fill."""

    def __init__(self, agent: OnPolicyAgent) -> None:
        self.weights = (agent.policy.weights, agent.baseline.weights)
        self.flat = torch.zeros(sum(len(part) for part in self.weights), device=self.weights[0].device)
        self.flat = self.flat.to(self.weights[0].dtype)
        self.policy, self.baseline = torch.split(self.flat, [len(part) for part in self.weights])
        self.of_policy: list[Linear]
        self.of_policy, self.of_extra = agent.policy.split(self.policy)
        self.of_baseline, _ = agent.baseline.split(self.baseline)

    def step(self, optimizer: torch.optim.Optimizer, clip: float) -> float:
        """Step down these gradients, their norm bounded by `clip`, and return the norm. Raises Diverged before that."""
        norm = float(self.flat.norm())
        if not math.isfinite(norm):
            name = "policy" if not self.policy.isfinite().all() else "baseline"
            raise Diverged(f"agent: the gradient of the {name} is not finite")
        if norm > clip:
            self.flat.mul_(clip / norm)
        optimizer.step()
        return norm

    def __enter__(self) -> "Gradients":
        """Become the weights' gradients."""
        self.weights[0].grad, self.weights[1].grad = self.policy, self.baseline
        return self

    def __exit__(self, *error: object) -> None:
        """Leave no gradient behind."""
        self.weights[0].grad = self.weights[1].grad = None


def fused_loss(agent: OnPolicyAgent, features: Rows, batch: Batch, weighting: Weighting) -> Scalar:
    """Give the loss of `ppo.ppo_loss`, differentiable once in the features and the weights of policy and baseline."""
    weights = (agent.policy.weights, agent.baseline.weights)
    loss: Tensor = _Loss.apply(features, *weights, agent, batch, weighting)  # type: ignore[no-untyped-call]
    return loss


class Found(NamedTuple):
    """What is left over when gradients are made."""

    first: Float[Tensor, "rows hidden"]
    """dL/d sums of the policy's first layer"""
    value_first: Float[Tensor, "rows hidden"]
    """dL/d sums of the baseline's first layer"""
    climbed: Float[Tensor, "rows"]
    """min(ratio A, clipped ratio A)"""
    errors: Float[Tensor, "rows"]
    """of the values"""
    entropies: Float[Tensor, "rows"]

    def loss(self, weighting: Weighting) -> Scalar:
        """Put the loss together."""
        value_loss = weighting.value * self.errors.square().mean()
        return value_loss - self.climbed.mean() - weighting.entropy * self.entropies.mean()


def fill(gradients: Gradients, agent: OnPolicyAgent, features: Rows, batch: Batch, weighting: Weighting) -> Found:
    """Fill in the gradients. Run it without autograd."""
    rows, clip = len(features), weighting.clip
    linears, extra = agent.policy.held()
    passed = forward(features, linears)
    log_probs, entropies, slope_of = agent.distribution.slopes(passed.pop(), extra, batch.actions)
    ratio = (log_probs - batch.log_probs).exp_()
    plain = ratio * batch.advantages
    held = ratio.clamp_(1 - clip, 1 + clip).mul_(batch.advantages)
    # where the held term is the smaller one, nothing moves; else d ratio / d log_prob = ratio
    of_log_prob = plain.masked_fill(plain > held, 0).div_(-rows)
    of_outputs, of_extra = slope_of(of_log_prob, -weighting.entropy / rows)
    gradients.of_extra.copy_(of_extra)
    first = backward(of_outputs, passed, linears, gradients.of_policy)

    value_first, errors = fill_baseline(gradients, agent, features, batch, weighting.value)
    return Found(first, value_first, torch.minimum(plain, held), errors, entropies)


def fill_baseline(
    gradients: Gradients, agent: OnPolicyAgent, features: Rows, batch: Batch, weight: float
) -> tuple[Float[Tensor, "rows hidden"], Float[Tensor, "rows"]]:
    """Fill in the baseline's gradients, of weight E (value - target)^2; the slopes at its first sums, the errors."""
    linears, _ = agent.baseline.held()
    passed = forward(features, linears)
    errors = passed.pop().squeeze(1) - batch.targets
    slope = (errors * (2 * weight / len(features))).unsqueeze(1)
    return backward(slope, passed, linears, gradients.of_baseline), errors


class _Loss(torch.autograd.Function):
    """See `fused_loss`."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        policy: Tensor,
        baseline: Tensor,
        agent: OnPolicyAgent,
        batch: Batch,
        weighting: Weighting,
    ) -> Tensor:
        """Make the gradients along with the loss."""
        gradients = Gradients(agent)
        found = fill(gradients, agent, features, batch, weighting)
        of_features = features.new_empty(0)
        if features.requires_grad:
            matrices = (net.held()[0][0][0] for net in (agent.policy, agent.baseline))
            of_features = found.first.mm(next(matrices)).addmm_(found.value_first, next(matrices))
        ctx.save_for_backward(of_features, gradients.policy, gradients.baseline)
        return found.loss(weighting)

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        """Scale what the forward pass made."""
        if torch.is_grad_enabled():
            raise RuntimeError("the fused loss has no second derivative (create_graph=True)")
        of_features, of_policy, of_baseline = ctx.saved_tensors
        wanted = of_features * d_loss if ctx.needs_input_grad[0] else None
        return wanted, of_policy * d_loss, of_baseline * d_loss, None, None, None
