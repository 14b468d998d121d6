"""What a run left behind, read back: its description, its rows, its summary, its curves, its samples."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeGuard

from rl.runtime.errors import InputError
from rl.runtime.rundir import read_config

Point = dict[str, float]
MAIN = (
    "nll_oracle", "nll_test", "bleu_2", "bleu_3", "bleu_4", "bleu_5", "self_bleu_2", "self_bleu_3", "self_bleu_4",
    "self_bleu_5", "distinct_1", "distinct_2", "distinct_3", "distinct_4", "unique",
    "fbd", "divergence", "lm_kn", "reverse_lm_kn", "copied_5",
    "return_mean", "return_normalised", "return_std", "return_expert", "return_random", "p@5", "ndcg@5",
    "map", "mrr", "fid", "kid", "class_accuracy", "inception_score", "precision", "recall", "modes", "mode_kl",
    "high_quality", "reverse_kl",
)  # fmt: skip
TRADE_OFFS = (
    ("nll_oracle", "nll_test"),
    ("lm_kn", "reverse_lm_kn"),
    ("bleu_5", "self_bleu_5"),
)  # quality; what is paid for it, lower is better
BETTER_WHEN_HIGH = ("bleu_5",)  # of the qualities among them; all others are better when low


@dataclass(frozen=True)
class Run:
    """A run's folder; what it does not hold yet is empty."""

    folder: Path
    description: dict[str, Any]
    rows: list[dict[str, Any]]
    summary: Point
    curves: dict[str, list[Point]]

    def series(self, key: str, over: str = "step") -> tuple[list[float], list[float]]:
        """Return the steps, or another metric of the same rows, and the values of a metric, those that are finite."""
        pairs = [(row[over], row[key]) for row in self.rows if _finite(row.get(over)) and _finite(row.get(key))]
        return [float(step) for step, _ in pairs], [float(value) for _, value in pairs]

    @property
    def task(self) -> str:
        """Return the environment that an agent acts in, with its arguments; "" for other families."""
        config = self.description["config"]
        kwargs = config.get("env_kwargs", "{}")
        return str(config.get("env", "")) + ("" if kwargs == "{}" else f" {kwargs}")

    def metrics(self) -> list[str]:
        """Return the names of the metrics that have a finite value: the main ones, other bare ones, then by prefix."""
        names = {key for row in self.rows for key, value in row.items() if _finite(value)} - {"step", "seconds"}
        return in_order(names)


@dataclass(frozen=True)
class Histogram:
    """How many values fell between neighbouring edges, for several groups of values."""

    edges: list[float]
    counts: dict[str, list[float]]


def read(folder: Path) -> Run:
    """Return a run, finished or not. Raises InputError naming file, line and column of what cannot be read."""
    return Run(
        folder,
        read_config(folder),
        read_rows(folder / "metrics.jsonl"),
        _read_summary(folder / "summary.json"),
        _read_curves(folder / "curves.json"),
    )


def in_order(names: Iterable[str]) -> list[str]:
    """Return names of metrics: the main ones, other bare ones, then by prefix."""
    return sorted(names, key=lambda name: (MAIN.index(name) if name in MAIN else len(MAIN), "/" in name, name))


def real_point(run: Run, x: str, y: str) -> tuple[float, float] | None:
    """Return where REAL stands; the oracle's NLL of its own sentences is both of its coordinates."""
    real = run.summary.get(f"real/{x}")
    other = run.summary.get(f"real/{y}", real if x == "nll_oracle" else None)
    return None if real is None or other is None else (real, other)


def sample_steps(folder: Path, suffix: str = ".txt") -> list[int]:
    """Return the steps whose sentences, or pictures, were kept, in order."""
    names = [path.name[len("step-") : -len(suffix)] for path in (folder / "samples").glob(f"step-*{suffix}")]
    return sorted(int(name) for name in names if name.isdecimal())


def read_samples(folder: Path, step: int, most: int) -> list[str]:
    """Return the first sentences of a step; bytes that are no UTF-8 show as replacement characters."""
    with (folder / "samples" / f"step-{step}.txt").open(encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in islice(file, most)]


def read_histograms(folder: Path) -> dict[str, Histogram]:
    """Return the histograms of a run by name; none if it has no histograms.json."""
    path = folder / "histograms.json"
    content, found = _read_json(path), {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: an object is expected")
    for name, histogram in content.items():
        if not isinstance(histogram, dict):
            raise InputError(f"{path}: {name}: an object is expected")
        edges, counts = histogram.get("edges"), histogram.get("counts")
        if not _finite_list(edges) or len(edges) < 2 or sorted(edges) != edges:
            raise InputError(f"{path}: {name}.edges: a list of rising numbers is expected")
        if not isinstance(counts, dict):
            raise InputError(f"{path}: {name}.counts: an object is expected")
        for series, values in counts.items():
            if not _finite_list(values) or len(values) != len(edges) - 1:
                raise InputError(f"{path}: {name}.counts.{series}: {len(edges) - 1} numbers are expected")
        found[name] = Histogram(edges, counts)
    return found


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration as one level: `runtime.device`; the table of numbers needs no name."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, prefix if name == "numbers" else f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _finite_list(values: Any) -> TypeGuard[list[float]]:
    return isinstance(values, list) and all(_finite(value) for value in values)


def _read_json(path: Path) -> Any:
    try:
        return _parse(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _parse(text: str, path: Path, line: int = 0) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{line + error.lineno}:{error.colno}: not JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path}:{line + 1}: not JSON: {error}") from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a metrics.jsonl that are whole; none if there is no file."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines[:-1]):  # what follows the last line's end is a row still being written
        row = _parse(line, path, number)
        if not isinstance(row, dict) or not _finite(row.get("step")):
            raise InputError(f"{path}:{number + 1}: an object with a number `step` is expected")
        rows.append(row)
    return rows


def _read_summary(path: Path) -> Point:
    return _numbers(_read_json(path), path, "")


def _read_curves(path: Path) -> dict[str, list[Point]]:
    content, curves = _read_json(path), {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: an object is expected")
    for name, points in content.items():
        if not isinstance(points, list):
            raise InputError(f"{path}: {name}: a list of points is expected")
        curve = [_numbers(point, path, f"{name}[{i}]") for i, point in enumerate(points)]
        curves[name] = sorted(curve, key=lambda point: point.get("inverse_temperature", math.inf))
    return curves


def _numbers(content: Any, path: Path, place: str) -> Point:
    """Return the finite numbers of a flat object: what could not be measured was written as null or "inf"."""
    if not isinstance(content, dict):
        raise InputError(f"{path}: {place + ': ' if place else ''}an object is expected")
    for key, value in content.items():
        if value not in (None, "inf", "-inf") and not isinstance(value, int | float):
            raise InputError(f"{path}: {place + '.' if place else ''}{key}: a number is expected, not {value!r}")
    return {key: float(value) for key, value in content.items() if _finite(value)}
