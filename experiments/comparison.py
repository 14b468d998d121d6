"""What several runs say together: whether they may be compared, their curves, and their distance from the start's."""

import math
from collections.abc import Sequence
from itertools import groupby

from markupsafe import Markup

from experiments.page import number
from experiments.plots import Line, Mark, over_steps, trade_off
from experiments.records import Point, Run, flatten, real_point
from experiments.statistics import FEWEST, Interval, interval, read_curve

Part = tuple[str, list[Run], str]  # a group's name, runs and colour
MEASURED_ON = (
    "family", "corpus", "oracle_params", "test", "units", "at_least", "vocabulary", "length",
    "test_sentences", "final_samples",
)  # fmt: skip


def comparable(runs: Sequence[tuple[str, Run]]) -> dict[str, dict[str, str]]:
    """Return what the runs were measured on and differ in: {setting: {value: name of the first group that has it}}."""
    found: dict[str, dict[str, str]] = {}
    for name, run in runs:
        for key, value in _measured_on(run).items():
            found.setdefault(key, {}).setdefault(value, name)
    return {key: values for key, values in found.items() if len(values) > 1}


def _measured_on(run: Run) -> dict[str, str]:
    settings = flatten(run.description["config"]) | {"family": run.description["family"]}
    if settings.get("corpus") == "oracle":
        settings["length"] = settings.get("length") or 20
    if settings.get("corpus") != "oracle" or settings.get("oracle_params"):
        settings["vocabulary"] = "its own"  # the file says how many words there are, not the flag
    return {key: str(settings.get(key)) for key in MEASURED_ON}


def learning_figure(parts: Sequence[Part], key: str) -> Markup:
    """Return a metric over steps: of each group the mean over seeds at the steps that all its runs have."""
    lines: list[Line] = []
    for _, runs, colour in parts:
        series = [dict(zip(*run.series(key), strict=True)) for run in runs]
        series = [values for values in series if values]
        steps = sorted(set.intersection(*(set(values) for values in series))) if series else []
        if not steps:
            continue
        at = [interval([values[step] for values in series]) for step in steps]
        band = len(series) >= FEWEST
        if not band and len(series) > 1:
            lines += [Line(list(v), list(v.values()), colour, width=0.6, opacity=0.6) for v in series]
        low, high = ([i.low for i in at], [i.high for i in at]) if band else ([], [])
        lines.append(Line(steps, [i.mean for i in at], colour, low, high))
    return over_steps(lines, [])


def trade_off_figure(parts: Sequence[Part], x: str, y: str) -> Markup | None:
    """Return the temperature curves of start and last step, or None if no run has them."""
    lines: list[Line] = []
    marks: list[Mark] = []
    for _, runs, colour in parts:
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
    places = [place for _, runs, _ in parts for run in runs if (place := real_point(run, x, y))]
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
