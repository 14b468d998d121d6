"""Weights that are made once and kept: a reader gets all of a file or nothing, and a damaged one is as none."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


def digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and bytes of weights."""
    hashed = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hashed.update(tensor.detach().cpu().numpy().tobytes())
    return hashed.hexdigest()


def keep(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write weights with their hash into a safetensors file, in a folder that is made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        save_file(dict(weights), temporary, {"sha256": digest(weights)})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def kept(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file; none if it is absent, or not what was written."""
    try:
        with safe_open(path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            told = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return {}
    return weights if digest(weights) == told else {}
