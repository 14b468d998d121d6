"""Whole episodes, one for each seed: what evaluation counts and what a recording keeps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from rl.control import spaces
from rl.runtime.errors import InputError, Stopped, one_line

Act = Callable[[Tensor], Tensor]
LONGEST = 100_000
"""steps after which an episode is said to have no end"""


class Step(NamedTuple):
    """One step of all sub-environments, as arrays [sub-environments ...]."""

    episode: np.ndarray
    """which episode each one plays, from 0; -1 where the step does not count"""
    obs: np.ndarray
    actions: np.ndarray
    """as the agent gave them"""
    rewards: np.ndarray
    next_obs: np.ndarray
    """the true last observation where the episode ended"""
    terminated: np.ndarray
    truncated: np.ndarray


def name_of(env: VectorEnv[Any, Any, Any]) -> str:
    """Return the environment's id, or its type where it has none, for messages."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def play(act: Act, env: VectorEnv[Any, Any, Any], episodes: int, seed: int) -> Iterator[Step]:
    """Play exactly the episodes 0..episodes-1, episode i reset with seed + i, whatever their lengths.

    Each sub-environment plays one episode after the other where it can be reset alone (autoreset disabled); elsewhere
    all begin together and only the first episode of each counts. An environment that is vectorised by itself draws
    the starts of one such wave from a single seed. Raises InputError where an episode does not end or a number is not
    finite. `act` takes rows [sub-environments width] on the CPU.
    """
    if episodes < 1:
        raise InputError(f"{name_of(env)}: {episodes} episodes: at least one")
    alone = env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    return _queue(act, env, episodes, seed) if alone else _waves(act, env, episodes, seed)


def _queue(act: Act, env: VectorEnv[Any, Any, Any], episodes: int, seed: int) -> Iterator[Step]:
    """Give each sub-environment the next episode as soon as it is free."""
    stepper = _Stepper(act, env)
    running, given = np.arange(env.num_envs), env.num_envs
    obs = stepper.reset(seed=seed)
    while (counts := running < episodes).any():
        step, _ = stepper.step(obs, np.where(counts, running, -1))
        yield step
        ended, obs = step.terminated | step.truncated, step.next_obs
        if ended.any():
            running[ended] = np.arange(given, given + ended.sum())
            given += int(ended.sum())
            # an idle sub-environment must be reset as well before it can be stepped on
            seeds: Any = [int(seed + episode) if end else None for episode, end in zip(running, ended, strict=True)]
            obs = stepper.reset(seed=seeds, options={"reset_mask": ended})


def _waves(act: Act, env: VectorEnv[Any, Any, Any], episodes: int, seed: int) -> Iterator[Step]:
    """Begin all sub-environments together, and again when each has ended once."""
    stepper = _Stepper(act, env)
    for first in range(0, episodes, env.num_envs):
        running = np.arange(first, first + env.num_envs)
        running[running >= episodes] = -1
        obs = stepper.reset(seed=seed + first)
        while (running >= 0).any():
            step, obs = stepper.step(obs, running.copy())
            yield step
            running[step.terminated | step.truncated] = -1


class _Stepper:
    """Steps an environment with an agent, in flat rows."""

    def __init__(self, act: Act, env: VectorEnv[Any, Any, Any]) -> None:
        self.act, self.env, self.name = act, env, name_of(env)
        self.layout = spaces.observations(env.single_observation_space, where=self.name)
        self.actions = spaces.actions(env.single_action_space, where=self.name)
        self.age = np.zeros(env.num_envs, dtype=np.int64)

    def rows(self, obs: Any) -> np.ndarray:
        """Lay out a batch of observations, in memory that the next step does not write to."""
        return np.array(self.layout.rows(obs))

    def reset(self, **arguments: Any) -> np.ndarray:
        """Begin episodes; the rows to act from."""
        with self._blamed():
            obs, _ = self.env.reset(**arguments)
        return self.rows(obs)

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        try:
            yield
        except Stopped:
            raise
        except Exception as error:  # whatever a stranger's environment raises
            raise InputError(f"{self.name}: {type(error).__name__}: {one_line(error)}") from error

    def step(self, obs: np.ndarray, episode: np.ndarray) -> tuple[Step, np.ndarray]:
        """Take a step; give it, and the rows to act from next."""
        with torch.no_grad():
            actions = self.act(torch.from_numpy(obs)).cpu().numpy()
        with self._blamed():
            raw, rewards, terminated, truncated, info = self.env.step(self.actions.to_env(actions))
        following = self.rows(raw)
        ended = terminated | truncated
        true = following
        if "final_obs" in info and ended.any():
            true = following.copy()
            true[ended] = self.layout.last_rows(info["final_obs"], ended)
        counted = episode >= 0
        if not (np.isfinite(rewards[counted]).all() and np.isfinite(true[counted]).all()):
            raise InputError(f"{self.name}: a reward or an observation is not finite")
        self.age = np.where(ended, 0, self.age + 1)
        if self.age.max() >= LONGEST:
            raise InputError(f"{self.name}: an episode goes on after {LONGEST} steps: it needs a time limit")
        return Step(episode, obs, actions, rewards, true, terminated.copy(), truncated.copy()), following


def uniform(actions: spaces.Actions, rows: int, generator: np.random.Generator) -> Tensor:
    """Draw actions [rows ...] uniformly; a number without two finite bounds comes from a standard normal, clipped."""
    if actions.kind == "discrete":
        return torch.from_numpy(generator.integers(actions.size, size=rows))
    low, high = np.array(actions.low), np.array(actions.high)
    finite = np.isfinite(low) & np.isfinite(high)
    even = generator.uniform(np.where(finite, low, 0), np.where(finite, high, 1), size=(rows, actions.size))
    drawn = np.where(finite, even, np.clip(generator.standard_normal((rows, actions.size)), low, high))
    return torch.from_numpy(drawn.astype(np.float32))
