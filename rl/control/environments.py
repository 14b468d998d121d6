"""Environments side by side: a lean serial vector, and one way to make what a script's user names."""

import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from numpy.typing import NDArray

from rl.runtime.errors import InputError, Stopped, closest, one_line

Flags = NDArray[np.bool_]


class Serial(VectorEnv[Any, Any, NDArray[Any]]):
    """Step environments one after the other; no infos, and no reset but the one that is asked for (DISABLED).

    SyncVectorEnv without its bookkeeping: a quarter of a MuJoCo step goes into collecting infos that nobody reads.
    `at` is the sub-environment that was stepped or reset last, to blame when one raises.
    """

    def __init__(self, makers: Sequence[Callable[[], gymnasium.Env[Any, Any]]]) -> None:
        self.envs: list[gymnasium.Env[Any, Any]] = []
        self.at = 0
        for self.at, make_one in enumerate(makers):
            self.envs.append(make_one())
        first = self.envs[0]
        self.num_envs = len(self.envs)
        self.metadata = {**first.metadata, "autoreset_mode": AutoresetMode.DISABLED}
        self.render_mode, self.spec = first.render_mode, first.spec
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        for env in self.envs:
            if (env.observation_space, env.action_space) != (first.observation_space, first.action_space):
                raise InputError("environments side by side: their spaces differ")
        self.observation_space = batch_space(first.observation_space, self.num_envs)
        self.action_space = batch_space(first.action_space, self.num_envs)
        self._last: list[Any] = [None] * self.num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all, or those of `options["reset_mask"]`; the others' last observations stand in the batch.

        One seed is counted up over the sub-environments; a list has one for each, read where the mask says so.
        """
        options = dict(options or {})
        mask = options.pop("reset_mask", np.ones(self.num_envs, np.bool_))
        seeds = self._seeds(seed)
        for self.at in np.flatnonzero(mask).tolist():
            self._last[self.at], _ = self.envs[self.at].reset(seed=seeds[self.at], options=options or None)
        return self._batch(), {}

    def step(self, actions: Any) -> tuple[Any, NDArray[Any], Flags, Flags, dict[str, Any]]:
        """Step all. A sub-environment whose episode has ended must have been reset."""
        rewards = np.zeros(self.num_envs)
        terminated, truncated = np.zeros((2, self.num_envs), np.bool_)
        for index, action in enumerate(iterate(self.action_space, actions)):
            self.at = index
            self._last[index], rewards[index], terminated[index], truncated[index], _ = self.envs[index].step(action)
        return self._batch(), rewards, terminated, truncated, {}

    def close_extras(self, **kwargs: Any) -> None:
        """Close all."""
        for env in self.envs:
            env.close()

    def _seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int):
            return [seed + index for index in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"{len(seed)} seeds for {self.num_envs} environments")
        return seed

    def _batch(self) -> Any:
        space = self.single_observation_space
        empty: Any = create_empty_array(space, self.num_envs, np.zeros)
        return concatenate(space, self._last, empty)


def make(env_id: str, number: int, kwargs: Mapping[str, Any], *, native: bool = True) -> VectorEnv[Any, Any, Any]:
    """Make that many environments side by side: the native vector form where there is one (CartPole), else `Serial`.

    Raises InputError for an unknown id, a missing package, or arguments that the environment does not take.
    """
    if number < 1:
        raise InputError(f"{env_id}: {number} environments: at least one is needed")
    with _readable_errors(env_id), _without_warnings(env_id):
        if native and _has_native_form(env_id):
            return gymnasium.make_vec(env_id, num_envs=number, vectorization_mode="vector_entry_point", **kwargs)
        # the checker only warns of what gymnasium's style demands; the collector sees what is wrong
        return Serial([lambda: gymnasium.make(env_id, disable_env_checker=True, **kwargs)] * number)


def _has_native_form(env_id: str) -> bool:
    spec = gymnasium.registry.get(env_id)
    return spec is not None and spec.vector_entry_point is not None and not spec.additional_wrappers


@contextmanager
def _readable_errors(env_id: str) -> Iterator[None]:
    try:
        yield
    except (InputError, Stopped):
        raise
    except gymnasium.error.UnregisteredEnv as error:
        raise InputError(f"{env_id}: no such environment{_hint(env_id, error)}") from error
    except gymnasium.error.DependencyNotInstalled as error:
        raise InputError(f"{env_id}: {one_line(error)}") from error
    except ImportError as error:
        raise InputError(f"{env_id}: a package is missing or too new: {one_line(error)}") from error
    except Exception as error:  # whatever a stranger's constructor raises
        raise InputError(f"{env_id}: cannot be made: {one_line(error)}") from error


def _hint(env_id: str, error: Exception) -> str:
    if isinstance(error, gymnasium.error.NamespaceNotFound):
        return "; its package registers it on import: pip install it and name it MODULE:ENVIRONMENT"
    return closest(env_id, (known for known in gymnasium.registry if "/" not in known))


@contextmanager
def _without_warnings(env_id: str) -> Iterator[None]:
    """Keep quiet about old versions (published experts are of v0) and MuJoCo's about its own model files."""
    spec = gymnasium.registry.get(env_id)
    mujoco = spec is not None and "mujoco" in str(spec.entry_point)
    with warnings.catch_warnings(), _mujoco_silent() if mujoco else nullcontext():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextmanager
def _mujoco_silent() -> Iterator[None]:
    try:
        mujoco = importlib.import_module("mujoco")
    except ImportError:  # gymnasium says so better
        yield
        return
    # by default a warning goes to stderr and to MUJOCO_LOG.TXT in the working directory
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)
