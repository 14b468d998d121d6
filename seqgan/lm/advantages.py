"""From what each step earned to its advantage: five ways to share a sentence's reward among its tokens.

Rows stand in groups of `size` neighbours that answer the same prompt. All are zero off the mask.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rl.estimators import Mask, PerStep, leave_one_out
from rl.rollout import Rollout, gae, returns_to_go

LEAST = 1e-4  # added to a group's deviation: rows that all earn the same have no advantage, not a huge one

Advantages = Callable[[Rollout[Tensor], int], PerStep]


def among_group(returns: PerStep, mask: Mask, size: int) -> PerStep:
    """Subtract, at each step, the mean over the OTHER rows of the group that act there; unbiased."""
    groups, time = len(returns) // size, returns.shape[1]

    def beside(x: Tensor) -> Tensor:  # each (group, step) is a column of its own
        return x.view(groups, size, time).transpose(0, 1).reshape(size, groups * time)

    found = leave_one_out(beside(returns), beside(mask))
    return found.view(size, groups, time).transpose(0, 1).reshape(returns.shape)


def group(rollout: Rollout[Tensor], size: int) -> PerStep:
    """(R - mean) / (std + 1e-4) over the group, for every token; GRPO, Shao et al. 2024 (2402.03300), section 4.1.2."""
    totals = rollout.rewards.sum(1).view(-1, size)
    standard = (totals - totals.mean(1, keepdim=True)) / (totals.std(1, correction=0, keepdim=True) + LEAST)
    return standard.view(-1, 1).expand(rollout.mask.shape).masked_fill(~rollout.mask, 0)


def rloo(rollout: Rollout[Tensor], size: int) -> PerStep:
    """R less the mean R of the others of the group, for every token; Ahmadian et al. 2024 (2402.14740), eq. 8."""
    totals = rollout.rewards.sum(1, keepdim=True)
    apart = among_group(totals, torch.ones_like(totals, dtype=torch.bool), size)
    return apart.expand(rollout.mask.shape).masked_fill(~rollout.mask, 0)


def token(rollout: Rollout[Tensor], size: int) -> PerStep:
    """Sum of this and all later rewards, less its mean over the group's other rows at the same step."""
    return among_group(returns_to_go(rollout.rewards, rollout.mask), rollout.mask, size)


def mc_rollout(rollout: Rollout[Tensor], size: int) -> PerStep:
    """Take rewards for the values that they are (`by_rollouts`), less their mean over the group's other rows."""
    return among_group(rollout.rewards, rollout.mask, size)


def generalised(lam: float) -> Advantages:
    """Return GAE of the rollout's own values, without a discount; Schulman et al. 2016 (1506.02438), eq. 16."""

    def advantages(rollout: Rollout[Tensor], size: int) -> PerStep:
        return gae(rollout, 1.0, lam)[0]

    return advantages
