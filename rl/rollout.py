"""What was done: sentences, lists of documents, trajectories; and what each step brought afterwards.

The only file that tells `terminated` (the episode ended, nothing comes after) from `truncated` (we stopped looking).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

Steps = TypeVar("Steps")
PerStepFloats = Float[Tensor, "batch time"]
PerStepBools = Bool[Tensor, "batch time"]


@dataclass(frozen=True)
class Rollout(Generic[Steps]):
    """A batch of rows of steps, with what is known about each step; zeros stand until it is known."""

    steps: Steps
    """what was done: tokens [batch time], or a structure of observations and actions"""
    mask: PerStepBools
    """True where an action counts; the rest is padding"""
    log_probs: PerStepFloats
    """of the action taken, under the policy that took it"""
    rewards: PerStepFloats
    values: PerStepFloats
    """estimated return from the state in which the action was taken"""
    next_values: PerStepFloats
    """estimated return from the state that followed, also where the row was truncated there"""
    terminated: PerStepBools
    """the episode ended with this step: nothing comes after, whatever next_values says"""
    truncated: PerStepBools
    """we stopped looking after this step: the future is worth next_values"""

    @classmethod
    def of(cls, steps: Steps, mask: PerStepBools) -> "Rollout[Steps]":
        """Begin with the steps alone; a row terminates at its last counted step."""
        zeros = torch.zeros(mask.shape, device=mask.device)
        return cls(steps, mask, zeros, zeros, zeros, zeros, last_step(mask), torch.zeros_like(mask))

    def relabel(self, reward: "Callable[[Rollout[Steps]], Tensor]") -> "Rollout[Steps]":
        """Pay every step anew; everything else stays."""
        return replace(self, rewards=reward(self))


def last_step(mask: PerStepBools) -> PerStepBools:
    """Mark the last counted step of each row; nothing in a row without one."""
    still_to_come = mask.flip(1).cumsum(1).flip(1)
    return mask & (still_to_come == 1)


def returns_to_go(rewards: PerStepFloats, mask: PerStepBools, discount: float = 1.0) -> PerStepFloats:
    """Discounted sum of this and all later rewards of the row; zero off the mask.

    Steps off the mask neither pay nor age. A row is one episode; for rows that hold several use `gae`, lam = 1.
    """
    decays = torch.full_like(rewards, discount).masked_fill(~mask, 1)
    return _sum_ahead(rewards.masked_fill(~mask, 0), decays).masked_fill(~mask, 0)


@torch.no_grad()
def gae(rollout: Rollout[Steps], discount: float, lam: float) -> tuple[PerStepFloats, PerStepFloats]:
    """Generalised advantages and the targets for the values; Schulman et al. 2016 (1506.02438), eq. 16.

    delta_t = r_t + discount (1 - terminated_t) next_value_t - value_t, advantage_t = sum_k (discount lam)^k delta_t+k.
    The sum goes no further than a step that is terminated or truncated: what follows in the row is another episode.
    Only termination cancels next_value. target_t = advantage_t + value_t. Both are zero off the mask.
    """
    off = ~rollout.mask
    future = rollout.next_values.masked_fill(rollout.terminated, 0)
    deltas = (rollout.rewards + discount * future - rollout.values).masked_fill(off, 0)
    decays = torch.full_like(deltas, discount * lam).masked_fill(rollout.terminated | rollout.truncated, 0)
    advantages = _sum_ahead(deltas, decays.masked_fill(off, 1)).masked_fill(off, 0)
    return advantages, advantages + rollout.values.masked_fill(off, 0)


def _sum_ahead(terms: PerStepFloats, decays: PerStepFloats) -> PerStepFloats:
    """Solve x_t = terms_t + decays_t x_t+1 with x = 0 after the end, in log2(time) passes instead of time."""
    shift = 1
    while shift < terms.shape[1]:
        terms = terms + decays * F.pad(terms[:, shift:], (0, shift))
        decays = decays * F.pad(decays[:, shift:], (0, shift))
        shift *= 2
    return terms
