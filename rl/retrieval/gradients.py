"""The policy gradient at horizon one: pieces over `rl.estimators` where a query's draws, or its list, stand in a row.

Shapes: scores, log-probabilities, rewards and weights are [batch draws], one row for each query. Losses are means over
the queries; their gradient is MINUS an estimate of the gradient of the mean expected reward. Weights sum over a row's
draws: their 1/draws is in them. Neither weights nor rewards are differentiated.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rl.discriminator import full_precision
from rl.estimators import exact, reinforce

Scalar = Float[Tensor, ""]
PerDraw = Float[Tensor, "batch draws"]
Mask = Bool[Tensor, "batch draws"]
Baseline: TypeAlias = Callable[[PerDraw, Mask], PerDraw]
Weigh: TypeAlias = Callable[[PerDraw, PerDraw], PerDraw]


def constant_baseline(rewards: PerDraw, constant: float) -> PerDraw:
    """Subtract a number: unbiased. IRGAN's code pays 2 sigmoid(l) - 1: SeqGAN's reward less 1/2, twice."""
    return rewards - constant


def among_draws(baseline: Baseline, rewards: PerDraw) -> PerDraw:
    """Apply `rl.estimators.batch_baseline` or `leave_one_out` to the draws of each query by itself."""
    return baseline(rewards.T, torch.ones_like(rewards.T, dtype=torch.bool)).T


def equal_weights(log_target: PerDraw, log_proposal: PerDraw) -> PerDraw:
    """Give 1 / draws: no correction, right where the draws are the target's own."""
    return torch.full_like(log_target.detach(), 1 / log_target.shape[1])


def plain_weights(log_target: PerDraw, log_proposal: PerDraw) -> PerDraw:
    """Give target / proposal / draws: unbiased for normalised log-probabilities; the variance has no bound."""
    return (log_target.detach() - log_proposal).exp() / log_target.shape[1]


def self_normalised_weights(log_target: PerDraw, log_proposal: PerDraw) -> PerDraw:
    """Give the softmax over the draws of log target - log proposal; each may lack a constant for each query.

    Biased by O(1 / draws), and by nothing where every document was drawn once from a uniform proposal.
    """
    return (log_target.detach() - log_proposal).softmax(1)


def clipped_weights(log_target: PerDraw, log_proposal: PerDraw, limit: float) -> PerDraw:
    """Give min(target / proposal, limit) / draws: bounded variance; too little of what the proposal neglects."""
    return (log_target.detach() - log_proposal).exp().clamp(max=limit) / log_target.shape[1]


def sampled_policy_loss(log_probs: PerDraw, advantages: PerDraw, weights: PerDraw) -> Scalar:
    """Sum over a query's draws of -weight * advantage * log p(document | query), by `reinforce`.

    IRGAN: Wang et al. 2017 (1705.10513), eq. 5. Unbiased for plain weights and a baseline that does not depend on the
    draw; for equal weights where the draws are the policy's own.
    """
    return reinforce(log_probs, weights * advantages, torch.ones_like(log_probs, dtype=torch.bool))


def covariance_policy_loss(scores: PerDraw, rewards: PerDraw, log_proposal: PerDraw) -> Scalar:
    """-sum_k w_k (r_k - sum_j w_j r_j) f_k with w = softmax(f - log proposal): needs no normaliser of the policy.

    The gradient of an expected reward under softmax(f) is the covariance of reward and df; this is its self-normalised
    estimate (Sakhi et al. 2023, 2208.05327). Scores are those of the policy, already divided by its
    temperature. Exact where every document was drawn once from a uniform proposal.
    """
    weights = self_normalised_weights(full_precision(scores), log_proposal)
    expected = (weights * rewards).sum(1, keepdim=True)
    return sampled_policy_loss(scores, rewards - expected, weights)


def exact_policy_loss(scores: PerDraw, rewards: PerDraw, listed: Mask) -> Scalar:
    """-E over softmax(scores) of the reward, the whole expectation over each query's list, by `rl.estimators.exact`.

    `listed` is False for filler. A row with nothing listed adds nothing, but is counted in the mean.
    """
    log_probs = full_precision(scores).masked_fill(~listed, -torch.inf).log_softmax(1)
    rewards = rewards.masked_fill(~listed, 0)
    return exact(log_probs.unsqueeze(1), rewards.unsqueeze(1), listed.any(1, keepdim=True))
