"""What several runs say together, of any family: whether they may be compared, tables, and curves over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from experiments import page, records
from experiments.page import MEANING, number
from experiments.plots import Floats, Line, over_steps
from experiments.records import Run, flatten
from experiments.statistics import FEWEST, Interval, interval

MEASURED_ON = {
    "text_gan": (
        "corpus", "oracle_params", "test", "units", "at_least", "vocabulary", "length", "test_sentences",
        "final_samples", "prompt", "classes", "before_tab",
    ),
    "gail": ("demos", "final_episodes"),
    "lm_gan": ("data", "test", "prompt", "verifier", "verifier_count", "demonstrations", "valid", "final_samples"),
    "irgan": ("data", "test", "positive", "documents", "mask", "pool", "ties"),
    "image_gan": ("data", "test", "size", "channels", "stack", "final_samples"),
}  # fmt: skip
GRID = 100  # points of a mean over runs whose own points lie elsewhere

TABLES = """{% for table in tables %}
<h2>{{ table.title }}</h2>
<div class="wide"><table><thead><tr><th></th>{% for name in table.columns %}
<th title="{{ meaning.get(name, '') }}">{{ name }}</th>{% endfor %}</tr></thead>
{% for title, rows in table.blocks %}<tbody>
{% if title %}<tr class="strong first"><th colspan="{{ table.columns | length + 1 }}">{{ title }}</th></tr>{% endif %}

{% for key, cells in rows %}<tr><th title="{{ meaning.get(key, '') }}">{{ key }}</th>
{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>{% endfor %}</table></div>
<p class="soft">{{ table.note }}</p>
{% endfor %}

"""
PANELS = """{% if panels %}
<h2>{{ title }}</h2>
<p class="soft">Means over seeds; the bands are 95 % intervals where there are at least three.</p>
<div class="grid">{% for key, figure in panels %}
<figure><figcaption>{{ key }}{% if key in meaning %}<small>{{ meaning[key] }}</small>{% endif %}</figcaption>
{{ figure }}</figure>{% endfor %}</div>
{% endif %}

"""
Rows = Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone."""

    name: str
    runs: list[Run]
    colour: str
    method: str = ""
    """what they do, whatever the environment that they do it in"""
    task: str = ""
    """the environment; "" where there is none"""


@dataclass(frozen=True)
class Section:
    """A part of the comparison: for the page, and for the terminal."""

    html: Markup
    text: str = ""


@dataclass(frozen=True)
class Table:
    """Blocks of rows under common columns; a block is a heading, or "", and (name, cells)."""

    title: str
    columns: Sequence[str]
    blocks: Sequence[tuple[str, Rows]]
    note: str = ""


def sections(groups: Sequence[Group]) -> list[Section]:
    """Return what can be said of runs of any family: the main metrics and their curves."""
    blocks = []
    for group in groups:
        summaries = [run.summary for run in group.runs]
        found = {key: [s[key] for s in summaries if key in s] for key in records.MAIN}
        rows = [(key, [cell(interval(values), len(summaries))]) for key, values in found.items() if values]
        blocks.append((f"{group.name}, n = {len(group.runs)}", rows))
    return [tables([Table("At the last step", ["last step"], blocks)]), panels(groups)]


def tables(found: Sequence[Table], meaning: Mapping[str, str] = MEANING) -> Section:
    """Return tables; in plain text with their titles, if there are several."""
    html = page.fragment(TABLES, {"tables": found, "meaning": meaning})
    several = len(found) > 1
    return Section(html, "\n\n".join((f"{t.title}\n" if several else "") + in_plain_text(t) for t in found))


def in_plain_text(table: Table) -> str:
    """Return a table with aligned columns."""
    heads = ["", *table.columns]
    lines = [[f"  {key}", *cells] for _, rows in table.blocks for key, cells in rows]
    widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]

    def aligned(line: Sequence[str]) -> str:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        return "   ".join([line[0].ljust(widths[0]), *cells]).rstrip()

    out = [aligned(heads)]
    for title, rows in table.blocks:
        out += [title] if title else []
        out += [aligned([f"  {key}", *cells]) for key, cells in rows]
    return "\n".join(out)


def cell(found: Interval, expected: int) -> str:
    """Return a mean ± half of its interval, and n where some of the expected values are missing."""
    text = number(found.mean)
    if found.low == found.low:
        text += f" ± {number((found.high - found.low) / 2)}"
    return text + (f" (n = {found.n})" if 0 < found.n < expected else "")


def panels(
    groups: Sequence[Group],
    keys: Sequence[str] | None = None,
    title: str = "Over the steps",
    meaning: Mapping[str, str] = MEANING,
) -> Section:
    """Return the learning curves of some metrics; by default of all that any run has."""
    if keys is None:
        keys = records.in_order(dict.fromkeys(key for group in groups for run in group.runs for key in run.metrics()))
    figures = [(key, learning_figure(groups, key)) for key in keys]
    return Section(page.fragment(PANELS, {"panels": figures, "title": title, "meaning": meaning}))


def learning_figure(
    groups: Sequence[Group], key: str, over: str = "step", levels: Sequence[tuple[float, str]] = (), x_label: str = ""
) -> Markup:
    """Return a metric over steps, or over another metric: of each group the mean over seeds, where all its runs are."""
    lines: list[Line] = []
    for group in groups:
        curves = [curve for run in group.runs if (curve := run.series(key, over))[0]]
        x, ys = at_equal_places(curves)
        if not x:
            continue
        at = [interval(values) for values in zip(*ys, strict=True)]
        band = len(curves) >= FEWEST
        if not band and len(curves) > 1:
            lines += [Line(*curve, group.colour, width=0.6, opacity=0.6) for curve in curves]
        low, high = ([i.low for i in at], [i.high for i in at]) if band else ([], [])
        lines.append(Line(x, [i.mean for i in at], group.colour, low, high))
    return over_steps(lines, [], levels, x_label)


def at_equal_places(curves: Sequence[tuple[Floats, Floats]]) -> tuple[list[float], list[list[float]]]:
    """Return places and each curve's values there: their common ones, or, if none, a grid where all are, read linearly.

    No place, if there is no curve or there is nowhere that all of them reach.
    """
    common = sorted(set.intersection(*(set(x) for x, _ in curves))) if curves else []
    if len(common) > 1 or any(len(x) < 2 for x, _ in curves) or not curves:
        values = [dict(zip(x, y, strict=True)) for x, y in curves]
        return common, [[value[place] for place in common] for value in values]
    first, last = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    if first >= last:
        return [], []
    grid = np.linspace(first, last, GRID)
    return grid.tolist(), [np.interp(grid, x, y).tolist() for x, y in curves]


def comparable(runs: Sequence[tuple[str, Run]]) -> dict[str, dict[str, str]]:
    """Return what the runs were measured on and differ in: {setting: {value: name of the first group that has it}}.

    Runs in different environments are expected to differ.
    """
    found: dict[str, dict[str, str]] = {}
    for name, run in runs:
        found.setdefault("family", {}).setdefault(run.description["family"], name)
        for key, value in _measured_on(run).items():
            found.setdefault(f"{key} ({run.task})" if run.task else key, {}).setdefault(value, name)
    return {key: values for key, values in found.items() if len(values) > 1}


def _measured_on(run: Run) -> dict[str, str]:
    settings = flatten(run.description["config"])
    if settings.get("corpus") == "oracle":
        settings["length"] = settings.get("length") or 20
    if settings.get("corpus") != "oracle" or settings.get("oracle_params"):
        settings["vocabulary"] = "its own"  # the file says how many words there are, not the flag
    return {key: str(settings.get(key)) for key in MEASURED_ON.get(run.description["family"], ())}
