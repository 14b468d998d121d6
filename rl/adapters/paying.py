"""Pay steps that an environment speaks of in its own form: what all adapters share."""

from collections.abc import Callable
from typing import Any, TypeAlias

import gymnasium
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from rl.control import spaces
from rl.control.learned_reward import LearnedReward
from rl.control.transitions import Transitions
from rl.runtime.errors import Diverged

TransitionReward: TypeAlias = Callable[[Transitions], Float[Tensor, "rows"]]
"""A learned reward, or anything that pays steps [rows]: one that still learns is called anew for every step."""

Rows = NDArray[Any]
Flags = NDArray[np.bool_]


class Payer:
    """A reward with the layouts of an environment's spaces, which it is checked against.

    Raises InputError, beginning with `where`, for spaces that have no layout or that the reward was not made for.
    """

    def __init__(
        self,
        reward: TransitionReward,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        *,
        where: str,
    ) -> None:
        self._reward = reward
        self._observations = spaces.observations(observation_space, where=where)
        self._actions = spaces.actions(action_space, where=where)
        if isinstance(reward, LearnedReward):
            reward.require(self._observations, self._actions, where=where)

    def rows(self, obs: Any) -> Rows:
        """Lay out a batch of observations in memory of its own: environments and their users write into theirs."""
        return np.array(self._observations.rows(obs))

    def row(self, obs: Any) -> Rows:
        """Lay out one observation: [1 width]."""
        return np.array(self._observations.row(obs))

    def with_last(self, rows: Rows, ended: Flags, final: Any) -> Rows:
        """Put the last observations of the episodes that ended, one at least, in place of the next ones' first."""
        rows = rows.copy()
        rows[ended] = self._observations.last_rows(final, ended)
        return rows

    def actions(self, actions: Any) -> Rows:
        """Copy a batch of the environment's actions into an agent's form."""
        return np.array(self._actions.from_env(np.asarray(actions)))

    def pay(self, obs: Rows, actions: Rows, next_obs: Rows, terminated: Flags) -> NDArray[np.float32]:
        """Return one reward for each row.

        Raises ValueError for a reward of another shape, Diverged for one that is not finite.
        """
        if not len(obs):
            return np.zeros(0, np.float32)
        steps = Transitions(
            torch.from_numpy(obs),
            torch.from_numpy(actions),
            torch.from_numpy(next_obs),
            torch.from_numpy(np.asarray(terminated, np.bool_)),
        )
        rewards = self._reward(steps)
        if rewards.shape != (len(obs),):
            raise ValueError(f"the reward gave shape {list(rewards.shape)} for {len(obs)} steps, expected [{len(obs)}]")
        paid: NDArray[np.float32] = rewards.detach().float().numpy(force=True)
        if not np.isfinite(paid).all():
            raise Diverged(f"the reward of step {int(np.argmin(np.isfinite(paid)))} of {len(obs)} is not finite")
        return paid
