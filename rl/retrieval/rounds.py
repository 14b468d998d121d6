"""What slates teach those who judge and those who rank, whichever scorers they are: IRGAN, AR2, self-contrast.

Losses are means over queries, or over pairs of a relevant document and another. A generator climbs a reward through
`rl.retrieval.gradients`; likelihood and distillation imitate. `judged` is never differentiated.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from rl.discriminator import full_precision
from rl.estimators import batch_baseline, leave_one_out
from rl.inverse_cdf import search, uniforms
from rl.objectives import Minimax, Objective
from rl.retrieval import gradients
from rl.retrieval.scorers import Scorer
from rl.retrieval.slates import Slate

Scalar = Float[Tensor, ""]
OnSlate = Float[Tensor, "batch list"]
Mask = Bool[Tensor, "batch list"]
Drawn = Float[Tensor, "batch draws"]
Columns = Int[Tensor, "batch draws"]

Baseline: TypeAlias = Callable[[Drawn], Drawn]

BASELINES: dict[str, Baseline] = {
    "none": lambda rewards: rewards,
    "constant": partial(gradients.constant_baseline, constant=0.5),
    "batch": partial(gradients.among_draws, batch_baseline),
    "leave-one-out": partial(gradients.among_draws, leave_one_out),
}


def log_policy(scores: OnSlate, mask: Mask, temperature: float = 1.0) -> OnSlate:
    """Return log softmax(scores / temperature) over the candidates; fillers -inf, a row of them alone uniform."""
    kept = mask | ~mask.any(1, keepdim=True)
    return (full_precision(scores) / temperature).masked_fill(~kept, -torch.inf).log_softmax(1)


def draw_columns(log_probs: OnSlate, count: int) -> Columns:
    """Draw candidates with replacement, each row by its own probabilities."""
    uniform = uniforms(len(log_probs), count, device=log_probs.device)
    return search(log_probs.to(uniform.dtype).exp(), uniform)


def with_positives(log_probs: OnSlate, relevant: Mask, share: float) -> OnSlate:
    """Mix the policy with the uniform distribution over the relevant candidates; rows that have none keep it."""
    count = relevant.sum(1, keepdim=True)
    share_of = torch.where(count > 0, share, 0.0).to(log_probs)
    others = log_probs + (1 - share_of).log()
    return torch.where(relevant, torch.logaddexp(others, (share_of / count.clamp(min=1)).log()), others)


def pairs_of(slate: Slate, log_probs: OnSlate) -> tuple[Int[Tensor, "pairs"], Int[Tensor, "pairs 2"]]:
    """Draw another candidate for each relevant one; the query, and [relevant, drawn], of each pair."""
    counts = slate.relevant.sum(1)
    columns = draw_columns(log_probs, max(1, int(counts.max())))
    wanted = torch.arange(columns.shape[1], device=counts.device) < counts[:, None]
    drawn = slate.ids.gather(1, columns)[wanted]
    return slate.query.repeat_interleave(counts), torch.stack([slate.ids[slate.relevant], drawn], 1)


def contrast(
    discriminator: Scorer, objective: Objective, slate: Slate, log_probs: OnSlate
) -> tuple[Scalar, dict[str, Tensor]]:
    """Tell the relevant from what was drawn, pointwise or pairwise as the objective is; 1705.10513, eq. 3 and 10."""
    query, ids = pairs_of(slate, log_probs)
    real, fake = discriminator.score(query, ids).unbind(1)
    metrics = {"d/accuracy": ((real > 0).float().mean() + (fake < 0).float().mean()) / 2}
    metrics["d/pairs_right"] = (real > fake).float().mean()
    return objective.discriminator_loss(real, fake), metrics


def hardest_of(scores: OnSlate, others: Mask, candidates: int) -> OnSlate:
    """Return log-probabilities of drawing the best-scored of so many even draws among the others; Zhang et al. 2013.

    With replacement: the candidate ranked r of n, the first best, has probability ((n - r + 1)^k - (n - r)^k) / n^k.
    """
    order = scores.masked_fill(~others, -torch.inf).argsort(1, descending=True)
    number = others.sum(1, keepdim=True).double()
    rank = torch.arange(scores.shape[1], device=scores.device, dtype=torch.double)
    below = ((number - rank).clamp(min=0) / number.clamp(min=1)) ** candidates
    after = ((number - rank - 1).clamp(min=0) / number.clamp(min=1)) ** candidates
    probs = torch.zeros_like(below).scatter_(1, order, below - after)
    return torch.where(others.any(1, keepdim=True), probs, 1.0).log()


def likelihood_loss(scores: OnSlate, relevant: Mask, mask: Mask) -> Scalar:
    """Cross-entropy from the relevant candidates, evenly, to the softmax of the slate: listwise maximum likelihood."""
    target = relevant / relevant.sum(1, keepdim=True).clamp(min=1)
    return _cross_entropy(target, log_policy(scores, mask))


def ranking_loss(scores: OnSlate, relevant: Mask, mask: Mask) -> Scalar:
    """Each relevant candidate by itself against all that are not: AR2's ranker (2110.03611), eq. 4.

    Mean over the relevant of -log e^f / (e^f + sum over the others of e^f).
    """
    least = torch.finfo(torch.float32).min
    others = full_precision(scores).masked_fill(~(mask & ~relevant), least).logsumexp(1, keepdim=True)
    return F.softplus(others - scores)[relevant].mean()


def anchor(judged: OnSlate, relevant: Mask) -> Float[Tensor, "batch 1"]:
    """Return the verdict on one relevant candidate of each query, evenly drawn; on any, where there is none."""
    return judged.gather(1, draw_columns(_evenly(relevant), 1))


def exact_climb(scores: OnSlate, judged: OnSlate, objective: Objective, relevant: Mask, mask: Mask) -> Scalar:
    """Climb the reward's whole expectation over the slate."""
    rewards = objective.reward(judged, anchor(judged, relevant).expand_as(judged))
    return gradients.exact_policy_loss(scores, rewards, mask)


def sampled_climb(
    scores: OnSlate,
    discriminator: Scorer,
    objective: Objective,
    slate: Slate,
    *,
    draws: int,
    share: float,
    baseline: Baseline,
) -> Scalar:
    """Climb the reward of some draws, a share of them from the relevant and weighed back; 1705.10513, eq. 5.

    Each query has `draws` times as many as the query with the most relevant candidates has of these.
    """
    policy = log_policy(scores, slate.mask)
    proposal = with_positives(policy.detach(), slate.relevant, share)
    columns = draw_columns(proposal, draws * max(1, int(slate.relevant.sum(1).max())))
    real = draw_columns(_evenly(slate.relevant), columns.shape[1])
    with torch.no_grad():
        ids = slate.ids.gather(1, torch.cat([columns, real], 1))
        judged = discriminator.score(slate.query, ids)
        fake, verdict = judged.tensor_split(2, 1)
        rewards = objective.reward(fake, verdict)
    log_probs = policy.gather(1, columns)
    weights = gradients.plain_weights(log_probs, proposal.gather(1, columns))
    return gradients.sampled_policy_loss(log_probs, baseline(rewards), weights)


def hardness_climb(scores: OnSlate, judged: OnSlate, relevant: Mask, mask: Mask) -> Scalar:
    """Find what the ranker takes for relevant: AR2's adversarial term (2110.03611), eq. 6.

    A document that is not relevant is as hard as -log of the probability that the ranker prefers a relevant one,
    softplus(f - f_relevant): the minimax reward of the difference. Its expectation over the retriever's draws among
    them is exact.
    """
    hardness = Minimax().reward(judged - anchor(judged, relevant))
    return gradients.exact_policy_loss(scores, hardness, mask & ~relevant)


def distillation_loss(scores: OnSlate, judged: OnSlate, mask: Mask, temperature: float = 1.0) -> Scalar:
    """Rank as the ranker does: cross-entropy from softmax(judged / temperature) to the scores'; AR2, eq. 8."""
    target = log_policy(judged.detach(), mask, temperature).exp()
    return _cross_entropy(target, log_policy(scores, mask))


def _evenly(relevant: Mask) -> OnSlate:
    return torch.where(relevant.any(1, keepdim=True), relevant.double(), 1.0).log()


def _cross_entropy(target: OnSlate, log_probs: OnSlate) -> Scalar:
    return -(target * log_probs.clamp(min=torch.finfo(torch.float32).min)).sum(1).mean()
