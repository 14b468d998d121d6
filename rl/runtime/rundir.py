"""The folder of a run: made once, described by config.json, trained by one process at a time."""

import fcntl
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from rl.runtime import ranks
from rl.runtime.errors import InputError, warn

_KEYS = ("family", "variant", "seed", "config")


def create(run_dir: Path | None, family: str, variant: str, config: Mapping[str, Any], seed: int) -> Path:
    """Make the folder, with config.json in it; by default runs/FAMILY-VARIANT-DATE. Every rank must call it.

    Raises InputError if the folder holds anything: a run is resumed, not overwritten.
    """
    problem, made = "", ""
    if ranks.rank() == 0:
        try:
            made = str(_create(run_dir, family, variant, config, seed))
        except InputError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{error.filename or run_dir}: cannot make the run's folder: {error.strerror}"
    ranks.agree(problem)
    return Path(ranks.text_of_main(made))


def read_config(run_dir: Path) -> dict[str, Any]:
    """Return what `create` wrote. Raises InputError with the line and column of what is wrong."""
    path = run_dir / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: not a run's folder: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: an object is expected, not {type(content).__name__}")
    for key in _KEYS:
        if key not in content:
            raise InputError(f"{path}: {key!r} is missing")
    if not isinstance(content["config"], dict):
        raise InputError(f"{path}: config: an object is expected, not {type(content['config']).__name__}")
    restored: dict[str, Any] = _finite_back(content)
    return restored


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON whole or not at all. A path becomes its text, nan null, an infinity "inf" or "-inf"."""
    data = json.dumps(_strict(content), indent=2, allow_nan=False, ensure_ascii=False, default=_plain) + "\n"
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


@contextmanager
def lock(run_dir: Path) -> Iterator[None]:
    """Hold the run while inside; InputError if another process does. The system lets go of it when a process dies."""
    if ranks.rank() != 0:
        yield
        return
    with (run_dir / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise InputError(f"{run_dir}: process {file.read().strip() or '?'} is working on this run") from error
        except OSError as error:
            warn(f"{run_dir}: cannot be locked ({error.strerror}); start no second process on it")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _create(run_dir: Path | None, family: str, variant: str, config: Mapping[str, Any], seed: int) -> Path:
    if run_dir is None:
        run_dir = _fresh(Path("runs"), f"{family}-{variant}-{time.strftime('%Y%m%d-%H%M%S')}")
    else:
        if (run_dir / "config.json").exists():
            raise InputError(f"{run_dir}: holds a run; continue it with: python -m experiments.resume {run_dir}")
        run_dir.mkdir(parents=True, exist_ok=True)
        # a start that was killed may have left the beginning of a config.json
        if any(not found.name.startswith(".config.json.tmp-") for found in run_dir.iterdir()):
            raise InputError(f"{run_dir}: is not empty, a new run needs a folder of its own")
    description = {
        "family": family,
        "variant": variant,
        "seed": seed,
        "config": dict(config),
        "versions": _versions(),
        "commit": _commit(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }
    write_json(run_dir / "config.json", description)
    return run_dir


def _fresh(parent: Path, name: str) -> Path:
    """Make a folder that nobody had: mkdir decides, so two runs started in one second do not share it."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("sparring", "torch", "numpy", "safetensors"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def _commit() -> str:
    """Return the commit of this package's own checkout, `-dirty` if it was changed; "unknown" for an installed copy."""
    here = Path(__file__)
    git = ["git", "-C", str(here.parent)]
    try:
        # An environment inside somebody else's repository must not report that repository's commit.
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True, timeout=10)
        command = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _plain(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"JSON cannot hold {type(value).__name__}")


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(float(value))
    return value


def _finite_back(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite_back(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite_back(item) for item in value]
    return float(value) if value in ("inf", "-inf") else value
