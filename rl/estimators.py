"""How the generator climbs: surrogate losses whose gradient is MINUS an estimate of the gradient of expected reward.

Shapes: log_probs, returns, advantages, values and mask are [batch time]. Every per-step loss is the mean over the
batch of the SUM over the counted steps of a row: dividing by the number of tokens would favour short rows. Advantages,
targets and action values are never differentiated, and what stands off the mask never matters, not even NaN.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from rl.discriminator import full_precision

Scalar = Float[Tensor, ""]
PerStep = Float[Tensor, "batch time"]
PerAction = Float[Tensor, "batch time actions"]
Mask = Bool[Tensor, "batch time"]


def _on(x: Tensor, mask: Mask) -> PerStep:
    # filled, not multiplied: 0 * NaN and 0 * -inf are NaN
    return full_precision(x).masked_fill(~mask, 0)


def _per_row(x: PerStep) -> Scalar:
    return x.sum(1).mean()


def pathwise(rewards: Float[Tensor, "..."]) -> Scalar:
    """Minus the mean reward, for rewards that are differentiable functions of the sample."""
    return -rewards.mean()


def no_baseline(returns: PerStep, mask: Mask) -> PerStep:
    """Keep the returns as they are: unbiased, and noisy."""
    return _on(returns, mask)


def batch_baseline(returns: PerStep, mask: Mask) -> PerStep:
    """Subtract the mean over the n rows that act at this step, the row itself included.

    Biased by a known factor: the expected gradient is (1 - 1/n) times the true one, because a row's own return stands
    in its baseline (Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free"). n = batch if rows have one
    length. `leave_one_out` has no bias.
    """
    on = _on(returns, mask)
    return (on - on.sum(0) / mask.sum(0).clamp(min=1)).masked_fill(~mask, 0)


def leave_one_out(returns: PerStep, mask: Mask) -> PerStep:
    """Subtract the mean over the OTHER rows that act at this step: unbiased; Kool et al. 2019.

    A row that acts alone has nothing to subtract and keeps its return.
    """
    on = _on(returns, mask)
    others = (on.sum(0) - on) / (mask.sum(0) - 1).clamp(min=1)
    return (on - others).masked_fill(~mask, 0)


def value_baseline(returns: PerStep, values: PerStep, mask: Mask) -> PerStep:
    """Subtract the estimated value of the state acted in: unbiased, whatever the values are."""
    return _on(returns, mask) - _on(values.detach(), mask)


def reinforce(log_probs: PerStep, advantages: PerStep, mask: Mask) -> Scalar:
    """Score-function surrogate -E sum_t advantage_t log pi(a_t | s_t); Williams 1992, episodic REINFORCE.

    Unbiased where advantage_t is an unbiased estimate of the return from t on, less anything that does not depend on
    the action at t.
    """
    return -_per_row(_on(advantages.detach(), mask) * _on(log_probs, mask))


def actor_critic(
    log_probs: PerStep, values: PerStep, advantages: PerStep, targets: PerStep, mask: Mask, value_weight: float = 0.5
) -> Scalar:
    """`reinforce` plus value_weight times the squared error of the values, both summed over a row's steps."""
    errors = (_on(values, mask) - _on(targets.detach(), mask)).square()
    return reinforce(log_probs, advantages, mask) + value_weight * _per_row(errors)


def ppo_clip(log_probs: PerStep, old_log_probs: PerStep, advantages: PerStep, mask: Mask, clip: float = 0.2) -> Scalar:
    """Clipped surrogate; Schulman et al. 2017 (1707.06347), eq. 7.

    -E sum_t min(ratio A, clamp(ratio, 1 - clip, 1 + clip) A) with ratio = pi / pi_old. At ratio 1 its gradient is
    that of `reinforce`.
    """
    advantages = _on(advantages.detach(), mask)
    ratio = (_on(log_probs, mask) - _on(old_log_probs.detach(), mask)).exp()
    return -_per_row(torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages))


def exact(action_log_probs: PerAction, action_values: PerAction, mask: Mask) -> Scalar:
    """Sum over ALL actions: -E sum_t sum_a pi(a | s_t) Q(s_t, a); Sutton et al. 2000, theorem 1.

    For small action sets whose values are known, as a pool of documents (IRGAN: Wang et al. 2017, 1705.10513).
    """
    probs = _on_actions(action_log_probs, mask).exp()
    return -_per_row((probs * _on_actions(action_values.detach(), mask)).sum(-1))


def gumbel_softmax(logits: Float[Tensor, "*places actions"], temperature: float) -> Float[Tensor, "*places actions"]:
    """Sample a point of the simplex, softmax((logits + Gumbel) / temperature); Jang et al. 2017 (1611.01144), eq. 2.

    Its largest coordinate is exactly categorical at any temperature; as the temperature falls all mass goes there.
    """
    logits = full_precision(logits)
    exponential = torch.empty_like(logits).exponential_().clamp(min=torch.finfo(logits.dtype).tiny)
    scores = (logits - exponential.log()) / temperature
    # subnormal numbers make everything after them many times slower; e^-50 is below what float64 resolves beside 1
    return (scores - scores.detach().amax(-1, keepdim=True)).clamp(min=-50).softmax(-1)


def straight_through_gumbel(
    logits: Float[Tensor, "*places actions"], temperature: float
) -> Float[Tensor, "*places actions"]:
    """Sample one-hot forward, differentiate the softmax backward; Jang et al. 2017 (1611.01144), eq. 1, section 2.2.

    The forward sample is exactly categorical; the gradient is biased, the less the lower the temperature, at the
    price of its variance.
    """
    soft = gumbel_softmax(logits, temperature)
    hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach())


def entropy(action_log_probs: PerAction, mask: Mask) -> Scalar:
    """-E sum_t sum_a pi log pi in nats, exact over the actions; impossible actions (-inf) add nothing."""
    return -_per_row(divergence(action_log_probs, action_log_probs, mask, sharpness=0.0))


def kl_to(action_log_probs: PerAction, reference_log_probs: PerAction, mask: Mask) -> Scalar:
    """E sum_t KL(pi || reference) in nats, exact over the actions; no gradient flows into the reference.

    Where the reference forbids (-inf) what the policy does, the answer is huge, or inf.
    """
    return _per_row(divergence(action_log_probs, reference_log_probs, mask))


def divergence(
    action_log_probs: PerAction, reference_log_probs: PerAction, mask: Mask, sharpness: float = 1.0
) -> PerStep:
    """Return at each step sum_a pi (log pi - sharpness * log reference) in nats, exact over the actions.

    Sharpness 1 is KL(pi || reference), 0 minus the entropy of pi. Summed over a sentence and averaged over the policy's
    own sentences it is KL(pi || reference^sharpness / Z) - log Z: least where whole sentences, not single tokens, are
    weighed by reference^sharpness. No gradient flows into the reference.
    """
    log_probs = _on_actions(action_log_probs, mask)
    reference = _on_actions(reference_log_probs.detach(), mask)
    return (log_probs.exp() * (log_probs - sharpness * reference)).sum(-1)


def _on_actions(log_probs: PerAction, mask: Mask) -> PerAction:
    # 0 * -inf is NaN, 0 * the least number is 0
    on = full_precision(log_probs).masked_fill(~mask.unsqueeze(-1), 0)
    return on.clamp(min=torch.finfo(on.dtype).min)
