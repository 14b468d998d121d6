"""Quality against diversity as a picture and a table: `python -m experiments.lm_frontier RUN_DIR... [--output FILE]`.

Each method's temperature curve, the mean over seeds with 95 % intervals, a disc at temperature 1; the start dashed.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments.compare import group_runs, load
from experiments.comparison import Group
from experiments.comparison_text import at_equal_temperature, curve_of
from experiments.config import one_line_errors
from experiments.gate import bracketed
from experiments.page import COLOURS
from experiments.records import real_point
from experiments.statistics import Interval, interval
from rl.runtime import InputError, exit_codes

TRADE_OFFS = (("lm_kn", "reverse_lm_kn"), ("bleu_5", "self_bleu_5"))
COLUMNS = ("verified", "nll_test", "lm_kn", "reverse_lm_kn", "bleu_4", "self_bleu_4", "fbd", "kl", "chosen")


@dataclass(frozen=True)
class Arguments:
    """Draw temperature curves of runs with demonstrations, and print their table as Markdown."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """folders of finished runs"""
    output: Path = Path("docs/captions.png")
    """where the figure is written"""


def places(group: Group, which: str, x: str, y: str) -> list[tuple[float, Interval, Interval]]:
    """Return for each temperature that all runs have: its inverse, and both numbers over seeds."""
    curves = [curve_of(run, which, x, y) for run in group.runs]
    return [(t, interval(xs), interval(ys)) for t, xs, ys in at_equal_temperature(curves, x, y)]


def markdown(groups: Sequence[Group]) -> str:
    """Return a table: a row for each group, one for all starts and one for REAL."""
    runs = {run.description["seed"]: run for group in groups for run in group.runs}.values()
    rows = [(group.method, [run.summary for run in group.runs], "") for group in groups]
    rows += [(name, [run.summary for run in runs], prefix) for name, prefix in (("start", "mle/"), ("REAL", "real/"))]
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    for name, summaries, prefix in rows:
        found = [[summary[prefix + key] for summary in summaries if prefix + key in summary] for key in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(bracketed(interval(v)) if v else "" for v in found) + " |")
    return "\n".join(lines)


def draw(groups: Sequence[Group], path: Path) -> None:
    """Draw every trade-off beside the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (x, y) in zip(figure.subplots(1, len(TRADE_OFFS)), TRADE_OFFS, strict=True):
        for group in groups:
            draw_curve(axis, places(group, "last", x, y), COLOURS[group.colour][0], group.method)
        draw_curve(axis, places(groups[0], "mle", x, y), COLOURS["soft"][0], "start", style="--")
        real = [place for group in groups for run in group.runs if (place := real_point(run, x, y))]
        if real:
            axis.plot(*(interval([place[i] for place in real]).mean for i in (0, 1)), "*", color="black", label="REAL")
        axis.set(xlabel=x, ylabel=y)
        axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def draw_curve(
    axis: object, found: Sequence[tuple[float, Interval, Interval]], colour: str, label: str, style: str = "-"
) -> None:
    """Draw one curve with its intervals."""
    halves = [max(0.0, y.high - y.mean) if y.n > 2 else 0.0 for _, _, y in found]
    xs, ys = [x.mean for _, x, _ in found], [y.mean for _, _, y in found]
    axis.errorbar(xs, ys, yerr=halves, fmt=style, color=colour, label=label, capsize=2, linewidth=1.3)  # type: ignore[attr-defined]
    for t, x, y in found:
        if t == 1.0:
            axis.plot(x.mean, y.mean, "o", color=colour)  # type: ignore[attr-defined]


def main(arguments: Sequence[str]) -> None:
    """Draw, and print the table."""
    a = one_line_errors(
        lambda: tyro.cli(Arguments, args=arguments, prog="python -m experiments.lm_frontier", description=__doc__)
    )
    if not a.run_dirs:
        raise InputError("command line: name at least one run's folder")
    groups = group_runs([load(folder) for folder in a.run_dirs])
    draw(groups, a.output)
    print(f"{markdown(groups)}\n\nfigure: {a.output}", flush=True)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
