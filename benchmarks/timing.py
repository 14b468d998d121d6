"""Time two ways of doing the same work side by side, and say so in a table and a flat JSON object."""

import gc
import json
import multiprocessing
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Clock = Literal["cpu", "wall"]
Work = Callable[[], object]


@dataclass(frozen=True)
class Spread:
    """Seconds of the same work, once per repeat."""

    seconds: tuple[float, ...]

    def __str__(self) -> str:
        low, middle, high = min(self.seconds), statistics.median(self.seconds), max(self.seconds)
        return f"{low:10.4g} {middle:10.4g} {high:10.4g}"

    @property
    def median(self) -> float:
        """The middle repeat."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Measured:
    """One way of doing the work, on both clocks."""

    cpu: Spread
    wall: Spread

    def on(self, clock: Clock) -> Spread:
        """Choose the clock: processor seconds of all threads together, or seconds on the wall."""
        return self.cpu if clock == "cpu" else self.wall


@dataclass(frozen=True)
class Timing:
    """Ours and theirs, repeat by repeat in turn."""

    ours: Measured
    theirs: Measured

    def ratios(self, clock: Clock = "cpu") -> list[float]:
        """Their seconds over ours, pair by pair."""
        pairs = zip(self.theirs.on(clock).seconds, self.ours.on(clock).seconds, strict=True)
        return [theirs / max(ours, 1e-9) for theirs, ours in pairs]

    def speedup(self, clock: Clock = "cpu") -> float:
        """Median of the paired ratios."""
        return statistics.median(self.ratios(clock))

    def theirs_times(self, factor: float) -> "Timing":
        """Extrapolate: theirs did only a `factor`th of the work; whoever uses it says so in the row's note."""
        cpu, wall = (Spread(tuple(s * factor for s in self.theirs.on(clock).seconds)) for clock in ("cpu", "wall"))
        return Timing(self.ours, Measured(cpu, wall))


@dataclass(frozen=True)
class Row:
    """One comparison: `what` names it in the JSON (`speedup/WHAT`), `theirs` the alternative, `note` what to know."""

    what: str
    theirs: str
    timing: Timing
    note: str = ""


def paired(ours: Work, theirs: Work, repeats: int = 5) -> Timing:
    """Run both in turn in this process, one uncounted run of each first; who begins a pair changes from pair to pair.

    Work on a GPU must wait for the GPU itself, and only the wall clock counts there.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    ours()
    theirs()
    sides: tuple[tuple[Work, list[tuple[float, float]]], ...] = ((ours, []), (theirs, []))
    for repeat in range(repeats):
        for work, times in sides if repeat % 2 == 0 else reversed(sides):
            times.append(_seconds(work))
    return Timing(_measured(sides[0][1]), _measured(sides[1][1]))


def alone(work: Work, repeats: int = 5) -> Measured:
    """Time work beside which there is no alternative; one uncounted run first if it is repeated."""
    if repeats > 1:
        work()
    return _measured([_seconds(work) for _ in range(repeats)])


def _seconds(work: Work) -> tuple[float, float]:
    gc.collect()  # nobody pays for the other's garbage
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def _measured(times: Sequence[tuple[float, float]]) -> Measured:
    cpu, wall = zip(*times, strict=True)
    return Measured(Spread(cpu), Spread(wall))


def peak_mb(prepare: Callable[..., Work], *arguments: Any) -> float:
    """Megabytes (2^20 bytes) by which resident memory rises, at its highest, while the work runs once.

    `prepare(*arguments)` sets up and returns the work; both run in a fresh process, so neither this process's memory
    nor a warm allocator hides anything. `prepare` is a function of a module, its arguments plain values. What the
    set-up holds does not count. Where /proc is missing the process's highest mark (ru_maxrss) stands in, which
    misses work that stays below the peak of its own set-up.
    """
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_here, (prepare, arguments))


def _peak_here(prepare: Callable[..., Work], arguments: tuple[Any, ...]) -> float:
    work = prepare(*arguments)
    gc.collect()
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        before = _highest_mark()
        work()
        return _highest_mark() - before
    clear.write_text("5")  # the kernel forgets the highest mark so far
    before = _status_mb("VmRSS")
    work()
    return _status_mb("VmHWM") - before


def _highest_mark() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _status_mb(field: str) -> float:
    match = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if match is None:
        raise RuntimeError(f"/proc/self/status has no {field}")
    return int(match[1]) / 1024


def cpu_name() -> str:
    """Name the processor, with AVX-512 where it has it: `Intel Xeon, AVX-512`."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = match[1] if match else platform.processor() or platform.machine()
    name = " ".join(re.sub(r"\((R|TM)\)|\bProcessor\b|\bCPU\b|@.*", " ", name, flags=re.IGNORECASE).split())
    return f"{name}, AVX-512" if "avx512f" in text else name


def device_name(device: str = "cpu") -> str:
    """Name the machine that a result stands for."""
    import torch

    return torch.cuda.get_device_name() if device.startswith("cuda") else cpu_name()


def report(
    rows: Sequence[Row],
    json_path: Path | None = None,
    *,
    clock: Clock = "cpu",
    device: str = "cpu",
    numbers: Mapping[str, float] | None = None,
) -> dict[str, float | str | int]:
    """Print the table and write the flat JSON object; `numbers` are further entries, such as `peak_mb/WHAT`.

    Besides `speedup/WHAT` stand our median seconds (`seconds/WHAT`) and theirs (`seconds_other/WHAT`).
    """
    import torch

    numbers = numbers or {}
    seconds = "processor seconds" if clock == "cpu" else "seconds"
    print(f"{device_name(device)}; torch {torch.__version__}; {torch.get_num_threads()} thread(s); {seconds}")
    print(f"{'':32} {'min':>10} {'median':>10} {'max':>10}")
    result: dict[str, float | str | int] = {}
    for row in rows:
        ours, theirs, ratios = (
            row.timing.ours.on(clock),
            row.timing.theirs.on(clock),
            Spread((*row.timing.ratios(clock),)),
        )
        print(f"{row.what}: ours".ljust(32), ours)
        print(f"{row.what}: {row.theirs}".ljust(32), theirs)
        print(f"{row.what}: times faster".ljust(32), ratios, f"  ({row.note})" if row.note else "")
        result[f"speedup/{row.what}"] = ratios.median
        result[f"seconds/{row.what}"] = ours.median
        result[f"seconds_other/{row.what}"] = theirs.median
    for name, number in numbers.items():
        print(f"{name}".ljust(32), f"{number:10.4g}")
    result |= {**numbers, "device": device_name(device), "torch": torch.__version__, "threads": torch.get_num_threads()}
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(result, indent=2) + "\n")
    return result
