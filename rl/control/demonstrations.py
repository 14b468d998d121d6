"""What an expert did: whole trajectories read and checked, the paper's subsampling, and recordings of our own.

The file is a .npz of whole episodes, one after the other in time order:
`obs` [steps width] flat rows (float32, or uint8 for pixels), `acts` as given to the environment (int64 [steps], or
float32 [steps numbers]), `rewards` [steps], `terminated` `truncated` `episode_starts` bool [steps], `final_obs`
[episodes width] what followed the last step of each, `env_id` and `env_kwargs` (JSON) as text, and, checked if there,
`episode_returns` and `episode_lengths` [episodes].
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rl.control import episodes as whole
from rl.control import npz, spaces
from rl.control.earning import Ends
from rl.control.transitions import Transitions
from rl.runtime.errors import InputError, one_line
from rl.runtime.generators import seeded

KEYS = (
    *("obs", "acts", "rewards", "terminated", "truncated", "episode_starts", "final_obs"),
    *("env_id", "env_kwargs"),
)
BEYOND = 1e-3
"""how far a recorded action may lie beyond its bounds, for rounding"""


class Agent(Protocol):
    """What can be recorded."""

    def act(self, obs: Tensor, /) -> Tensor:
        """Sample an action for each row."""
        ...

    def mode(self, obs: Tensor, /) -> Tensor:
        """Choose the likeliest action for each row."""
        ...


@dataclass(frozen=True)
class Demonstrations:
    """Whole trajectories, one after the other in time order."""

    steps: Transitions
    """rows"""
    rewards: Float[Tensor, "rows"]
    """the environment's; imitation does not look at them"""
    truncated: Bool[Tensor, "rows"]
    starts: Bool[Tensor, "rows"]
    """True at the first step of an episode"""
    env_id: str
    env_kwargs: Mapping[str, Any]

    @property
    def lengths(self) -> Int[Tensor, "episodes"]:
        """Return the steps of each episode."""
        first = self.starts.nonzero().flatten()
        return torch.diff(first, append=torch.tensor([len(self.starts)]))

    @property
    def returns(self) -> Float[Tensor, "episodes"]:
        """Return the undiscounted return of each episode, in float64."""
        episode = self.starts.cumsum(0) - 1
        return torch.zeros(int(self.starts.sum()), dtype=torch.float64).index_add_(0, episode, self.rewards.double())

    def first(self, trajectories: int, *, where: str) -> "Demonstrations":
        """Keep the first trajectories; 0 keeps all. Raises InputError, naming `where`, if there are fewer."""
        there = int(self.starts.sum())
        if not 0 <= trajectories <= there:
            raise InputError(f"{where}: {trajectories} trajectories asked for, {there} there")
        rows = int(self.lengths[:trajectories].sum()) if trajectories else len(self.starts)
        steps = self.steps.take(torch.arange(rows))
        return replace(
            self, steps=steps, rewards=self.rewards[:rows], truncated=self.truncated[:rows], starts=self.starts[:rows]
        )


def read(
    source: str | Path, layout: spaces.Observations, actions: spaces.Actions, *, trajectories: int = 0
) -> Demonstrations:
    """Read the first trajectories (0: all) of a .npz file, or of the Minari data set NAME from `minari:NAME`.

    Raises InputError naming file, key and row where something does not fit the spaces, is not finite, or where an
    episode does not end exactly once; and where there are fewer trajectories.
    """
    name = str(source)
    if name.startswith("minari:"):
        arrays = _from_minari(name.removeprefix("minari:"), layout)
    else:
        arrays = npz.read(Path(source), KEYS)
    return _checked(name, arrays, layout, actions).first(trajectories, where=name)


def write(path: Path, demonstrations: Demonstrations, actions: spaces.Actions) -> None:
    """Write such a file; equal demonstrations give equal bytes."""
    steps = demonstrations.steps
    last = steps.terminated | demonstrations.truncated
    npz.write(
        path,
        {
            "obs": steps.obs.numpy(),
            "acts": actions.to_env(steps.actions.numpy()),
            "rewards": demonstrations.rewards.numpy(),
            "terminated": steps.terminated.numpy(),
            "truncated": demonstrations.truncated.numpy(),
            "episode_starts": demonstrations.starts.numpy(),
            "final_obs": steps.next_obs[last].numpy(),
            "episode_returns": demonstrations.returns.numpy(),
            "episode_lengths": demonstrations.lengths.numpy(),
            "env_id": np.array(demonstrations.env_id),
            "env_kwargs": np.array(json.dumps(dict(demonstrations.env_kwargs), sort_keys=True)),
        },
    )


def record(
    policy: Agent,
    env: VectorEnv[Any, Any, Any],
    episodes: int,
    seed: int,
    *,
    deterministic: bool,
    env_kwargs: Mapping[str, Any] = MappingProxyType({}),
) -> Demonstrations:
    """Record whole episodes, none left out, episode i from seed + i; torch's own generator is left as it was.

    `env_kwargs` are what the environment was made with.
    """
    name = whole.name_of(env)
    actions = spaces.actions(env.single_action_space, where=name)
    with seeded(seed):
        played = list(whole.play(policy.mode if deterministic else policy.act, env, episodes, seed))
    episode = np.concatenate([step.episode for step in played])
    order = np.argsort(episode, kind="stable")[(episode < 0).sum() :]  # a sub-environment's steps stay in time order
    obs, acts, rewards, next_obs, terminated, truncated = (
        np.concatenate(field)[order] for field in list(zip(*played, strict=True))[1:]
    )
    steps = Transitions(
        torch.from_numpy(obs),
        torch.from_numpy(actions.from_env(actions.to_env(acts))),  # what was really done: clipped
        torch.from_numpy(next_obs),
        torch.from_numpy(terminated),
    )
    starts = np.diff(episode[order], prepend=-1) > 0
    return Demonstrations(
        steps,
        torch.from_numpy(rewards.astype(np.float32)),
        torch.from_numpy(truncated),
        torch.from_numpy(starts),
        name,
        env_kwargs,
    )


class Aimless:
    """Acts uniformly at random, whatever it sees."""

    def __init__(self, actions: spaces.Actions, seed: int) -> None:
        self.actions, self.generator = actions, np.random.default_rng(seed)

    def act(self, obs: Tensor) -> Tensor:
        """Draw an action for each row."""
        return whole.uniform(self.actions, len(obs), self.generator)

    mode = act


def random_actions(demonstrations: Demonstrations, actions: spaces.Actions, seed: int) -> Demonstrations:
    """Replace every action by one drawn uniformly: what is left to learn from is where the expert was."""
    drawn = whole.uniform(actions, demonstrations.steps.rows, np.random.default_rng(seed))
    return replace(demonstrations, steps=demonstrations.steps._replace(actions=drawn))


@dataclass(frozen=True)
class Subsampled:
    """The pairs that imitation sees."""

    steps: Transitions
    """rows kept"""
    offsets: tuple[int, ...]
    """of each trajectory: which pair was the first to be kept"""
    ends: Ends
    """how many episodes terminated, in how many steps, before subsampling"""

    def pairs(self, rows: int) -> Transitions:
        """Draw kept pairs uniformly, with replacement."""
        return self.steps.take(torch.randint(self.steps.rows, (rows,)))


def subsample(demonstrations: Demonstrations, every: int, seed: int) -> Subsampled:
    """Keep every `every`-th pair of each trajectory, from a random offset in [0, every); 1 keeps all.

    Ho & Ermon 2016 (1606.03476), appendix A. A trajectory shorter than its offset gives no pair; raises InputError
    where none is left.
    """
    if every < 1:
        raise InputError(f"{demonstrations.env_id}: every {every}-th pair: must be 1 or more")
    lengths = demonstrations.lengths
    offsets = torch.from_numpy(np.random.default_rng(seed).integers(every, size=len(lengths)))
    first = demonstrations.starts.nonzero().flatten()
    episode = demonstrations.starts.cumsum(0) - 1
    time = torch.arange(len(episode)) - first[episode]
    kept = (time % every == offsets[episode]).nonzero().flatten()
    if not len(kept):
        raise InputError(f"{demonstrations.env_id}: every {every}-th pair of episodes this short leaves none")
    ends = Ends(int(demonstrations.steps.terminated.sum()), len(episode))
    return Subsampled(demonstrations.steps.take(kept), tuple(offsets.tolist()), ends)


def _checked(
    name: str, arrays: Mapping[str, np.ndarray], layout: spaces.Observations, actions: spaces.Actions
) -> Demonstrations:
    """Turn a file's arrays into demonstrations, or say what is wrong with them."""
    rows = len(arrays["obs"]) if arrays["obs"].ndim else 0
    if rows == 0:
        raise InputError(f"{name}: obs: no steps")
    obs = _rows(name, "obs", arrays, (rows, layout.width), layout.dtype)
    starts, terminated, truncated = (
        _flags(name, key, arrays, rows) for key in ("episode_starts", "terminated", "truncated")
    )
    last = terminated | truncated
    _check_ends(name, starts, last)
    final = _rows(name, "final_obs", arrays, (int(last.sum()), layout.width), layout.dtype)
    next_obs = np.concatenate([obs[1:], final[-1:]])
    next_obs[last] = final
    rewards = _rows(name, "rewards", arrays, (rows,), torch.float32)
    steps = Transitions(
        torch.from_numpy(obs),
        torch.from_numpy(actions.from_env(_actions(name, arrays["acts"], rows, actions))),
        torch.from_numpy(next_obs),
        torch.from_numpy(terminated),
    )
    demonstrations = Demonstrations(
        steps,
        torch.from_numpy(rewards),
        torch.from_numpy(truncated),
        torch.from_numpy(starts),
        _text(name, "env_id", arrays),
        _kwargs(name, _text(name, "env_kwargs", arrays)),
    )
    _check_totals(name, arrays, demonstrations)
    return demonstrations


def _rows(
    name: str, key: str, arrays: Mapping[str, np.ndarray], shape: tuple[int, ...], dtype: torch.dtype
) -> np.ndarray:
    """Return finite numbers of that shape."""
    array = arrays[key]
    if array.shape != shape:
        raise InputError(f"{name}: {key}: shape {array.shape}, expected {shape}")
    if dtype == torch.uint8:
        if array.dtype != np.uint8:
            raise InputError(f"{name}: {key}: {array.dtype}, expected uint8")
        return np.array(array)
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name}: {key}: {array.dtype}, expected numbers")
    with np.errstate(over="ignore"):  # what is too large becomes inf, and is named below
        numbers = array.astype(np.float32)
    _refuse(name, key, array, ~np.isfinite(numbers), "is not finite")
    return numbers


def _flags(name: str, key: str, arrays: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    array = arrays[key]
    if array.dtype != np.bool_ or array.shape != (rows,):
        raise InputError(f"{name}: {key}: {array.dtype} {array.shape}, expected bool {(rows,)}")
    return np.array(array)


def _check_ends(name: str, starts: np.ndarray, last: np.ndarray) -> None:
    """Each episode ends exactly once, where the next one starts."""
    if not starts[0]:
        raise InputError(f"{name}: episode_starts[0]: the first step starts no episode")
    if not last[-1]:
        raise InputError(f"{name}: terminated[{len(last) - 1}]: the last episode does not end (cut off: set truncated)")
    for row in np.flatnonzero(starts[1:] != last[:-1])[:1]:
        reason = "an episode starts and the one before has not ended" if starts[row + 1] else "steps after the end"
        raise InputError(f"{name}: episode_starts[{row + 1}]: {reason}")


def _actions(name: str, acts: np.ndarray, rows: int, actions: spaces.Actions) -> np.ndarray:
    """Return actions that the environment takes."""
    discrete = actions.kind == "discrete"
    shape = (rows,) if discrete else (rows, actions.size)
    if acts.shape != shape or acts.dtype.kind not in ("iu" if discrete else "fiu"):
        kind = "whole numbers" if discrete else "numbers"
        raise InputError(f"{name}: acts: {acts.dtype} {acts.shape}, expected {kind} {shape}")
    if discrete:
        bad = (acts < actions.start) | (acts >= actions.start + actions.size)
        _refuse(name, "acts", acts, bad, f"is no action of Discrete({actions.size}, start={actions.start})")
        return acts.astype(np.int64)
    _refuse(name, "acts", acts, ~np.isfinite(acts), "is not finite")
    low, high = np.array(actions.low) - BEYOND, np.array(actions.high) + BEYOND
    _refuse(name, "acts", acts, (acts < low) | (acts > high), "lies beyond the bounds of the action space")
    return acts.astype(np.float32)


def _refuse(name: str, key: str, array: np.ndarray, bad: np.ndarray, reason: str) -> None:
    """Raise for the first bad entry."""
    if bad.any():
        at = tuple(int(index) for index in np.argwhere(bad)[0])
        raise InputError(f"{name}: {key}[{', '.join(map(str, at))}]: {array[at]} {reason}")


def _text(name: str, key: str, arrays: Mapping[str, np.ndarray]) -> str:
    if arrays[key].dtype.kind != "U" or arrays[key].ndim:
        raise InputError(f"{name}: {key}: {arrays[key].dtype} {arrays[key].shape}, expected one text")
    return str(arrays[key])


def _kwargs(name: str, text: str) -> dict[str, Any]:
    try:
        kwargs = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{name}: env_kwargs: {error}") from None
    if not isinstance(kwargs, dict):
        raise InputError(f"{name}: env_kwargs: {text}, expected a JSON object")
    return kwargs


def _check_totals(name: str, arrays: Mapping[str, np.ndarray], demonstrations: Demonstrations) -> None:
    """Lengths and returns say what the steps say, returns but for the rounding of float32 rewards."""
    lengths, returns = demonstrations.lengths.numpy(), demonstrations.returns.numpy()
    said = arrays.get("episode_lengths", lengths)
    if not np.array_equal(said, lengths):
        raise InputError(f"{name}: episode_lengths: not those of the {len(lengths)} episodes here")
    paid = arrays.get("episode_returns", returns)
    if paid.shape != returns.shape or not np.allclose(paid, returns, rtol=1e-3, atol=1e-2):
        raise InputError(f"{name}: episode_returns: not the sums of the rewards of the {len(returns)} episodes here")


def _from_minari(name: str, layout: spaces.Observations) -> dict[str, np.ndarray]:
    """Lay out a Minari data set as our file; an episode that it cut off without a flag is truncated."""
    try:
        import minari  # type: ignore[import-untyped]
    except ImportError:
        raise InputError(f"minari:{name}: needs Minari: pip install 'minari[all]'") from None
    try:
        source = minari.load_dataset(name, download=True)
        parts = list(source.iterate_episodes())
    except Exception as error:  # a network, a hub and a file format stand behind it
        raise InputError(f"minari:{name}: {one_line(error) or type(error).__name__}") from None
    if not parts:
        raise InputError(f"minari:{name}: no episodes")
    rows = [np.array(layout.rows(part.observations)) for part in parts]
    lengths = np.array([len(part) for part in parts])
    if 0 in lengths:
        raise InputError(f"minari:{name}: episode {int(np.argmin(lengths))}: no steps")
    terminated = np.concatenate([np.asarray(part.terminations, dtype=bool) for part in parts])
    truncated = np.concatenate([np.asarray(part.truncations, dtype=bool) for part in parts])
    last = np.cumsum(lengths) - 1
    truncated[last] |= ~terminated[last]
    starts = np.zeros(len(truncated), dtype=bool)
    starts[last - lengths + 1] = True
    spec = source.env_spec
    return {
        "obs": np.concatenate([row[:-1] for row in rows]),
        "final_obs": np.stack([row[-1] for row in rows]),
        "acts": np.concatenate([np.asarray(part.actions) for part in parts]),
        "rewards": np.concatenate([part.rewards for part in parts]),
        "terminated": terminated,
        "truncated": truncated,
        "episode_starts": starts,
        "env_id": np.array(spec.id if spec is not None else name),
        "env_kwargs": np.array(json.dumps(dict(spec.kwargs)) if spec is not None else "{}"),
    }
