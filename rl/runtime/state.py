"""A state as JSON and tensors, and back, exactly: int keys, tuples, None, nan and infinities included."""

import json
import math
from typing import Any

from torch import Tensor


def encode(state: Any, name: str) -> tuple[bytes, dict[str, Tensor]]:
    """Return the state's JSON and the tensors that it refers to, on the CPU. Raises TypeError naming the misfit.

    Each JSON object has one key that says what it stands for: dict (a list of pairs, so that keys keep their type),
    tuple, float (one that is not finite) or tensor (its name: the keys on the way to it, so that a net's file holds the
    net's own names).
    """
    tensors: dict[str, Tensor] = {}
    storages: set[int] = set()

    def keep(tensor: Tensor, path: tuple[str, ...]) -> str:
        held = tensor.detach().to("cpu").contiguous()
        place = held.untyped_storage().data_ptr()
        if place in storages:
            held = held.clone()  # tied weights: each name gets its own copy
        storages.add(place)
        key = ".".join(path) or "tensor"
        while key in tensors:
            key += "'"
        tensors[key] = held
        return key

    def walk(value: Any, path: tuple[str, ...]) -> Any:
        match value:
            case None | bool() | int() | str():
                return value
            case float():
                return value if math.isfinite(value) else {"float": str(float(value))}
            case Tensor():
                return {"tensor": keep(value, path)}
            case dict():
                return {"dict": [[walk(key, path), walk(item, (*path, str(key)))] for key, item in value.items()]}
            case list():
                return [walk(item, (*path, str(index))) for index, item in enumerate(value)]
            case tuple():
                return {"tuple": [walk(item, (*path, str(index))) for index, item in enumerate(value)]}
        raise TypeError(f"{'.'.join((name, *path))}: a state cannot hold {type(value).__name__}")

    return json.dumps(walk(state, ()), allow_nan=False).encode() + b"\n", tensors


def decode(text: bytes, tensors: dict[str, Tensor]) -> Any:
    """Rebuild the state that was encoded. Raises ValueError, or KeyError for a tensor that is missing."""
    return _build(json.loads(text), tensors)


def _build(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_build(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"dict": list(pairs)} if len(value) == 1:
            return {_build(key, tensors): _build(item, tensors) for key, item in pairs}
        case {"tuple": list(items)} if len(value) == 1:
            return tuple(_build(item, tensors) for item in items)
        case {"float": str(number)} if len(value) == 1:
            return float(number)
        case {"tensor": str(name)} if len(value) == 1:
            return tensors[name]
    raise ValueError(f"unknown object with keys {sorted(value)}")
