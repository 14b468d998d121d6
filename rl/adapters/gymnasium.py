"""A reward on transitions in the place of a gymnasium environment's own, which stays in info["env_reward"]."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from numpy.typing import NDArray

from rl.adapters.paying import Flags, Payer, Rows, TransitionReward
from rl.runtime.errors import InputError


class RewardWrapper(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Pay every step by the reward. A time limit is no termination, whether it stands inside or outside.

    Raises InputError where the environment's spaces are not the reward's.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], reward: TransitionReward) -> None:
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, reward=reward)  # a copy would stop learning
        gymnasium.Wrapper.__init__(self, env)
        self._payer = Payer(reward, env.observation_space, env.action_space, where=str(env.unwrapped))
        self._row: Rows = np.zeros((0, 0))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        self._row = self._payer.row(obs)
        return obs, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step and pay. Raises ResetNeeded before the first reset."""
        if not len(self._row):
            raise gymnasium.error.ResetNeeded("Cannot call env.step() before calling env.reset()")
        taken = self._payer.actions(np.asarray(action)[None])
        obs, env_reward, terminated, truncated, info = self.env.step(action)
        row = self._payer.row(obs)
        reward = self._payer.pay(self._row, taken, row, np.array([terminated]))
        self._row = row
        return obs, float(reward[0]), terminated, truncated, {**info, "env_reward": env_reward}


class VectorRewardWrapper(VectorWrapper[Any, Any, Any, Any, NDArray[Any]]):
    """Pay every step of environments side by side by the reward, in any autoreset mode.

    A step that only resets (NEXT_STEP, the one after an end) pays 0 and is not shown to the reward. Raises InputError
    where the spaces are not the reward's, or the environment does not say how it resets.
    """

    def __init__(self, env: VectorEnv[Any, Any, NDArray[Any]], reward: TransitionReward) -> None:
        super().__init__(env)
        if "autoreset_mode" not in env.metadata:
            raise InputError(f"{env}: metadata: there is no autoreset_mode")
        self._mode = AutoresetMode(env.metadata["autoreset_mode"])
        self._payer = Payer(reward, env.single_observation_space, env.single_action_space, where=str(env.unwrapped))
        self._rows: Rows = np.zeros((0, 0))
        self._resetting: Flags = np.zeros(env.num_envs, np.bool_)  # by the next step, whatever its action

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes: all, or those of options["reset_mask"]."""
        begun = np.array((options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_)))
        obs, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]  # a list is allowed too
        rows = self._payer.rows(obs)
        self._rows = np.where(begun[:, None], rows, self._rows) if len(self._rows) else rows
        self._resetting = self._resetting & ~begun
        return obs, info

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], Flags, Flags, dict[str, Any]]:
        """Step all and pay. Raises ResetNeeded before the first reset."""
        if not len(self._rows):
            raise gymnasium.error.ResetNeeded("Cannot call env.step() before calling env.reset()")
        taken = self._payer.actions(actions)
        obs, env_rewards, terminated, truncated, info = self.env.step(actions)
        rows, ended, acted = self._payer.rows(obs), terminated | truncated, ~self._resetting
        rewards = np.zeros(self.num_envs)
        rewards[acted] = self._payer.pay(
            self._rows[acted], taken[acted], self._last(rows, info, ended)[acted], terminated[acted]
        )
        self._rows = rows
        self._resetting = ended & (self._mode is AutoresetMode.NEXT_STEP)
        return obs, rewards, terminated, truncated, {**info, "env_reward": env_rewards, "_env_reward": acted}

    def _last(self, rows: Rows, info: dict[str, Any], ended: Flags) -> Rows:
        if self._mode is not AutoresetMode.SAME_STEP or not ended.any():
            return rows
        return self._payer.with_last(rows, ended, info["final_obs"])
