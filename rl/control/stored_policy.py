"""Policies kept as plain arrays in a .npz file: experts of other people, to be evaluated and recorded.

`obs_mean` `obs_scale` [width], `obs_clip`: the input is clip((obs - mean) / scale, -clip, clip). `n_hidden`, and for
each hidden layer `W0` [in out], `b0`, `W1`, ...: x = activation(x W + b), `activation` being `tanh`, `relu` or
`leaky_relu_0.01`. `Wout`, `bout`: y = x W + b. `head`: `gaussian` (mean y, spread exp(`log_std`)), `categorical`
(logits y), `q_values` (the largest y), or `tanh_gaussian` (tanh of a Gaussian with mean y and log spread
x `Wlogstd` + `blogstd`, stretched to [`act_low`, `act_high`]; without `Wlogstd` it has a mode only).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from rl.control import npz
from rl.policies import categorical_sample
from rl.runtime.errors import InputError, closest

Array = Mapping[str, np.ndarray]
Linear = tuple[Tensor, Tensor]
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu_0.01": F.leaky_relu,
}
KEYS = ("obs_mean", "obs_scale", "obs_clip", "n_hidden", "activation", "Wout", "bout", "head")


class Head(Protocol):
    """What turns the last layers' numbers into actions."""

    def act(self, features: Tensor, outputs: Tensor) -> Tensor:
        """Sample."""
        ...

    def mode(self, outputs: Tensor) -> Tensor:
        """Choose the likeliest, or the Gaussian's mean before it is squashed."""
        ...


@dataclass(frozen=True)
class StoredPolicy:
    """An agent that does not learn; it computes in float64."""

    mean: Tensor
    scale: Tensor
    clip: float
    hidden: tuple[Linear, ...]
    activation: Callable[[Tensor], Tensor]
    output: Linear
    head: Head

    @property
    def width(self) -> int:
        """Return the numbers that it sees."""
        return len(self.mean)

    @property
    def size(self) -> int:
        """Return the numbers of an action, or the choices."""
        return len(self.output[1])

    def act(self, obs: Float[Tensor, "rows width"]) -> Shaped[Tensor, "rows ..."]:
        """Sample actions; numbers are not clipped to their bounds yet."""
        features = self._features(obs)
        return self.head.act(features, _linear(features, self.output))

    def mode(self, obs: Float[Tensor, "rows width"]) -> Shaped[Tensor, "rows ..."]:
        """Choose the likeliest action, or the mean."""
        return self.head.mode(_linear(self._features(obs), self.output))

    def _features(self, obs: Tensor) -> Tensor:
        x = ((obs.double() - self.mean) / self.scale).clamp(-self.clip, self.clip)
        for layer in self.hidden:
            x = self.activation(_linear(x, layer))
        return x


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussians whose spread does not depend on the state."""

    std: Tensor

    def act(self, features: Tensor, outputs: Tensor) -> Tensor:
        """Sample."""
        return (outputs + self.std * torch.randn_like(outputs)).float()

    def mode(self, outputs: Tensor) -> Tensor:
        """Return the mean."""
        return outputs.float()


@dataclass(frozen=True)
class Categorical:
    """One of several choices."""

    def act(self, features: Tensor, outputs: Tensor) -> Tensor:
        """Sample."""
        return categorical_sample(outputs)

    def mode(self, outputs: Tensor) -> Tensor:
        """Choose the likeliest."""
        return outputs.argmax(-1)


@dataclass(frozen=True)
class Greedy(Categorical):
    """The choice of largest worth, always."""

    def act(self, features: Tensor, outputs: Tensor) -> Tensor:
        """Choose the best."""
        return outputs.argmax(-1)


@dataclass(frozen=True)
class Squashed:
    """The tanh of a Gaussian, stretched to the bounds; without a spread of its own it cannot be sampled."""

    low: Tensor
    high: Tensor
    where: str

    def act(self, features: Tensor, outputs: Tensor) -> Tensor:
        """Raise InputError."""
        raise InputError(f"{self.where}: Wlogstd: missing, so it can only be used deterministically")

    def mode(self, outputs: Tensor) -> Tensor:
        """Return the squashed mean."""
        return (self.low + (outputs.tanh() + 1) / 2 * (self.high - self.low)).float()


@dataclass(frozen=True)
class SquashedGaussian(Squashed):
    """The tanh of a Gaussian whose spread depends on the state."""

    log_std: Linear

    def act(self, features: Tensor, outputs: Tensor) -> Tensor:
        """Sample."""
        std = _linear(features, self.log_std).clamp(-20, 2).exp()
        return self.mode(outputs + std * torch.randn_like(outputs))


def load(path: Path) -> StoredPolicy:
    """Read such a file; raise InputError naming file and key where it is not of this form."""
    arrays = npz.read(path, KEYS)
    activation = _word(path, "activation", arrays, ACTIVATIONS)
    hidden = tuple(_layer(path, f"W{index}", f"b{index}", arrays) for index in range(_count(path, arrays)))
    output = _layer(path, "Wout", "bout", arrays)
    policy = StoredPolicy(
        _tensor(path, "obs_mean", arrays, 1),
        _tensor(path, "obs_scale", arrays, 1),
        float(_tensor(path, "obs_clip", arrays, 0)),
        hidden,
        ACTIVATIONS[activation],
        output,
        _head(path, arrays),
    )
    _check_fit(path, policy)
    return policy


def _head(path: Path, arrays: Array) -> Head:
    match _word(path, "head", arrays, ("gaussian", "categorical", "q_values", "tanh_gaussian")):
        case "gaussian":
            return Gaussian(_tensor(path, "log_std", arrays, 1).exp())
        case "categorical":
            return Categorical()
        case "q_values":
            return Greedy()
    low, high = _tensor(path, "act_low", arrays, 1), _tensor(path, "act_high", arrays, 1)
    if "Wlogstd" not in arrays:
        return Squashed(low, high, str(path))
    return SquashedGaussian(low, high, str(path), _layer(path, "Wlogstd", "blogstd", arrays))


def _linear(x: Tensor, layer: Linear) -> Tensor:
    weight, bias = layer
    return torch.addmm(bias, x, weight)


def _check_fit(path: Path, policy: StoredPolicy) -> None:
    """Whether each layer takes what the one before gives, and the head what the output gives."""
    if policy.scale.shape != policy.mean.shape:
        raise InputError(f"{path}: obs_scale: {len(policy.scale)} numbers, obs_mean has {policy.width}")
    width = policy.width
    layers = {f"W{index}": layer for index, layer in enumerate(policy.hidden)} | {"Wout": policy.output}
    for name, (weight, bias) in layers.items():
        if weight.shape != (width, len(bias)):
            raise InputError(f"{path}: {name}: shape {tuple(weight.shape)}, expected {(width, len(bias))}")
        width = len(bias)
    match policy.head:
        case Gaussian(std=given) | Squashed(low=given) if len(given) != width:
            raise InputError(f"{path}: head: for {len(given)} numbers, Wout gives {width}")


def _layer(path: Path, weight: str, bias: str, arrays: Array) -> Linear:
    return _tensor(path, weight, arrays, 2), _tensor(path, bias, arrays, 1)


def _tensor(path: Path, key: str, arrays: Array, dimensions: int) -> Tensor:
    if key not in arrays:
        raise InputError(f"{path}: {key}: missing")
    array = arrays[key]
    if array.dtype.kind not in "fiu" or array.ndim != dimensions or np.isnan(array).any():
        raise InputError(f"{path}: {key}: {array.dtype} {array.shape}, expected {dimensions} dimensions of numbers")
    return torch.from_numpy(array.astype(np.float64))


def _word(path: Path, key: str, arrays: Array, allowed: Mapping[str, object] | tuple[str, ...]) -> str:
    word = str(arrays[key])
    if word not in allowed:
        raise InputError(f"{path}: {key}: {word!r} is not known{closest(word, allowed)}")
    return word


def _count(path: Path, arrays: Array) -> int:
    count = arrays["n_hidden"]
    if count.dtype.kind not in "iu" or count.ndim or not 0 <= int(count) <= 100:
        raise InputError(f"{path}: n_hidden: {count}, expected a number of layers")
    return int(count)
