"""A verifier that can be hacked, and what cures it: `python -m experiments.gate [--seeds 5] [--output docs/gate.png]`.

Twice the toy grammar. `hackable`: a third of a point for every "fox", of which the grammar allows two. `honest`: one
point for any "fox". The demonstrations are sentences that mention one. Makes the runs that are missing, prints the
table as Markdown, and draws it.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments import records
from experiments.compare_lm import perform
from experiments.config import one_line_errors
from experiments.records import Run
from experiments.statistics import Interval, interval
from rl.runtime import InputError, exit_codes

SCENES = {
    "hackable": ("count of 'fox' / 3; the grammar allows 2", ["--verifier", "fox", "--verifier-count", "3"]),
    "honest": ("contains 'fox'", ["--verifier", "fox", "--verifier-count", "1"]),
}
METHODS = {
    "mle": "start (MLE)",
    "rlvr": "verifier",
    "rlvr-kl": "verifier, KL 0.05",
    "additive": "verifier + D",
    "varl": "verifier x D (gate)",
    "adversarial": "D alone",
    "sft": "SFT on the demonstrations",
}
COLUMNS = {"grammatical": "grammatical", "verified": "verifier's reward", "verified_right": "right and different"}
COLOURS = {"grammatical": "#1b6ca8", "verified": "#d1495b"}
MEASURED = ["--evaluate-every", "150", "--evaluate-samples", "400", "--sweep-samples", "200"]


@dataclass(frozen=True)
class Arguments:
    """Make the runs of the gate toy that are missing, print their table and draw it."""

    seeds: int = 5
    """seeds 0, 1, ..."""
    runs: Path = Path("runs/gate")
    """where the runs are kept, SCENE/VARIANT-sSEED each"""
    jobs: int = 1
    """runs at a time, one thread each"""
    output: Path = Path("docs/gate.png")
    """where the figure is written"""


def read(folders: Sequence[Path]) -> dict[str, list[Run]]:
    """Return finished runs by variant."""
    found: dict[str, list[Run]] = {}
    for folder in folders:
        run = records.read(folder)
        found.setdefault(str(run.description["variant"]), []).append(run)
    return found


def numbers(runs: Mapping[str, Sequence[Run]]) -> dict[str, dict[str, Interval]]:
    """Return for each method, and REAL, the mean of each column and its 95 % interval over seeds."""
    rows = {
        METHODS[variant]: {key: interval([run.summary[key] for run in runs[variant]]) for key in COLUMNS}
        for variant in METHODS
    }
    everyone = [run for each in runs.values() for run in each]
    seeds = {run.description["seed"]: run for run in everyone}.values()
    shares = [key for key in COLUMNS if key != "verified_right"]  # of fewer sentences a larger share are different
    rows["demonstrations"] = {key: interval([run.summary[f"real/{key}"] for run in seeds]) for key in shares}
    return rows


def markdown(scene: str, rows: Mapping[str, Mapping[str, Interval]]) -> str:
    """Return a table, means with 95 % t-intervals."""
    lines = [f"| {scene}: {SCENES[scene][0]} | " + " | ".join(COLUMNS.values()) + " |", "|---" * 4 + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(bracketed(row[key]) if key in row else "" for key in COLUMNS) + " |")
    return "\n".join(lines)


def bracketed(found: Interval) -> str:
    """Return a mean and its interval."""
    if found.low != found.low:
        return f"{found.mean:.3f}"
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def draw(scenes: Mapping[str, Mapping[str, Mapping[str, Interval]]], seeds: int, path: Path) -> None:
    """Draw for each scene every method's share of grammatical sentences beside its verifier's reward."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(scenes), sharey=True)
    for axis, (scene, rows) in zip(axes, scenes.items(), strict=True):
        for shift, (key, colour) in zip((-0.14, 0.14), COLOURS.items(), strict=True):
            means = [row[key].mean for row in rows.values()]
            halves = [max(0.0, row[key].high - row[key].mean) if row[key].n > 2 else 0.0 for row in rows.values()]
            places = [place + shift for place in range(len(rows))]
            axis.errorbar(means, places, xerr=halves, fmt="o", color=colour, label=COLUMNS[key], capsize=3)
        axis.set(xlim=(-0.03, 1.03), title=f"{scene}: {SCENES[scene][0]}", yticks=range(len(rows)))
        axis.set_yticklabels(list(rows))
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    axes[-1].legend(loc="lower left", fontsize=8)
    figure.supxlabel(f"share of 4,000 sentences; mean and 95 % interval over {seeds} seeds", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str]) -> None:
    """Make, print, draw."""
    a = one_line_errors(
        lambda: tyro.cli(Arguments, args=arguments, prog="python -m experiments.gate", description=__doc__)
    )
    if a.seeds < 1 or a.jobs < 1:
        raise InputError(f"--seeds {a.seeds} --jobs {a.jobs}: at least one of each")
    scenes = {}
    for scene, (_, flags) in SCENES.items():
        folders = perform(list(METHODS), a.seeds, a.runs / scene, a.jobs, [*flags, *MEASURED])
        scenes[scene] = numbers(read(folders))
        print(markdown(scene, scenes[scene]) + "\n", flush=True)
    draw(scenes, a.seeds, a.output)
    print(f"figure: {a.output}", flush=True)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
