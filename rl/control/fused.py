"""PPO's loss with its derivative written out: the same number and the same gradients as `ppo.ppo_loss`, in less time.

The networks are so small that autograd costs several times what the arithmetic does. First derivative only.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rl.control.agents import OnPolicyAgent
from rl.control.batches import Batch
from rl.control.layers import backward, forward

Scalar = Float[Tensor, ""]


def fused_loss(
    agent: OnPolicyAgent,
    features: Float[Tensor, "rows features"],
    batch: Batch,
    clip: float,
    value_weight: float,
    entropy_weight: float,
) -> Scalar:
    """Give the loss of `ppo.ppo_loss`, differentiable once in the features and the weights of policy and baseline."""
    weights, numbers = (agent.policy.weights, agent.baseline.weights), (clip, value_weight, entropy_weight)
    loss: Tensor = _Loss.apply(features, *weights, agent, batch, numbers)  # type: ignore[no-untyped-call]
    return loss


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
        numbers: tuple[float, float, float],
    ) -> Tensor:
        """Make the gradients along with the loss."""
        rows, (clip, value_weight, entropy_weight) = len(features), numbers
        linears, extra = agent.policy.held()
        of_policy = torch.empty_like(policy)
        of_linears, of_extra = agent.policy.split(of_policy)
        passed = forward(features, linears)
        log_probs, entropies, slope_of = agent.distribution.slopes(passed.pop(), extra, batch.actions)

        ratio = (log_probs - batch.log_probs).exp_()
        plain = ratio * batch.advantages
        held = ratio.clamp_(1 - clip, 1 + clip).mul_(batch.advantages)
        # where the held term is the smaller one, nothing moves; else d ratio / d log_prob = ratio
        of_log_prob = plain.masked_fill(plain > held, 0).mul_(-1 / rows)
        slope, extra_slope = slope_of(of_log_prob, -entropy_weight / rows)
        of_extra.copy_(extra_slope)
        first = backward(slope, passed, linears, of_linears)

        value_linears, _ = agent.baseline.held()
        of_baseline = torch.empty_like(baseline)
        passed = forward(features, value_linears)
        errors = passed.pop().squeeze(1) - batch.targets
        scaled = (errors * (2 * value_weight / rows)).unsqueeze(1)
        value_first = backward(scaled, passed, value_linears, agent.baseline.split(of_baseline)[0])

        of_features = features.new_empty(0)
        if features.requires_grad:
            of_features = first.mm(linears[0][0]).addmm_(value_first, value_linears[0][0])
        ctx.save_for_backward(of_features, of_policy, of_baseline)
        loss = -torch.minimum(plain, held).mean() + value_weight / rows * errors.dot(errors)
        return loss - entropy_weight * entropies.mean() if entropy_weight else loss

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        """Scale what the forward pass made."""
        if torch.is_grad_enabled():
            raise RuntimeError("the fused loss has no second derivative (create_graph=True)")
        of_features, of_policy, of_baseline = ctx.saved_tensors
        wanted = of_features * d_loss if ctx.needs_input_grad[0] else None
        return wanted, of_policy * d_loss, of_baseline * d_loss, None, None, None
