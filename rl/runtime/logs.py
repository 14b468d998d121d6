"""What a run tells: metrics.jsonl, TensorBoard events of the same numbers, and how far it is."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor

from rl.runtime import ranks
from rl.runtime.errors import drop_stdout, one_line, warn

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from torch.utils.tensorboard import SummaryWriter

_SECONDS_BETWEEN_LINES = 10.0


class Log:
    """The log of one run, written by rank 0 only; a log that cannot be written warns once and never ends the run."""

    def __init__(self, run_dir: Path, total: int, *, quiet: bool = False) -> None:
        """`total` is the number of steps that the run will take; `quiet` hides the progress."""
        self._run_dir, self._total = run_dir, total
        self._main = ranks.rank() == 0
        self._path = run_dir / "metrics.jsonl"
        self._offset = self._path.stat().st_size if self._path.exists() else 0
        self._step, self._begun, self._seconds_before = 0, time.monotonic(), 0.0
        self._events: SummaryWriter | None = None
        self._broken: set[str] = set()
        self._progress = _progress(quiet or not self._main)

    @property
    def seconds(self) -> float:
        """Seconds that the run has worked, those before a resume included."""
        return self._seconds_before + time.monotonic() - self._begun

    def log(self, step: int, metrics: Mapping[str, float | Tensor]) -> None:
        """Write one row; what is not finite becomes null."""
        if not self._main:
            return
        self._step = step
        values = {
            name: float(value.detach() if isinstance(value, Tensor) else value) for name, value in metrics.items()
        }
        row: dict[str, float | None] = {"step": step, "seconds": round(self.seconds, 3)}
        row |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._append(json.dumps(row, allow_nan=False, ensure_ascii=False).encode() + b"\n")
        self._add_events(step, values)

    def progress(self, phase: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` turns of this phase are done."""
        place = f"step {self._step}/{self._total}"
        self._progress.show(phase, done, total, f"{place}  {note}" if note else place)

    def close(self) -> None:
        """End the progress and flush the events."""
        self._progress.close()
        if self._events is not None:
            try:
                self._events.close()
            except Exception as error:
                self._warn_once("tensorboard", error)
            self._events = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the bytes of metrics.jsonl that count, the seconds so far, the last step logged."""
        if self._main and self._path.exists():
            try:
                with self._path.open("rb") as file:
                    os.fsync(file.fileno())  # the checkpoint will say that these bytes exist
            except OSError as error:
                self._warn_once(str(self._path), error)
        return {"offset": self._offset, "seconds": self.seconds, "step": self._step}

    def begin(self) -> None:
        """Cut off all rows: they are of a run that died before it saved."""
        self.load_state_dict({"offset": 0, "seconds": 0.0, "step": 0})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Cut off the rows after the checkpoint: the resumed run writes them again. Seconds go on counting."""
        self._begun, self._seconds_before, self._step = time.monotonic(), float(state["seconds"]), int(state["step"])
        if not self._main:
            return
        self._offset = int(state["offset"])
        try:
            self._offset = _cut(self._path, self._offset)
        except OSError as error:
            self._warn_once(str(self._path), error)
        if self._offset != state["offset"]:
            warn(
                f"{self._path}: rows before the checkpoint are missing; going on after the {self._offset:,} bytes left"
            )

    def _append(self, line: bytes) -> None:
        try:
            with self._path.open("ab") as file:
                file.write(line)
            self._offset += len(line)
        except OSError as error:
            self._warn_once(str(self._path), error)
            with suppress(OSError):
                _cut(self._path, self._offset)  # half a row on a full disk

    def _add_events(self, step: int, values: Mapping[str, float]) -> None:
        if "tensorboard" in self._broken:
            return
        try:
            if self._events is None:
                from torch.utils.tensorboard import SummaryWriter

                # purge_step: rows that a killed run wrote after its checkpoint are written again from here
                self._events = SummaryWriter(str(self._run_dir / "tensorboard"), purge_step=step)
            for name, value in values.items():
                self._events.add_scalar(name, value, step)
        except Exception as error:  # whatever a third party's writer raises, training goes on
            self._warn_once("tensorboard", error)

    def _warn_once(self, what: str, error: Exception) -> None:
        if what not in self._broken:
            self._broken.add(what)
            warn(f"{what}: cannot be written, training goes on: {one_line(error)}")


class _Silent:
    """Shows nothing; the two kinds of progress below know how to count."""

    def __init__(self) -> None:
        self._starts: dict[str, tuple[float, int]] = {}

    def show(self, phase: str, done: int, total: int, note: str) -> None:
        pass

    def close(self) -> None:
        pass

    def _pace(self, phase: str, done: int, total: int) -> str:
        """Rate and time left of this phase, counted from the turn at which this process met it."""
        begun, first = self._starts.setdefault(phase, (time.monotonic(), done))
        if done < first:  # the phase began anew
            self._starts[phase] = begun, first = time.monotonic(), done
        seconds = time.monotonic() - begun
        if done == first or seconds <= 0:
            return ""
        rate = (done - first) / seconds
        minutes, rest = divmod(round((total - done) / rate), 60)
        return f"{rate:.3g}/s  {minutes // 60}:{minutes % 60:02}:{rest:02} left"


class _Lines(_Silent):
    """Plain lines on stdout: when a phase is first met, then at most one every ten seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -math.inf
        self._dead = False

    def show(self, phase: str, done: int, total: int, note: str) -> None:
        new = phase not in self._starts
        pace = self._pace(phase, done, total)
        now = time.monotonic()
        if self._dead or not (new or now - self._last >= _SECONDS_BETWEEN_LINES):
            return
        self._last = now
        try:
            print("  ".join(part for part in (phase, f"{done}/{total}", pace, note) if part), flush=True)
        except OSError:  # whoever read the lines is gone; the run is not
            self._dead = True
            drop_stdout()


class _Bar(_Silent):
    """One bar of rich for the current phase."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._phase = ""

    def show(self, phase: str, done: int, total: int, note: str) -> None:
        if self._bar is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            fields = (TextColumn("{task.fields[pace]}"), TextColumn("{task.fields[note]}", markup=False))
            self._bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *fields)
            self._bar.start()
        pace = self._pace(phase, done, total)
        if self._task is None:
            self._task = self._bar.add_task(phase, total=total, pace="", note="")
        self._bar.update(self._task, description=phase, completed=done, total=total, pace=pace, note=note)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None


def _progress(silent: bool) -> _Silent:
    if silent:
        return _Silent()
    return _Bar() if sys.stdout.isatty() else _Lines()


def _cut(path: Path, offset: int) -> int:
    """Cut the file to at most `offset` bytes of whole lines; the bytes that are left."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size < offset:
            file.seek(0)
            offset = file.read().rfind(b"\n") + 1
        file.truncate(offset)
    return offset
