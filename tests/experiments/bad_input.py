"""Wrong input for any script: what is prepared, and how it must end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.experiments.helpers import Ended, contents

Prepare = Callable[[Path, Path], object]  # changes a folder of files, or a finished run


class Case(NamedTuple):
    """A call of a script, with the message expected; {tmp} and {run} stand for a folder of files and a finished run."""

    command: str
    message: str
    prepare: Prepare = lambda tmp, run: None

    def said(self, place: Path) -> str:
        """Return the message of files and a run in a folder."""
        return self.message.format(tmp=place / "tmp", run=place / "run")

    def words(self, place: Path) -> list[str]:
        """Return the script and its arguments."""
        return self.command.format(tmp=place / "tmp", run=place / "run").split()

    def __str__(self) -> str:
        return f"{self.command} -> {self.message}"[:110]


def file(name: str, content: bytes) -> Prepare:
    """Write a file."""
    return lambda tmp, run: (tmp / name).write_bytes(content)


def description(change: Callable[[dict[str, Any]], object]) -> Prepare:
    """Change a run's config.json."""

    def write(tmp: Path, run: Path) -> None:
        content = json.loads((run / "config.json").read_text())
        change(content)
        (run / "config.json").write_text(json.dumps(content))

    return write


def config(change: Callable[[dict[str, Any]], object]) -> Prepare:
    """Change a run's configuration."""
    return description(lambda content: change(content["config"]))


def setting(name: str, value: Any) -> Prepare:
    """Change one of a run's numbers."""
    return config(lambda content: content["numbers"].update({name: value}))


def damaged(part: str) -> Prepare:
    """Flip bits of a part in all checkpoints of a run."""

    def damage(tmp: Path, run: Path) -> None:
        for weights in run.glob(f"checkpoints/*/{part}.safetensors"):
            data = bytearray(weights.read_bytes())
            data[-1] ^= 1
            weights.write_bytes(data)

    return damage


def assert_refused(case: Case, ended: Ended, place: Path, before: dict[str, bytes], *, warned: bool) -> None:
    """It ended with code 2 and one line that names the place, after warnings at the most; no file changed."""
    assert ended.code == 2, ended
    assert case.said(place) in ended.err
    *others, last = ended.err.splitlines()
    assert last.startswith("error: ")
    assert all(line.startswith("warning: ") for line in others)
    assert warned or not others
    assert len(last) < (2000 if "does not fit" in ended.err else 300) + 2 * len(str(place))
    lock = {"run/.lock": b""}
    assert contents(place) | lock == before | lock
