"""One collector for every vector environment: it knows the three ways in which episodes follow one another.

NEXT_STEP: the step after an end only resets; its row is no step of anybody and stands off the mask. SAME_STEP: the
reset observation comes at once, the true last one in info["final_obs"]. DISABLED: the collector resets what has ended.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from rl.control import spaces
from rl.control.environments import Serial
from rl.control.episodes import name_of
from rl.control.transitions import Transitions
from rl.rollout import Rollout
from rl.runtime.errors import Diverged, InputError, Stopped, one_line

Array = NDArray[Any]
_SEEDS = 2**31 - 1


class EnvironmentFault(InputError):
    """An environment raised, or gave what no agent can learn from; the message names it, and the step."""


@dataclass(frozen=True)
class _Buffers:
    """Rows of one collection, [environments, steps, ...]."""

    obs: Array
    actions: Array
    next_obs: Array
    rewards: Array
    terminated: Array
    truncated: Array
    mask: Array

    @classmethod
    def of(cls, places: tuple[int, int], observations: spaces.Observations, actions: spaces.Actions) -> "_Buffers":
        rows = (*places, observations.width)
        return cls(
            obs=np.empty(rows, observations.numpy_dtype),
            actions=np.empty((*places, *actions.shape), actions.numpy_dtype),
            next_obs=np.empty(rows, observations.numpy_dtype),
            rewards=np.empty(places, np.float32),
            terminated=np.empty(places, np.bool_),
            truncated=np.empty(places, np.bool_),
            mask=np.ones(places, np.bool_),
        )

    def rollout(self) -> Rollout[Transitions]:
        obs, actions, next_obs, rewards, terminated, truncated, mask = (
            torch.from_numpy(array)
            for array in (
                self.obs,
                self.actions,
                self.next_obs,
                self.rewards,
                self.terminated,
                self.truncated,
                self.mask,
            )
        )
        zeros = torch.zeros(mask.shape)
        steps = Transitions(obs, actions, next_obs, terminated)
        return Rollout(steps, mask, zeros, rewards, zeros, zeros, terminated, truncated)


class Collector:
    """Drive a vector environment with a policy and keep what happened, across calls: an episode may span several.

    Every episode of a DISABLED environment has a seed of its own, drawn from the collector's generator; others are
    seeded once. `steps` counts vector steps. Raises InputError for spaces that are not supported, EnvironmentFault
    where an environment raises or gives numbers that are not finite; the environment is then closed.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], seed: int) -> None:
        self.env = env
        self.name = name_of(env)
        self.num_envs = env.num_envs
        self.observations = spaces.observations(env.single_observation_space, where=self.name)
        self.actions = spaces.actions(env.single_action_space, where=self.name)
        self.mode = _mode(env, self.name)
        self.steps = 0
        self._generator = np.random.default_rng(seed)
        self._returns, self._lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)
        self._finished: tuple[list[float], list[int]] = ([], [])
        self._active = np.ones(self.num_envs, np.bool_)  # NEXT_STEP: False where the next step only resets
        # DISABLED: actions back to the oldest running episode, in pieces [environments, steps] of `kept` steps together
        self._history: deque[Array] = deque()
        self._kept = 0
        if self.mode is AutoresetMode.DISABLED:
            self._seeds = self._new_seeds(self.num_envs)
            self._rows = self._reset(seed=self._seeds.tolist())
        else:
            self._seeds = self._new_seeds(1)
            self._rows = self._reset(seed=int(self._seeds[0]))

    @torch.no_grad()
    def collect(self, act: Callable[[Tensor], Tensor], steps: int) -> Rollout[Transitions]:
        """Take that many vector steps; places [environments, steps], rewards the environment's own.

        `act` is given rows on the CPU and answers with actions before clipping. next_obs is what truly followed. The
        last step of a row that goes on bears no flag: its next_values say what it is worth.
        """
        buffers = _Buffers.of((self.num_envs, steps), self.observations, self.actions)
        finals: list[tuple[Array, int, Array]] = []
        for t in range(steps):
            actions = act(torch.from_numpy(self._rows)).cpu().numpy()
            buffers.obs[:, t] = self._rows
            buffers.actions[:, t] = actions
            rows, rewards, terminated, truncated, info = self._step(actions)
            buffers.rewards[:, t] = rewards
            buffers.terminated[:, t] = terminated
            buffers.truncated[:, t] = truncated
            buffers.mask[:, t] = self._active
            np.add(self._returns, rewards, out=self._returns, where=self._active)
            np.add(self._lengths, 1, out=self._lengths, where=self._active)
            self._rows = rows
            ended = (terminated | truncated) & self._active
            if ended.any():
                self._finish(ended)
                if self.mode is not AutoresetMode.NEXT_STEP:
                    finals.append((ended, t, self._restart(ended, info)))
            if self.mode is AutoresetMode.NEXT_STEP:
                self._active = ~ended
        buffers.next_obs[:, :-1] = buffers.obs[:, 1:]
        buffers.next_obs[:, -1] = self._rows
        for ended, t, last in finals:
            buffers.next_obs[ended, t] = last
        for field in (buffers.rewards, buffers.terminated, buffers.truncated):
            field[~buffers.mask] = 0
        self._remember(buffers.actions)
        return buffers.rollout()

    def finished(self) -> tuple[list[float], list[int]]:
        """Give the undiscounted returns and the lengths of the episodes that have ended since last asked, in order."""
        finished, self._finished = self._finished, ([], [])
        return finished

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def state_dict(self) -> dict[str, Any]:
        """Give all that an exact continuation needs. Raises InputError where the environment cannot be brought back.

        A DISABLED environment is brought back by its seeds and the actions since; CartPole's vector form by its
        numbers.
        """
        running = [torch.from_numpy(actions) for actions in self._running_actions()]
        return {
            "steps": self.steps,
            "generator": self._generator.bit_generator.state,
            "seeds": self._seeds.tolist(),
            "returns": self._returns.tolist(),
            "lengths": self._lengths.tolist(),
            "finished": tuple(list(each) for each in self._finished),
            "active": self._active.tolist(),
            "obs": torch.from_numpy(self._rows.copy()),
            "environment": running if self.mode is AutoresetMode.DISABLED else _numbers_of(self.env, self.name),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there. Raises InputError if the environment, replayed, does not show what it showed."""
        if len(state["seeds"]) != len(self._seeds) or len(state["lengths"]) != self.num_envs:
            raise InputError(f"{self.name}: the state is of {len(state['lengths'])} environments, not {self.num_envs}")
        self._seeds = np.array(state["seeds"], np.int64)
        obs = state["obs"].numpy()
        if self.mode is AutoresetMode.DISABLED:
            replayed = self._replay([tensor.numpy() for tensor in state["environment"]])
            if not np.array_equal(replayed, obs):
                raise InputError(
                    f"{self.name}: cannot be resumed: it does not repeat itself, given its seeds and actions"
                )
        else:
            _set_numbers(self.env, self.name, state["environment"])
        self._rows = obs.copy()
        self._generator.bit_generator.state = state["generator"]
        self.steps = state["steps"]
        self._returns = np.array(state["returns"], np.float64)
        self._lengths = np.array(state["lengths"], np.int64)
        self._active = np.array(state["active"], np.bool_)
        returns, lengths = state["finished"]
        self._finished = (list(returns), list(lengths))

    def _new_seeds(self, number: int) -> NDArray[np.int64]:
        return self._generator.integers(_SEEDS, size=number, dtype=np.int64)

    def _reset(self, **arguments: Any) -> Array:
        try:
            obs, _ = self.env.reset(**arguments)
        except Exception as error:
            self._blame(error, "reset")
        return self._checked_rows(obs)

    def _step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        self.steps += 1
        try:
            obs, rewards, terminated, truncated, info = self.env.step(self.actions.to_env(actions))
        except Exception as error:
            self._refuse_bad(actions)
            self._blame(error, f"step {self.steps}")
        if not np.isfinite(rewards).all():
            self._refuse_bad(actions)
            self._not_finite(rewards, "reward")
        return self._checked_rows(obs, actions), rewards, terminated, truncated, info

    def _checked_rows(self, obs: Any, actions: Array | None = None) -> Array:
        rows = self.observations.rows(obs)
        if not rows.flags.writeable:  # torch warns of such memory
            rows = rows.copy()
        if rows.dtype != np.uint8 and not np.isfinite(rows).all():
            if actions is not None:
                self._refuse_bad(actions)
            self._not_finite(rows, "observation")
        return rows

    def _refuse_bad(self, actions: Array) -> None:
        if not np.isfinite(actions).all():
            self.close()
            raise Diverged(f"step {self.steps}: the policy gave actions that are not finite")

    def _not_finite(self, numbers: Array, what: str) -> NoReturn:
        index = int(np.argwhere(~np.isfinite(numbers))[0, 0])
        self.close()
        place = f"{self.name}:environment {index}, step {self.steps}"
        raise EnvironmentFault(f"{place}: the {what} is not finite: {one_line(numbers[index])}")

    def _blame(self, error: Exception, when: str) -> NoReturn:
        if isinstance(error, Stopped):
            raise error
        place = f"environment {self.env.at}, {when}" if isinstance(self.env, Serial) else when
        self.close()
        raise EnvironmentFault(f"{self.name}:{place}: {type(error).__name__}: {one_line(error)}") from error

    def _finish(self, ended: Array) -> None:
        returns, lengths = self._finished
        returns += self._returns[ended].tolist()
        lengths += self._lengths[ended].tolist()
        self._returns[ended] = 0
        self._lengths[ended] = 0

    def _restart(self, ended: Array, info: Mapping[str, Any]) -> Array:
        """Let the next episodes begin; the last observations of those that ended."""
        if self.mode is AutoresetMode.SAME_STEP:
            return self._final_rows(ended, info)
        last: Array = self._rows[ended]
        self._seeds[ended] = self._new_seeds(int(ended.sum()))
        self._rows = self._reset(seed=self._seeds.tolist(), options={"reset_mask": ended})
        return last

    def _final_rows(self, ended: Array, info: Mapping[str, Any]) -> Array:
        if "final_obs" not in info:
            self.close()
            raise EnvironmentFault(f"{self.name}:step {self.steps}: an episode ended, and info lacks final_obs")
        return self.observations.last_rows(info["final_obs"], ended)

    def _remember(self, actions: Array) -> None:
        if self.mode is not AutoresetMode.DISABLED:
            return
        self._history.append(actions.copy())
        self._kept += actions.shape[1]
        longest = self._lengths.max()
        while self._kept - self._history[0].shape[1] >= max(longest, 1):
            self._kept -= self._history.popleft().shape[1]

    def _running_actions(self) -> list[Array]:
        if not self._history:
            return [np.empty((0, *self.actions.shape), self.actions.numpy_dtype)] * self.num_envs
        past = np.concatenate(self._history, axis=1)
        return [row[row.shape[0] - length :].copy() for row, length in zip(past, self._lengths, strict=True)]

    def _replay(self, actions: list[Array]) -> Array:
        """Bring every episode to where it stood, the shorter ones begun later so that all get there together."""
        longest = max(map(len, actions))
        past = np.zeros((self.num_envs, longest, *self.actions.shape), self.actions.numpy_dtype)
        for row, episode in zip(past, actions, strict=True):
            row[longest - len(episode) :] = episode
        starts = longest - np.array([len(episode) for episode in actions])
        seeds = self._seeds.tolist()
        rows = self._reset(seed=seeds)
        for t in range(longest):
            rows, _, terminated, truncated, _ = self._step(past[:, t])
            # what waits for its beginning is stepped too, with zeros, and may end
            begin = (terminated | truncated) | (starts == t + 1)
            if begin.any():
                rows = self._reset(seed=seeds, options={"reset_mask": begin})
        self._history, self._kept = deque([past]), longest
        return rows


def _mode(env: VectorEnv[Any, Any, Any], name: str) -> AutoresetMode:
    if "autoreset_mode" not in env.metadata:
        raise InputError(f"{name}:metadata: autoreset_mode is missing, so nobody knows what follows an episode's end")
    return AutoresetMode(env.metadata["autoreset_mode"])


def _numbers_of(env: VectorEnv[Any, Any, Any], name: str) -> dict[str, Any]:
    """Give all that CartPole's vector form remembers."""
    if not isinstance(env, CartPoleVectorEnv):
        raise InputError(f"{name}: cannot be resumed: only environments that the collector resets, and CartPole's, can")
    return {
        "state": torch.from_numpy(np.array(env.state)),
        "steps": torch.from_numpy(env.steps.copy()),
        "prev_done": torch.from_numpy(env.prev_done.copy()),
        "generator": env.np_random.bit_generator.state,
    }


def _set_numbers(env: VectorEnv[Any, Any, Any], name: str, numbers: Mapping[str, Any]) -> None:
    if not isinstance(env, CartPoleVectorEnv):
        raise InputError(f"{name}: cannot be resumed: the state is of CartPole's vector form")
    env.state = numbers["state"].numpy().copy()
    env.steps = numbers["steps"].numpy().copy()
    env.prev_done = numbers["prev_done"].numpy().copy()
    env.np_random.bit_generator.state = numbers["generator"]
