"""A reward on transitions in the place of a Stable-Baselines3 VecEnv's own, which stays in infos[i]["env_reward"]."""

import numpy as np
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from rl.adapters.paying import Payer, Rows, TransitionReward


class RewardVecEnv(VecEnvWrapper):
    """Pay every step by the reward; stands inside VecNormalize, whose observations no reward was made for.

    A time limit (`TimeLimit.truncated`) is no termination. Replay buffers keep what a step earned when it was made: a
    reward that still learns is for on-policy algorithms. Raises InputError where the spaces are not the reward's.
    """

    def __init__(self, venv: VecEnv, reward: TransitionReward) -> None:
        super().__init__(venv)
        self._payer = Payer(reward, venv.observation_space, venv.action_space, where=str(venv))
        self._rows: Rows = np.zeros((0, 0))
        self._taken: Rows = np.zeros((0,))

    def reset(self) -> VecEnvObs:
        """Begin episodes."""
        obs = self.venv.reset()
        self._rows = self._payer.rows(obs)
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Pass the actions on."""
        self._taken = self._payer.actions(actions)
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Step and pay."""
        obs, env_rewards, dones, infos = self.venv.step_wait()
        rows = self._payer.rows(obs)
        last = rows
        if dones.any():
            last = self._payer.with_last(rows, dones, [info.get("terminal_observation") for info in infos])
        limited = np.array([info.get("TimeLimit.truncated", False) for info in infos], np.bool_)
        rewards = self._payer.pay(self._rows, self._taken, last, dones & ~limited)
        self._rows = rows
        for info, env_reward in zip(infos, env_rewards, strict=True):
            info["env_reward"] = float(env_reward)
        return obs, rewards, dones, infos
