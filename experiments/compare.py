"""Runs side by side: `python -m experiments.compare RUN_DIR... [--output compare.html]`.

Runs that differ in nothing but the seed make a group. Of each group: mean and 95 % interval over seeds beside the
maximum-likelihood start and REAL, learning curves, and where it lies beside the start's temperature curve.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments import page, records
from experiments.comparison import comparable, compare_curves, learning_figure, trade_off_figure
from experiments.config import one_line_errors
from experiments.records import Run
from experiments.statistics import FEWEST, Interval, interval
from rl.runtime.errors import InputError, exit_codes, warn

# A run may differ in these and still be the same experiment.
INCIDENTAL = ("seed", "run_dir", "save_seconds", "runtime.device", "runtime.threads", "runtime.compile")
COLUMNS = ("last step", "start", "last - start", "REAL")

BODY = """
<h1>Comparison</h1>
<p class="soft">{{ runs }} runs in {{ groups | length }} groups; means over seeds with 95 % t-intervals.</p>
{% for warning in warnings %}<p class="warning">{{ warning }}</p>{% endfor %}
<ul class="legend">{% for group in groups %}
<li><i style="color: var(--{{ group.colour }})"></i>{{ group.name }}, n = {{ group.runs | length }}</li>
{% endfor %}</ul>

<h2>At the last step</h2>
<div class="wide"><table><thead><tr><th></th>{% for name in columns %}<th>{{ name }}</th>{% endfor %}</tr></thead>
{% for group, rows in tables %}<tbody>
<tr class="strong first"><th colspan="5">{{ group.name }}, n = {{ group.runs | length }}</th></tr>
{% for key, cells in rows %}<tr><th title="{{ meaning.get(key, '') }}">{{ key }}</th>
{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>{% endfor %}</table></div>
<p class="soft">Start: the same runs after maximum likelihood; the difference is taken within each run.</p>

{% for title, figure, verdicts in trade_offs %}
<h2>{{ title }}</h2>
<p class="soft">Dashed: the start over temperatures; solid: the last step. Thin: one seed; thick: their mean at equal
temperature, a dot at temperature 1. ★ REAL. At equal quality, below is better.</p>
<div class="large">{{ figure }}</div>
<ul>{% for name, words in verdicts %}<li><p><strong>{{ name }}</strong>: {{ words }}</p></li>{% endfor %}</ul>
{% endfor %}

{% if panels %}
<h2>Over the steps</h2>
<p class="soft">Means over seeds; the bands are 95 % intervals where there are at least three.</p>
<div class="grid">{% for key, figure in panels %}
<figure><figcaption>{{ key }}{% if key in meaning %}<small>{{ meaning[key] }}</small>{% endif %}</figcaption>
{{ figure }}</figure>{% endfor %}</div>
{% endif %}

<h2>Runs</h2>
{% for group in groups %}<details><summary>{{ group.name }}</summary>
<ul>{% for run in group.runs %}<li>{{ run.folder }}, seed {{ run.description.seed }}:
<code>{{ run.description.command or "" }}</code></li>{% endfor %}</ul></details>
{% endfor %}
"""


@dataclass(frozen=True)
class Arguments:
    """Put runs side by side: means and intervals over seeds, learning curves, quality against diversity."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """folders of finished runs"""
    output: Path = Path("compare.html")
    """where the page is written"""


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone."""

    name: str
    runs: list[Run]
    colour: str


def load(folder: Path) -> Run:
    """Return a finished run; raise InputError for a folder that is none."""
    run = records.read(folder)
    if not run.summary:
        raise InputError(
            f"{folder / 'summary.json'}: missing or empty, the run is not finished; continue it with: "
            f"python -m experiments.resume {folder}"
        )
    return run


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Return the groups in the order of their first run, named by variant and by the flags in which they differ."""
    together: dict[str, list[Run]] = {}
    for run in runs:
        same = [run.description["family"], run.description["variant"], _settings(run)]
        together.setdefault(json.dumps(same, sort_keys=True), []).append(run)
    firsts = [members[0] for members in together.values()]
    names: Counter[str] = Counter()
    groups = []
    for place, members in enumerate(together.values()):
        name = _name(members[0], firsts)
        names[name] += 1
        if names[name] > 1:
            name += f" ({names[name]})"
        groups.append(Group(name, members, page.SERIES[place % len(page.SERIES)]))
    return groups


def _settings(run: Run) -> dict[str, Any]:
    flat = records.flatten(run.description["config"])
    return {name: value for name, value in flat.items() if name not in INCIDENTAL}


def _name(run: Run, others: Sequence[Run]) -> str:
    variant = run.description["variant"]
    siblings = [_settings(other) for other in others if other.description["variant"] == variant]
    settings = _settings(run)
    differing = [key for key in settings if any(other.get(key) != settings[key] for other in siblings)]
    differing.sort(key=lambda key: key != "preset")
    flags = [f"--{key.replace('_', '-')} {settings[key]}" for key in differing[:3]]
    more = [f"+{len(differing) - 3} more"] if len(differing) > 3 else []
    return " ".join([str(variant), *flags, *more])


def warnings(groups: Sequence[Group]) -> list[str]:
    """Return what a reader must know before believing the table."""
    found = []
    for group in groups:
        n = len(group.runs)
        if n < FEWEST:
            found.append(f"{group.name}: {n} seed{'s' if n > 1 else ''}; an interval needs at least {FEWEST}")
        seeds = Counter(run.description["seed"] for run in group.runs)
        twice = [str(seed) for seed, count in seeds.items() if count > 1]
        if twice:
            found.append(f"{group.name}: more than one run of seed {', '.join(twice)}: not independent")
    for what, values in comparable([(group.name, run) for group in groups for run in group.runs]).items():
        listed = "; ".join(f"{value} ({name})" for value, name in values.items())
        found.append(f"not comparable, {what} differs: {listed}")
    return found


def tabulate(group: Group) -> list[tuple[str, list[str]]]:
    """Return for each main metric: last step, start, difference within runs, REAL: mean ± half of the interval."""
    rows = []
    for key in records.MAIN:
        if not any(key in run.summary for run in group.runs):
            continue
        summaries = [run.summary for run in group.runs]
        last, start, real = ([s[name] for s in summaries if name in s] for name in (key, f"mle/{key}", f"real/{key}"))
        gained = [s[key] - s[f"mle/{key}"] for s in summaries if key in s and f"mle/{key}" in s]
        rows.append((key, [_cell(interval(values), len(summaries)) for values in (last, start, gained, real)]))
    return rows


def _cell(found: Interval, expected: int) -> str:
    text = page.number(found.mean)
    if found.low == found.low:
        text += f" ± {page.number((found.high - found.low) / 2)}"
    return text + (f" (n = {found.n})" if 0 < found.n < expected else "")


def in_plain_text(tables: Sequence[tuple[Group, list[tuple[str, list[str]]]]]) -> str:
    """Return the tables with aligned columns."""
    heads = ["", *COLUMNS]
    lines = [[f"  {key}", *cells] for _, rows in tables for key, cells in rows]
    widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]

    def aligned(line: Sequence[str]) -> str:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        return "   ".join([line[0].ljust(widths[0]), *cells]).rstrip()

    out = [aligned(heads)]
    for group, rows in tables:
        out.append(f"{group.name}, n = {len(group.runs)}")
        out += [aligned([f"  {key}", *cells]) for key, cells in rows]
    return "\n".join(out)


def main(arguments: Sequence[str]) -> None:
    """Print the table and the verdicts, and write the page."""
    asked = one_line_errors(
        lambda: tyro.cli(Arguments, prog="python -m experiments.compare", description=__doc__, args=arguments)
    )
    if not asked.run_dirs:
        raise InputError("command line: name at least one run's folder")
    runs = [load(folder) for folder in {folder.resolve(): folder for folder in asked.run_dirs}.values()]
    groups = group_runs(runs)
    concerns = warnings(groups)
    tables = [(group, tabulate(group)) for group in groups]
    print(in_plain_text(tables))
    parts = [(group.name, group.runs, group.colour) for group in groups]
    trade_offs = []
    for x, y in records.TRADE_OFFS:
        figure = trade_off_figure(parts, x, y)
        if figure:
            verdicts = [(name, words) for name, members, _ in parts if (words := compare_curves(members, x, y))]
            trade_offs.append((f"{x} against {y}", figure, verdicts))
            print("\n".join(["", f"{x} against {y}, below = better", *(f"  {a}: {b}" for a, b in verdicts)]))
    keys = dict.fromkeys(key for run in runs for key in run.metrics())
    values = {
        "title": "Comparison of runs",
        "runs": len(runs),
        "groups": groups,
        "warnings": concerns,
        "columns": COLUMNS,
        "tables": tables,
        "trade_offs": trade_offs,
        "panels": [(key, learning_figure(parts, key)) for key in records.in_order(keys)],
    }
    path = page.save(asked.output, page.render(BODY, values))
    print(f"\npage: {path}", flush=True)
    for concern in concerns:
        warn(concern)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
