"""Text runs side by side: the last step beside its start and REAL, and beside the start's temperature curve."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from experiments import comparison, page, records
from experiments.comparison import Group, Section, Table, cell
from experiments.equal_quality import against_each_other, compare_curves, is_control
from experiments.plots import Line, Mark, trade_off
from experiments.records import Point, Run, real_point
from experiments.statistics import RESAMPLES, interval

COLUMNS = ("last step", "start", "last - start", "REAL")
OTHERS = {"kn5/": "5-gram", "uniform/": "uniform"}  # further rows of a summary, where runs have them
NOTE = "Start: the same runs after maximum likelihood; the difference is taken within each run."
WIDE = (
    "bleu_2", "bleu_3", "bleu_4", "bleu_5", "self_bleu_2", "self_bleu_3", "self_bleu_4", "self_bleu_5", "nll_oracle",
    "nll_test", "fbd", "divergence", "lm_kn", "reverse_lm_kn", "copied_5", "distinct_2", "unique",
)  # fmt: skip
TRADE_OFFS = """{% for title, figure, verdicts, versus in trade_offs %}
<h2>{{ title }}</h2>
<p class="soft">Dashed: the start over temperatures; solid: the last step. Thin: one seed; thick: their mean at equal
temperature, a dot at temperature 1. ★ REAL. Further left is better quality; at equal quality, below is better.
Differences are taken within seeds, read between temperatures, with the wider of the t and the bootstrap interval over
seeds at each quality; {{ resamples }} resamples.</p>
<div class="large">{{ figure }}</div>
<ul>{% for name, words in verdicts %}<li><p><strong>{{ name }}</strong>: {{ words }}</p></li>{% endfor %}</ul>
{% if versus %}<details><summary>Against each other</summary>
<ul>{% for name, words in versus %}<li><p><strong>{{ name }}</strong>: {{ words }}</p></li>{% endfor %}</ul></details>
{% endif %}
{% endfor %}

"""


def sections(groups: Sequence[Group]) -> list[Section]:
    """Return the tables, the trade-offs and the learning curves."""
    blocks = [(f"{group.name}, n = {len(group.runs)}", tabulate(group, others(groups))) for group in groups]
    table = comparison.tables([Table("At the last step", [*COLUMNS, *others(groups).values()], blocks, NOTE)])
    return [table, comparison.tables([wide(groups)]), trade_offs(groups), comparison.panels(groups)]


def others(groups: Sequence[Group]) -> dict[str, str]:
    """Return the further rows that any summary has, by prefix."""
    keys = [key for group in groups for run in group.runs for key in run.summary]
    return {prefix: name for prefix, name in OTHERS.items() if any(key.startswith(prefix) for key in keys)}


def wide(groups: Sequence[Group]) -> Table:
    """Return one row for each group at the last step, under all metrics, and for REAL and what else was measured."""
    runs = [run for group in groups for run in group.runs]
    keys = [key for key in WIDE if any(key in run.summary for run in runs)]
    rows = [(group.name, [str(len(group.runs)), *cells(group.runs, keys)]) for group in groups]
    for prefix, name in {"real/": "REAL", **others(groups)}.items():
        rows.append((name, ["", *cells(runs, [prefix + key for key in keys])]))
    return Table("All at the last step", ["n", *keys], [("", rows)])


def cells(runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """Return for each key mean ± half of the interval over the runs that have it."""
    values = [[run.summary[key] for run in runs if key in run.summary] for key in keys]
    return [cell(interval(found), len(runs)) for found in values]


def trade_offs(groups: Sequence[Group]) -> Section:
    """Return the temperature curves with what they say of each group, in words."""
    found, lines = [], []
    runs = [run for group in groups for run in group.runs]
    for x, y in records.TRADE_OFFS:
        figure = trade_off_figure(groups, x, y)
        if not figure:
            continue
        verdicts = [(group.name, words) for group in groups if (words := compare_curves(group.runs, x, y, runs))]
        pairs = against_each_other(groups, x, y)
        found.append((f"{x} against {y}", figure, verdicts, [named(*pair) for pair in pairs]))
        short = [pair for pair in pairs if is_control(pair[1])] or pairs
        rows = [*verdicts, *(named(*pair) for pair in short)]
        lines.append("\n".join([f"{x} against {y}, below = better", *(f"  {a}: {b}" for a, b in rows)]))
    values = {"trade_offs": found, "resamples": f"{RESAMPLES:,}"}
    return Section(page.fragment(TRADE_OFFS, values), "\n\n".join(lines))


def named(ours: Group, theirs: Group, words: str) -> tuple[str, str]:
    """Return what two groups are called together, and the words."""
    return f"{ours.name} against {theirs.name}", words


def tabulate(group: Group, more: Iterable[str] = ()) -> list[tuple[str, list[str]]]:
    """Return for each main metric: last step, start, difference within runs, REAL and what `more` prefixes name.

    Each is a mean ± half of its interval over seeds.
    """
    rows = []
    for key in records.MAIN:
        if not any(key in run.summary for run in group.runs):
            continue
        summaries = [run.summary for run in group.runs]
        names = (key, f"mle/{key}", f"real/{key}", *(prefix + key for prefix in more))
        last, start, real, *rest = ([s[name] for s in summaries if name in s] for name in names)
        gained = [s[key] - s[f"mle/{key}"] for s in summaries if key in s and f"mle/{key}" in s]
        rows.append((key, [cell(interval(values), len(summaries)) for values in (last, start, gained, real, *rest)]))
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
    return trade_off(lines, marks, x, y, falling=x in records.BETTER_WHEN_HIGH) if lines else None


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
