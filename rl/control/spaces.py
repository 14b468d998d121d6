"""Observations as flat rows and actions as tensors: what a gymnasium space becomes for a network, and back."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from jaxtyping import Float
from numpy.typing import NDArray

from rl.runtime.errors import InputError


@dataclass(frozen=True)
class Part:
    """One array of an observation, and its place in the flat row.

    Pixels stand channels first in the row, whatever the space says, and keep their numbers from 0 to 255. A `vector`
    with `choices` is made of whole numbers, one-hot one after the other.
    """

    name: str
    """the keys on the way to it, joined by dots; empty where the observation is one array"""
    kind: Literal["vector", "pixels"]
    shape: tuple[int, ...]
    """as the network sees it; pixels: channels, height, width"""
    start: int
    size: int
    path: tuple[str, ...] = ()
    channels_last: bool = False
    choices: tuple[int, ...] = ()
    first: tuple[int, ...] = ()
    """the least value of each whole number"""

    @property
    def place(self) -> slice:
        """Return its columns."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Observations:
    """How observations become flat rows [n width]: uint8 if all parts are pixels, else float32."""

    width: int
    dtype: torch.dtype
    parts: tuple[Part, ...]

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Return the rows' type in numpy."""
        return np.dtype(np.uint8 if self.dtype == torch.uint8 else np.float32)

    def rows(self, obs: Any) -> NDArray[Any]:
        """Lay out a BATCH of observations, as a vector environment gives them; no copy if they are such rows already.

        Numbers too large for float32 become infinite.
        """
        if len(self.parts) == 1:
            return _columns(self.parts[0], obs, self.numpy_dtype)
        columns = [_columns(part, obs, self.numpy_dtype) for part in self.parts]
        return np.concatenate(columns, axis=1)

    def row(self, obs: Any) -> NDArray[Any]:
        """Lay out ONE observation: [1 width]."""
        return self.rows(_batch_of_one(obs))

    def last_rows(self, final: Any, ended: NDArray[np.bool_]) -> NDArray[Any]:
        """Lay out the last observations of the episodes that ended, one at least: [ended width].

        `final` is a vector environment's `final_obs`: an observation for each sub-environment, or a dict of batches.
        """
        if isinstance(final, dict):
            return self.rows(final)[ended]
        return np.concatenate([self.row(final[index]) for index in np.flatnonzero(ended)])


@dataclass(frozen=True)
class Actions:
    """What an agent may do: `size` numbers within bounds that may be infinite, or one of `size` choices."""

    kind: Literal["box", "discrete"]
    size: int
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    start: int = 0
    """the environment's number for choice 0"""
    dtype: str = "float32"
    """the environment's type"""

    @cached_property
    def _bounds(self) -> tuple[NDArray[Any], NDArray[Any]]:
        return np.array(self.low, self.dtype), np.array(self.high, self.dtype)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Return the type of an agent's actions in numpy: int64 or float32."""
        return np.dtype(np.int64 if self.kind == "discrete" else np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one action: () or (size,)."""
        return () if self.kind == "discrete" else (self.size,)

    @property
    def scale(self) -> tuple[Float[torch.Tensor, "numbers"], Float[torch.Tensor, "numbers"]]:
        """Return the middle and half the range of each number of a box; 0 and 1 where it is not bounded."""
        low, high = (torch.tensor(bound, dtype=torch.float32) for bound in (self.low, self.high))
        bounded = low.isfinite() & high.isfinite()
        return torch.where(bounded, (low + high) / 2, 0), torch.where(bounded, (high - low) / 2, 1)

    def to_env(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Turn an agent's actions [n] or [n size] into the environment's: clipped to its bounds, counted from start."""
        if self.kind == "discrete":
            shifted: NDArray[Any] = (actions + self.start).astype(self.dtype, copy=False)
            return shifted
        low, high = self._bounds
        clipped: NDArray[Any] = np.minimum(np.maximum(actions.astype(self.dtype, copy=False), low), high)
        return clipped

    def from_env(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Turn an environment's actions, as demonstrations hold them, into an agent's, of `numpy_dtype` and `shape`."""
        if self.kind == "discrete":
            return np.asarray(actions).reshape(len(actions)).astype(np.int64) - self.start
        return np.asarray(actions).reshape(len(actions), self.size).astype(np.float32)


def observations(space: Space[Any], *, where: str) -> Observations:
    """Lay out an observation space: Box, Discrete and MultiDiscrete (one-hot), Dict of these.

    A uint8 Box of three dimensions holds pixels; its smaller end is the channels. Raises InputError `where: reason`.
    """
    parts: list[Part] = []
    for path, leaf in _leaves(space, (), where):
        start = parts[-1].place.stop if parts else 0
        parts.append(_part(leaf, path, start, where))
    if not parts or not parts[-1].place.stop:
        raise InputError(f"{where}: observations: an empty space")
    pixels = all(part.kind == "pixels" for part in parts)
    return Observations(parts[-1].place.stop, torch.uint8 if pixels else torch.float32, tuple(parts))


def actions(space: Space[Any], *, where: str) -> Actions:
    """Describe an action space: a Box of one dimension, or Discrete. Raises InputError `where: reason`."""
    match space:
        case Discrete():
            return Actions("discrete", int(space.n), start=int(space.start), dtype=str(space.dtype))
        case Box() if len(space.shape) != 1 or not space.shape[0]:
            raise InputError(f"{where}: actions: a Box must have one dimension, this one has shape {space.shape}")
        case Box() if not np.issubdtype(space.dtype, np.floating):
            raise InputError(f"{where}: actions: a Box must hold real numbers, this one holds {space.dtype}")
        case Box():
            low, high = (tuple(float(x) for x in bound) for bound in (space.low, space.high))
            return Actions("box", space.shape[0], low, high, dtype=str(space.dtype))
    raise InputError(f"{where}: actions: {type(space).__name__} is not supported; Box and Discrete are")


def _leaves(space: Space[Any], path: tuple[str, ...], where: str) -> list[tuple[tuple[str, ...], Space[Any]]]:
    if isinstance(space, Dict):
        return [leaf for key, inner in space.spaces.items() for leaf in _leaves(inner, (*path, str(key)), where)]
    if isinstance(space, Box | Discrete | MultiDiscrete):
        return [(path, space)]
    name = f"{'.'.join(path)}: " if path else ""
    known = "Box, Discrete, MultiDiscrete and Dict of them are"
    raise InputError(f"{where}: observations: {name}{type(space).__name__} is not supported; {known}")


def _part(space: Space[Any], path: tuple[str, ...], start: int, where: str) -> Part:
    name = ".".join(path)
    match space:
        case Discrete() | MultiDiscrete():
            choices = _whole_numbers(space.n if isinstance(space, Discrete) else space.nvec)
            shape, first = (sum(choices),), _whole_numbers(space.start)
            return Part(name, "vector", shape, start, sum(choices), path, choices=choices, first=first)
        case Box() if space.dtype == np.uint8 and len(space.shape) == 3:
            a, b, c = space.shape
            last = c <= a
            return Part(name, "pixels", (c, a, b) if last else (a, b, c), start, a * b * c, path, channels_last=last)
    size = math.prod(space.shape or ())
    return Part(name, "vector", (size,), start, size, path)


def _whole_numbers(array: Any) -> tuple[int, ...]:
    return tuple(int(x) for x in np.ravel(array))


def _columns(part: Part, obs: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    for key in part.path:
        obs = obs[key]
    array = np.asarray(obs)
    if part.choices:
        return _one_hot(array.reshape(len(array), -1), part, dtype)
    if part.channels_last:
        array = array.transpose(0, 3, 1, 2)
    if array.dtype != dtype:
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
    return np.ascontiguousarray(array).reshape(len(array), part.size)


def _one_hot(values: NDArray[Any], part: Part, dtype: np.dtype[Any]) -> NDArray[Any]:
    # each number's choices follow the ones before it
    offsets = np.cumsum((0, *part.choices[:-1]), dtype=np.int64) - np.array(part.first, np.int64)
    rows = np.zeros((len(values), part.size), dtype)
    np.put_along_axis(rows, values.astype(np.int64) + offsets, 1, axis=1)
    return rows


def _batch_of_one(obs: Any) -> Any:
    if isinstance(obs, dict):
        return {key: _batch_of_one(value) for key, value in obs.items()}
    return np.asarray(obs)[None]
