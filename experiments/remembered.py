"""Scores that many runs share are measured once: kept under the hash of what and of the code."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import seqgan
from rl.runtime.rundir import write_json

CODE = sorted(Path(seqgan.__file__).parent.rglob("*.py"))


def remembered(cache: Path, name: str, what: Iterable[str | bytes], compute: Callable[[], Any]) -> Any:
    """Return the JSON that `compute` gives for `what`; from the folder `cache` where it stands there already."""
    hashed = hashlib.sha256()
    for part in (*(path.read_bytes() for path in CODE), *what):
        hashed.update(part.encode() if isinstance(part, str) else part)
    path = cache / f"{name}-{hashed.hexdigest()[:16]}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or damaged
        computed = compute()
        write_json(path, computed)
        return computed
