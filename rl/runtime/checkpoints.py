"""Checkpoints that stand or do not exist: safetensors and JSON under a manifest of hashes, written beside and renamed.

`run/checkpoints/step-N/` holds PART.json (the shape of the state) and PART.safetensors (its tensors) for every part,
and `manifest.json` with the size and SHA-256 of each: a flipped bit in a safetensors file loads silently otherwise.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from rl.runtime import ranks
from rl.runtime.errors import InputError, one_line, warn
from rl.runtime.state import decode, encode

_MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_STEP = re.compile(r"step-(\d+)(\.old)?")
_SLACK = 1 << 16  # bytes for the manifest, the safetensors headers and the folder itself


class Stateful(Protocol):
    """A part of a run: a net, an optimizer, the engine, a position, a log."""

    def state_dict(self) -> Any:
        """Nested dict, list, tuple, str, int, float, bool, None and Tensor."""

    def load_state_dict(self, state: Any, /) -> Any:
        """Take such a state back."""


class Damaged(InputError):
    """A checkpoint that is not what was written; the message names the file."""


def save(run_dir: Path, step: int, parts: Mapping[str, Stateful], *, keep: int = 3) -> Path:
    """Write `run_dir/checkpoints/step-N`, then delete all but the last `keep`; the folder.

    Every rank must call it, since a state may be gathered over ranks; rank 0 writes. At each instant the newest good
    checkpoint stands whole. Equal states give equal bytes. Raises InputError (on all ranks) when the disk is full or
    forbids writing; the old checkpoints are then as they were.
    """
    folder = run_dir / "checkpoints" / f"step-{step}"
    if keep < 1 or step < 0:
        raise ValueError(f"keep {keep} must be at least 1, step {step} at least 0")
    for name in parts:
        if not _NAME.fullmatch(name) or name == "manifest":
            raise ValueError(f"{name!r} cannot name a part: letters, digits, - and _ joined by dots")
    states = {name: part.state_dict() for name, part in parts.items()}
    problem = ""
    if ranks.rank() == 0:
        try:
            _write(folder, step, states)
            _delete_older(folder.parent, step, keep)
        except InputError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{error.filename or folder}: cannot write the checkpoint: {error.strerror}"
    ranks.agree(problem)
    return folder


def steps(run_dir: Path) -> list[int]:
    """Return the steps that have a checkpoint, good or damaged, in ascending order."""
    return sorted({step for step, _ in _folders(run_dir / "checkpoints")})


def newest(run_dir: Path) -> Path:
    """Find the newest checkpoint that verifies; a warning on stderr for each damaged one passed over.

    Raises InputError if none is good.
    """
    for _, folder in sorted(_folders(run_dir / "checkpoints"), key=lambda found: (-found[0], found[1].name)):
        try:
            verify(folder)
        except Damaged as error:
            warn(f"{error}; trying the checkpoint before it")
        else:
            return folder
    raise InputError(f"{run_dir / 'checkpoints'}: no good checkpoint")


def at(run_dir: Path, step: int | None) -> Path:
    """Find the checkpoint of a step, the newest good one without it. Raises InputError naming those that are there."""
    if step is None:
        return newest(run_dir)
    folder = run_dir / "checkpoints" / f"step-{step}"
    if step not in (there := steps(run_dir)):
        raise InputError(f"{folder}: no such checkpoint (there: {', '.join(map(str, there)) or 'none'})")
    return folder


def verify(folder: Path) -> None:
    """Raise Damaged, naming the file, unless every byte is the one that was written."""
    for _ in _verified(folder):
        pass


def load(folder: Path) -> dict[str, Any]:
    """Each part's state, on the CPU, from verified bytes. Raises Damaged."""
    data = dict(_verified(folder))
    parts = [name.removesuffix(".json") for name in data if name.endswith(".json")]
    return {part: _parse(folder, part, data) for part in parts}


def restore(folder: Path, parts: Mapping[str, Stateful], *, partial: bool = False) -> None:
    """Give each part its state back; `partial` leaves out parts that the checkpoint has besides.

    Raises Damaged, or InputError if a part is missing, unknown or misshapen.
    """
    states = load(folder)
    wrong = parts.keys() - states.keys() if partial else parts.keys() ^ states.keys()
    for name in sorted(wrong):
        problem = "the checkpoint lacks this part" if name in parts else "this run has no such part"
        raise InputError(f"{folder / name}.json: {problem}")
    for name, part in parts.items():
        try:
            part.load_state_dict(states[name])
        except InputError as error:
            raise InputError(f"{folder / name}.json: {error}") from error
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise InputError(f"{folder / name}.json: does not fit this run: {one_line(error)[:200]}") from error
        if isinstance(part, torch.optim.Optimizer):
            _lay_out(part)


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Lay an optimizer's memory out as its weights: a fused step reads both in the order of their bytes.

    A file holds tensors as they are counted, weights may lie as channels_last.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def fingerprint(folder: Path) -> str:
    """SHA-256 over the name, type, shape and bytes of all tensors: equal for equal runs, whatever time they took."""
    digest = hashlib.sha256()
    for file, data in sorted(_verified(folder)):
        if file.endswith(".safetensors"):
            for name, tensor in sorted(_tensors(folder / file, data).items()):
                digest.update(f"{file}/{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                digest.update(ranks.to_bytes(tensor).numpy().tobytes())
    return digest.hexdigest()


def _write(folder: Path, step: int, states: Mapping[str, Any]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clean(folder.parent)
    encoded = {name: encode(state, name) for name, state in states.items()}
    need = _SLACK + sum(len(text) + sum(map(_size, tensors.values())) for text, tensors in encoded.values())
    free = shutil.disk_usage(folder.parent).free
    if free < need:
        raise InputError(f"{folder}: the disk is full: the checkpoint needs {need:,} bytes, {free:,} are free")
    temporary = folder.parent / f".step-{step}.tmp-{os.getpid()}"
    temporary.mkdir()
    try:
        files = {}
        for part, (text, tensors) in sorted(encoded.items()):
            files[f"{part}.json"] = _put(temporary / f"{part}.json", text)
            if tensors:
                data = to_safetensors(tensors)
                files[f"{part}.safetensors"] = _put(temporary / f"{part}.safetensors", data)
        _put(temporary / _MANIFEST, _manifest({"step": step, "files": dict(sorted(files.items()))}))
        _sync(temporary)
        _stand(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _stand(temporary: Path, folder: Path) -> None:
    """Rename into place. A checkpoint of the same step keeps standing as step-N.old, which readers know, until then."""
    old = folder.with_name(f"{folder.name}.old")
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    _sync(folder.parent)
    if old.exists():
        shutil.rmtree(old)


def _clean(checkpoints: Path) -> None:
    """Remove what an earlier save left when it was killed; an old folder whose successor never came stands again."""
    for left in checkpoints.glob(".step-*.tmp-*"):
        shutil.rmtree(left)
    for old in checkpoints.glob("step-*.old"):
        if (successor := old.with_suffix("")).exists():
            shutil.rmtree(old)
        else:
            old.rename(successor)


def _delete_older(checkpoints: Path, step: int, keep: int) -> None:
    """Later steps than this one are the damaged ones that a resume passed over: they do not push good ones out."""
    older = sorted((number, folder) for number, folder in _folders(checkpoints) if number < step)
    for _, folder in older[: len(older) - (keep - 1)]:
        # Renamed first: a kill inside rmtree must not leave half a checkpoint under a checkpoint's name.
        doomed = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
        folder.rename(doomed)
        shutil.rmtree(doomed)


def _folders(checkpoints: Path) -> list[tuple[int, Path]]:
    if not checkpoints.is_dir():
        return []
    found = [(match, path) for path in checkpoints.iterdir() if (match := _STEP.fullmatch(path.name))]
    return [(int(match[1]), path) for match, path in found]


def _put(path: Path, data: bytes) -> dict[str, Any]:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _manifest(content: dict[str, Any]) -> bytes:
    """Write the manifest's bytes; it carries its own hash, so that damage to it is not blamed on the files it lists."""
    own = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps(content | {"sha256": own}, indent=1).encode() + b"\n"


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    data = _get(path)
    try:
        content = json.loads(data)
        step, files = content["step"], content["files"]
        sound = data == _manifest({"step": step, "files": files}) and all(_NAME.fullmatch(name) for name in files)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"{path}: damaged: not the manifest that was written") from error
    if not sound:
        raise Damaged(f"{path}: damaged: its SHA-256 differs")
    match = _STEP.fullmatch(folder.name)
    if match and int(match[1]) != step:
        raise Damaged(f"{path}: says step {step}, the folder says {match[1]}")
    return dict(files)


def _verified(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Each file's name and bytes, read once and checked; Damaged at the first that is wrong."""
    files = _read_manifest(folder)
    for name, expected in files.items():
        path = folder / name
        data = _get(path, expected["bytes"])
        if hashlib.sha256(data).hexdigest() != expected["sha256"]:
            raise Damaged(f"{path}: damaged: its SHA-256 differs from the manifest's")
        yield name, data


def _get(path: Path, size: int | None = None) -> bytes:
    try:
        found = path.stat().st_size
        if size is not None and found != size:
            raise Damaged(f"{path}: damaged: {found:,} bytes, the manifest says {size:,}")
        return path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path}: cannot be read: {error.strerror}") from error


def _tensors(path: Path, data: bytes) -> dict[str, Tensor]:
    try:
        return from_safetensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise Damaged(f"{path}: not a safetensors file: {one_line(error)}") from error


def _parse(folder: Path, part: str, data: Mapping[str, bytes]) -> Any:
    file = f"{part}.safetensors"
    tensors = _tensors(folder / file, data[file]) if file in data else {}
    try:
        return decode(data[f"{part}.json"], tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"{folder / part}.json: not a state: {one_line(error)}") from error
