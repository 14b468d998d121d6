"""What a step of an agent earns from a discriminator, and what the end of an episode is worth.

An episode that ends leaves the agent in the absorbing state for ever. A reward that is never negative (GAIL's) pays for
staying alive, one that is never positive pays for ending: whoever lets the end be worth 0 has decided the task by the
sign of a constant (survival bias). Here the absorbing state is judged like any other (Kostrikov et al. 2019,
1809.02925, section 4.2), and a termination earns its reward for ever after, at once:

    discount + discount^2 + ... = discount / (1 - discount)   times   the reward of the absorbing state's logit.

Then a constant added to the reward changes nothing that the agent can choose. A time limit is no termination.

The absorbing state is one point, apart from all others, so the best discriminator's logit there needs no network: it is
the logarithm of how much oftener the expert gets there than the agent, for each step.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from rl.control.transitions import Transitions
from rl.objectives import Objective


class Ends(NamedTuple):
    """How often somebody's episodes terminated."""

    terminations: float
    steps: float


def absorbing_logit(expert: Ends, agent: Ends) -> float:
    """Log of the expert's terminations for each step over the agent's; half a termination is added to both counts."""
    return math.log((expert.terminations + 0.5) / expert.steps) - math.log((agent.terminations + 0.5) / agent.steps)


@dataclass(frozen=True)
class Earned:
    """The reward of steps, of any places: what their logits are worth, and what follows a termination."""

    judge: Callable[[Transitions], Tensor]
    """gives logits; high = the expert's"""
    objective: Objective
    limit: float = 10.0
    """logits beyond it, of either sign, count as it"""
    ending: float = 0.0
    """what a termination earns besides, see `ending`"""

    @torch.no_grad()
    def __call__(self, steps: Transitions) -> Float[Tensor, "*places"]:
        """Pay every step, without a gradient."""
        rewards = self.objective.reward(self.judge(steps).clamp(-self.limit, self.limit))
        return rewards + self.ending * steps.terminated


def ending(objective: Objective, logit: float, discount: float, limit: float = 10.0) -> float:
    """Return the reward of the absorbing state for ever after, discounted to the step that led there."""
    held = torch.tensor([min(max(logit, -limit), limit)])
    return discount / (1 - discount) * float(objective.reward(held))
