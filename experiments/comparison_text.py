"""Text runs side by side: the last step beside its start and REAL, and beside the start's temperature curve."""

import math
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from experiments import comparison, page, records
from experiments.comparison import Group, Section, Table, cell
from experiments.page import number
from experiments.plots import Line, Mark, trade_off
from experiments.records import Point, Run, real_point
from experiments.statistics import FEWEST, Interval, interval, read_curve

COLUMNS = ("last step", "start", "last - start", "REAL")
NOTE = "Start: the same runs after maximum likelihood; the difference is taken within each run."
TRADE_OFFS = """{% for title, figure, verdicts in trade_offs %}
<h2>{{ title }}</h2>
<p class="soft">Dashed: the start over temperatures; solid: the last step. Thin: one seed; thick: their mean at equal
temperature, a dot at temperature 1. ★ REAL. At equal quality, below is better.</p>
<div class="large">{{ figure }}</div>
<ul>{% for name, words in verdicts %}<li><p><strong>{{ name }}</strong>: {{ words }}</p></li>{% endfor %}</ul>
{% endfor %}

"""


def sections(groups: Sequence[Group]) -> list[Section]:
    """Return the table, the trade-offs and the learning curves."""
    blocks = [(f"{group.name}, n = {len(group.runs)}", tabulate(group)) for group in groups]
    table = comparison.tables([Table("At the last step", COLUMNS, blocks, NOTE)])
    return [table, trade_offs(groups), comparison.panels(groups)]


def trade_offs(groups: Sequence[Group]) -> Section:
    """Return the temperature curves with what they say of each group, in words."""
    found, lines = [], []
    for x, y in records.TRADE_OFFS:
        figure = trade_off_figure(groups, x, y)
        if figure:
            verdicts = [(group.name, words) for group in groups if (words := compare_curves(group.runs, x, y))]
            found.append((f"{x} against {y}", figure, verdicts))
            lines.append("\n".join([f"{x} against {y}, below = better", *(f"  {a}: {b}" for a, b in verdicts)]))
    return Section(page.fragment(TRADE_OFFS, {"trade_offs": found}), "\n\n".join(lines))


def tabulate(group: Group) -> list[tuple[str, list[str]]]:
    """Return for each main metric: last step, start, difference within runs, REAL: mean ± half of the interval."""
    rows = []
    for key in records.MAIN:
        if not any(key in run.summary for run in group.runs):
            continue
        summaries = [run.summary for run in group.runs]
        last, start, real = ([s[name] for s in summaries if name in s] for name in (key, f"mle/{key}", f"real/{key}"))
        gained = [s[key] - s[f"mle/{key}"] for s in summaries if key in s and f"mle/{key}" in s]
        rows.append((key, [cell(interval(values), len(summaries)) for values in (last, start, gained, real)]))
    return rows


def trade_off_figure(groups: Sequence[Group], x: str, y: str) -> Markup | None:
    """Return the temperature curves of start and last step, or None if no run has them."""
    lines: list[Line] = []
    marks: list[Mark] = []
    for group in groups:
        runs, colour = group.runs, group.colour
        for which in ("mle", "last"):
            dashed = which == "mle"
            curves = [curve for run in runs if (curve := curve_of(run, which, x, y))]
            for curve in curves if len(curves) > 1 else []:
                xs, ys = [p[x] for p in curve.values()], [p[y] for p in curve.values()]
                lines.append(Line(xs, ys, colour, dashed=dashed, width=0.6, opacity=0.45))
            mean = {t: (interval(xs).mean, interval(ys).mean) for t, xs, ys in at_equal_temperature(curves, x, y)}
            if mean:
                xs, ys = [place[0] for place in mean.values()], [place[1] for place in mean.values()]
                lines.append(Line(xs, ys, colour, dashed=dashed, width=2.2))
            if 1.0 in mean:
                marks.append(Mark(*mean[1.0], colour))
    places = [place for group in groups for run in group.runs if (place := real_point(run, x, y))]
    if lines and places:
        marks.append(Mark(interval([p[0] for p in places]).mean, interval([p[1] for p in places]).mean, "ink", "*"))
    return trade_off(lines, marks, x, y) if lines else None


def curve_of(run: Run, which: str, x: str, y: str) -> dict[float, Point]:
    """Return a run's points by inverse temperature, those that have both metrics."""
    points = run.curves.get(which, [])
    return {p["inverse_temperature"]: p for p in points if x in p and y in p and "inverse_temperature" in p}


def at_equal_temperature(
    curves: Sequence[dict[float, Point]], x: str, y: str
) -> list[tuple[float, list[float], list[float]]]:
    """Return (inverse temperature, x of each curve, y of each curve) at the temperatures that all curves have."""
    shared = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    return [(t, [curve[t][x] for curve in curves], [curve[t][y] for curve in curves]) for t in shared]


def compare_curves(runs: Sequence[Run], x: str, y: str) -> str:
    """Return in words where the last step lies beside the start's temperature curve; "" if no run has the curves."""
    having = [run for run in runs if curve_of(run, "mle", x, y) and x in run.summary and y in run.summary]
    if not having:
        return ""
    distances = [_distance(run, run.summary, x, y) for run in having]
    reached = [distance for distance in distances if not math.isnan(distance)]
    where = number(interval([run.summary[x] for run in having]).mean)
    if not reached:
        return f"at the last step's {x} ({where}) there is no start to compare with: its curve does not reach there."
    found = interval(reached)
    missed = len(distances) - len(reached)
    words = (
        f"at the last step's {x} (mean {where}), its {y} is {_signed(found)} the start's temperature curve, "
        f"{_verdict(found)}"
    )
    words += f"; {missed} more did not reach it" if missed else ""
    stretches = _stretches(having, x, y)
    return f"{words}. Over temperatures the curve lies {', '.join(stretches)}." if stretches else f"{words}."


def _distance(run: Run, point: Point, x: str, y: str) -> float:
    """How far a point lies above the start's curve at its own x; nan where the curve does not reach."""
    start = curve_of(run, "mle", x, y).values()
    return point[y] - read_curve([p[x] for p in start], [p[y] for p in start], point[x])


def _signed(found: Interval) -> str:
    return f"{number(abs(found.mean))} {'below' if found.mean < 0 else 'above'}"


def _verdict(found: Interval) -> str:
    if found.n < FEWEST:
        return f"n = {found.n}: too few seeds to say more"
    between = f"95 % interval of the difference {number(found.low)} to {number(found.high)}, n = {found.n}"
    return f"{between}: " + {"below": "better", "above": "worse", "level": "no clear difference"}[_side(found)]


def _side(found: Interval) -> str:
    """Below or above, if the interval leaves out zero; of fewer than three seeds the mean decides."""
    low, high = (found.mean, found.mean) if found.n < FEWEST else (found.low, found.high)
    return "below" if high < 0 else "above" if low > 0 else "level"


def _stretches(runs: Sequence[Run], x: str, y: str) -> list[str]:
    """Say of each stretch of the last step's curve on which side of the start's it lies."""
    curves = [curve_of(run, "last", x, y) for run in runs]
    sides: list[tuple[float, str]] = []
    for t, xs, _ in at_equal_temperature(curves, x, y):
        distances = [_distance(run, curve[t], x, y) for run, curve in zip(runs, curves, strict=True)]
        if not any(math.isnan(distance) for distance in distances):
            sides.append((interval(xs).mean, _side(interval(distances))))
    words = {"below": "below it (better)", "above": "above it (worse)", "level": "level with it"}
    out = []
    for side, places in groupby(sorted(sides), key=lambda place: place[1]):
        ends = [place[0] for place in places]
        span = number(ends[0]) if len(ends) == 1 else f"{number(ends[0])} to {number(ends[-1])}"
        out.append(f"{words[side]} for {x} {span}")
    return out
