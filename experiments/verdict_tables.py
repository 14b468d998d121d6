"""The tables of the verdict page: what was published, and what runs of ours say, task by task."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments import frontier, records
from experiments.comparison import Group, cell
from experiments.comparison_text import WIDE
from experiments.equal_quality import against, against_start, distances_to_start, is_control, pretrained, start_of
from experiments.page import number
from experiments.published_text import Published, Row, Spread
from experiments.records import Run
from experiments.statistics import interval, widest
from experiments.verdict_rules import Ruling, is_method, variant

NONE = number(None)
REFERENCES = {"real/": "REAL", "kn5/": "5-gram", "uniform/": "uniform"}


@dataclass(frozen=True)
class Task:
    """Runs that were measured on the same thing, and what was published on it."""

    title: str
    published: Published
    groups: tuple[Group, ...]

    @property
    def runs(self) -> list[Run]:
        """Return all runs."""
        return [run for group in self.groups for run in group.runs]

    def of(self, name: str) -> list[Group]:
        """Return the groups of a variant."""
        return [group for group in self.groups if variant(group) == name]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], others: str = "---:") -> str:
    """Return a table in Markdown: the first column to the left, the others, unless said otherwise, to the right."""
    lines = [list(heads), ["---", *(others for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def rulings(task: Task, ruled: Mapping[str, Ruling]) -> list[list[str]]:
    """Return the rows of the first table: each published claim and each method of ours, ruled upon."""
    rows = []
    for claim in task.published.claims():
        groups = task.of(claim.variant)
        if not groups:
            rows.append([claim.method, task.title, claimed(task, claim), NONE, NONE, NONE, "**unverified**", "no run"])
        rows += [ruling_row(task, group, claimed(task, claim), ruled[group.name]) for group in groups]
    known = {claim.variant for claim in task.published.claims()}
    others = [group for group in task.groups if is_method(group) and variant(group) not in known]
    return rows + [ruling_row(task, group, NONE, ruled[group.name]) for group in others]


RULINGS = ("", "task", "published", "ours, start to last step", "against its start", "against controls", "", "remarks")


def claimed(task: Task, row: Row) -> str:
    """Return "nll_oracle 9.038 to 8.736"."""
    key = task.published.quality
    return f"{key} {number(task.published.mle())} to {spread(row.values[key])}"


def ruling_row(task: Task, group: Group, claim: str, found: Ruling) -> list[str]:
    """Return one method's row."""
    key = task.published.quality or found.pair[0]
    start = [value for run in group.runs for k, value in start_of(run, task.runs)[0].items() if k == key]
    last = [run.summary[key] for run in group.runs if key in run.summary]
    ours = f"{key} {number(interval(start).mean)} to {cell(interval(last), len(group.runs))}"
    controls = "; ".join(f"{name}: {briefly(verdict)}" for name, verdict in found.controls) or "none run"
    remarks = [f"n = {len(group.runs)}", *found.signs]
    if not all(pretrained(run) for run in group.runs):
        remarks.append(f"not pretrained: {'its start is' if start else 'there is no'} `mle` of the same seed")
    label = f"**{found.label}**"
    return [group.name, task.title, claim, ours, briefly(found.start), controls, label, "; ".join(remarks)]


def briefly(verdict: frontier.Verdict) -> str:
    """Return the mean difference over the whole range, in the metric that is paid."""
    if not verdict.met:
        return "never reached" if verdict.pairs else "no common seed"
    never = f"; {verdict.missed} of {verdict.pairs} seeds never reached" if verdict.missed else ""
    return f"{verdict.y} {frontier.bracketed(verdict.overall.difference)}{never}"


def oracle_table(task: Task) -> str:
    """Return the oracle's table: published quality, ours with coverage, and the start read at the same quality."""
    heads = (
        "",
        "published nll_oracle",
        "nll_oracle",
        "nll_test",
        "sum",
        "distinct_2",
        "start there",
        "difference",
        "seeds",
    )
    rows = []
    for prefix, name in REFERENCES.items():
        said = [p for p in task.published.rows if p.method == name.lower()]
        if any(f"{prefix}nll_oracle" in run.summary for run in task.runs):
            rows.append([name, printed(said), *measured(task.runs, prefix), NONE, NONE, ""])
    for names, runs in starts(task.groups):
        rows.append([f"start of {', '.join(names)}", "", *measured(runs, "mle/"), NONE, NONE, str(len(runs))])
    shown = {"real", "uniform"} if rows else set()
    for name, said in by_variant(task):
        rows += [[group.name, printed(said), *at_last(task, group)] for group in task.of(name)]
        if not task.of(name):
            rows.append([said[0].method, printed(said), "unverified", *[NONE] * 5, "0"])
    for row in task.published.rows:
        if not row.variant and row.method not in shown:
            rows.append([row.method, printed([row]), *[""] * 7])
    return table(heads, rows)


def by_variant(task: Task) -> list[tuple[str, list[Row]]]:
    """Return the variants, as published first and then ours, controls last, with their published rows."""
    found: dict[str, list[Row]] = {}
    for row in task.published.rows:
        if row.variant:
            found.setdefault(row.variant, []).append(row)
    for group in sorted(task.groups, key=is_control):
        found.setdefault(variant(group), [])
    return list(found.items())


def starts(groups: Sequence[Group]) -> list[tuple[list[str], list[Run]]]:
    """Return the maximum-likelihood starts that learned, those with the same numbers together."""
    found: dict[tuple[str, ...], tuple[list[str], list[Run]]] = {}
    for group in groups:
        runs = [run for run in group.runs if pretrained(run) and "mle/nll_oracle" in run.summary]
        if runs and variant(group) != "mle":
            found.setdefault(tuple(measured(runs, "mle/")), ([], runs))[0].append(group.name)
    return list(found.values())


def measured(runs: Sequence[Run], prefix: str = "") -> list[str]:
    """Return nll_oracle, nll_test, their sum and distinct_2, mean ± half of the interval."""
    keys = [prefix + key for key in ("nll_oracle", "nll_test", "distinct_2")]
    quality, test, distinct = ([run.summary[key] for run in runs if key in run.summary] for key in keys)
    sums = [
        run.summary[keys[0]] + run.summary[keys[1]] for run in runs if keys[0] in run.summary and keys[1] in run.summary
    ]
    return [cell(interval(values), len(runs)) for values in (quality, test, sums, distinct)]


def at_last(task: Task, group: Group) -> list[str]:
    """Return the last step, the start's nll_test at the same nll_oracle, how much ours is less, and the seeds."""
    x, y = "nll_oracle", "nll_test"
    having = [run for run in group.runs if x in run.summary and y in run.summary]
    distances = distances_to_start(having, x, y, task.runs)
    reached = [(r.summary[y] - d, d) for r, d in zip(having, distances, strict=True) if not math.isnan(d)]
    there, less = interval([value for value, _ in reached]), widest([d for _, d in reached])
    beside = [cell(there, len(group.runs)), frontier.bracketed(less)] if reached else ["never reached", NONE]
    return [*measured(group.runs), *beside, str(len(group.runs))]


def text_table(task: Task) -> str:
    """Return a corpus's table: published rows as printed, and ours under them."""
    ours = [key for key in WIDE if any(key in run.summary for run in task.runs)]
    published = task.published.columns
    keys = [key for key in dict.fromkeys((*published, *ours)) if key in ours or key in published]
    rows = []
    for prefix, name in REFERENCES.items():
        if any(key.startswith(prefix) for run in task.runs for key in run.summary):
            rows.append([name, *summary_cells(task.runs, [prefix + key for key in keys]), ""])
    for name, said in by_variant(task):
        for row in said:
            label = f"{row.method}, published ({row.source}){' (?)' if row.recalled else ''}"
            rows.append([label, *(spread(row.values.get(key, (math.nan, math.nan))) for key in keys), ""])
        for group in task.of(name):
            seeds = str(len(group.runs))
            rows.append([f"**{group.name}, ours**", *summary_cells(group.runs, keys), seeds])
        if not task.of(name):
            rows.append([f"**{name}, ours**", "unverified", *[NONE] * (len(keys) - 1), "0"])
    for row in task.published.rows:
        if not row.variant:
            values = (spread(row.values.get(key, (math.nan, math.nan))) for key in keys)
            rows.append([f"{row.method}, published ({row.source})", *values, ""])
    return table(["", *keys, "seeds"], rows)


def summary_cells(runs: Sequence[Run], keys: Sequence[str]) -> list[str]:
    """Return for each key mean ± half of the interval over the runs that have it."""
    values = [[run.summary[key] for run in runs if key in run.summary] for key in keys]
    return [cell(interval(found), len(runs)) for found in values]


def printed(rows: Sequence[Row]) -> str:
    """Return the published nll_oracle of rows with their sources."""
    return "; ".join(f"{spread(row.values['nll_oracle'])} ({row.source})" for row in rows) or NONE


def spread(value: Spread) -> str:
    """Return a published number, and what is printed after it as its spread."""
    return number(value[0]) + (f" ± {number(value[1])}" if value[1] == value[1] else "")


def frontiers(task: Task) -> list[str]:
    """Return the sentences of one task: each group against its start and against each control."""
    lines = []
    for x, y in records.TRADE_OFFS:
        groups = [group for group in task.groups if any(over_temperatures(run, x, y) for run in group.runs)]
        lines += [f"\n{y} at equal {x}:\n"] if groups else []
        for group in groups:
            said = [] if variant(group) == "mle" else [("its start", against_start(group.runs, x, y, task.runs))]
            others = [other for other in groups if is_control(other) and variant(other) != "mle" and other is not group]
            said += [(other.name, against(group.runs, other.runs, x, y)) for other in others if not is_control(group)]
            lines += [
                f"- **{group.name}** against {name}: {frontier.describe(found)}." for name, found in said if found.pairs
            ]
    return lines


def over_temperatures(run: Run, x: str, y: str) -> bool:
    """Return whether a run has a curve in two metrics."""
    return any(x in point and y in point for point in run.curves.get("last", []))
