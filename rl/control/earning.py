"""What a step of an agent earns from a discriminator, and what the end of an episode is worth.

An episode that ends leaves the agent in the absorbing state for ever. A reward that is never negative (GAIL's) pays for
staying alive, one that is never positive pays for ending: whoever lets the end be worth 0 has decided the task by the
sign of a constant (survival bias). Here the absorbing state is judged like any other: the discriminator sees it among
the expert's and the agent's steps, and a termination earns

    discount + discount^2 + ... = discount / (1 - discount)

times its reward, at once (Kostrikov et al. 2019, 1809.02925, section 4.2, with the self-loop's sum in closed form). Then
a constant added to the reward changes nothing that the agent can choose. A time limit is no termination.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rl.control.transitions import Transitions, concatenate
from rl.discriminator import Discriminator
from rl.objectives import Objective


def absorbing_row(like: Transitions) -> Transitions:
    """Return one step in the absorbing state: zeros, and the sign of it."""
    zeros = Transitions(*(torch.zeros_like(field[:1]) for field in like))
    return zeros._replace(absorbing=torch.ones_like(zeros.absorbing))


def with_absorbing(steps: Transitions) -> Transitions:
    """Add one step in the absorbing state for every termination among the rows."""
    ended = int(steps.terminated.sum())
    if ended == 0:
        return steps
    row = absorbing_row(steps)
    return concatenate(steps, row.take(torch.zeros(ended, dtype=torch.long, device=steps.terminated.device)))


@dataclass(frozen=True)
class Earned:
    """The reward of steps [rows] or [batch time]: what their logits are worth, and what follows a termination."""

    judge: Discriminator[Transitions]
    objective: Objective
    afterlife: float
    """steps for which a termination earns the absorbing state's reward: discount / (1 - discount), or 0: none"""
    limit: float = 10.0
    """logits beyond it, of either sign, count as it"""

    @torch.no_grad()
    def __call__(self, steps: Transitions) -> Float[Tensor, "*places"]:
        """Pay every step, without a gradient."""
        rewards = self._worth(steps)
        if self.afterlife == 0:
            return rewards
        last = steps if steps.terminated.dim() == 1 else steps.flat()
        return rewards + steps.terminated * (self.afterlife * self._worth(absorbing_row(last)))

    def _worth(self, steps: Transitions) -> Tensor:
        return self.objective.reward(self.judge(steps).clamp(-self.limit, self.limit))


def afterlife(discount: float) -> float:
    """Return discount / (1 - discount), the discounted length of what comes after a termination."""
    return discount / (1 - discount)
