"""Imitation runs side by side: returns between random actions and the expert, over seeds and over environments."""

from collections.abc import Sequence

from markupsafe import Markup

from experiments import comparison, page, records
from experiments.comparison import Group, Section, Table, cell, learning_figure
from experiments.page import number
from experiments.report_gail import AXES, MEANING
from experiments.statistics import Estimate, improvement, interval, iqm

MEANS = ("return_mean", "return_normalised")
BOUNDS = {"return_expert": ("ink", "the expert's demonstrations"), "return_random": ("soft", "random actions")}
COSTS = ("env_steps", "cpu_seconds", "solved_env_steps", "solved_cpu_seconds")
NOTE = (
    "Means over seeds ± half of their 95 % t-interval. IQM: the interquartile mean of the normalised return with its "
    "95 % bootstrap interval, too narrow for fewer than about ten runs (Agarwal et al. 2021)."
)
COST_NOTE = "Training alone, on all threads. Solved: until three measurements in a row were within 5 % of the expert."
OVER_NOTE = (
    "Normalised returns of all runs in all environments. IQM and the probability that a run is better than one of {}, "
    "in the same environment, with 95 % intervals from runs drawn anew within each environment (Agarwal et al. 2021)."
)
RETURNS = """
<h2>Return</h2>
<p class="soft">Means over seeds; the bands are 95 % intervals where there are at least three.</p>
<ul class="legend">{% for colour, name in levels %}
<li><i class="dashed" style="color: var(--{{ colour }})"></i>{{ name }}</li>{% endfor %}</ul>
{% for task, figures in tasks.items() %}<div class="grid">{% for words, figure in figures %}
<figure><figcaption>{{ task }}<small>over {{ words }}</small></figcaption>{{ figure }}</figure>
{% endfor %}</div>{% endfor %}


"""
DETAILS = """
<details><summary>Other metrics, {{ task }}</summary>{{ panels }}</details>

"""


def sections(groups: Sequence[Group]) -> list[Section]:
    """Return the tables, the returns over steps and CPU seconds, and the other metrics of each environment."""
    tables = comparison.tables([at_the_end(groups), *over_tasks(groups), costs(groups)], MEANING)
    return [tables, returns(groups), others(groups)]


def at_the_end(groups: Sequence[Group]) -> Table:
    """Return what the runs got at their last step, a block for each environment."""
    blocks = []
    for task, members in in_tasks(groups).items():
        rows = []
        for group in members:
            scores = values_of(group, "return_normalised")
            middle = estimate(iqm([scores])) if scores else number(None)
            rows.append((group.method, [str(len(group.runs)), *cells(group, MEANS), middle]))
        blocks.append((f"{task}: {bounds(members)}", rows))
    return Table("At the last step", ["n", *MEANS, "IQM"], blocks, NOTE)


def costs(groups: Sequence[Group]) -> Table:
    """Return what the runs took, a block for each environment."""
    keys = [key for key in COSTS if any(values_of(group, key) for group in groups)]
    blocks = [
        (task, [(group.method, [str(len(group.runs)), *cells(group, keys)]) for group in members])
        for task, members in in_tasks(groups).items()
    ]
    return Table("What it took", ["n", *keys], blocks, COST_NOTE)


def cells(group: Group, keys: Sequence[str]) -> list[str]:
    """Return means and intervals of what the runs of a group measured."""
    return [cell(interval(values_of(group, key)), len(group.runs)) for key in keys]


def over_tasks(groups: Sequence[Group]) -> list[Table]:
    """Return one line for each method over all its environments, the first beside itself; none if there is but one."""
    scores = normalised(groups)
    if len(scores) < 2 and len(in_tasks(groups)) < 2:
        return []
    first, against = next(iter(scores.items()))
    rows = []
    for method, tasks in scores.items():
        shared = [task for task in tasks if task in against]
        better = improvement([tasks[t] for t in shared], [against[t] for t in shared]) if shared else None
        runs = [value for values in tasks.values() for value in values]
        mine = [str(len(tasks)), str(len(runs)), number(interval(runs).mean), estimate(iqm(list(tasks.values())))]
        rows.append((method, [*mine, estimate(better) if better and method != first else number(None)]))
    columns = ["environments", "n", "mean", "IQM", f"better than {first}"]
    return [Table("Over all environments", columns, [("", rows)], OVER_NOTE.format(first))]


def normalised(groups: Sequence[Group]) -> dict[str, dict[str, list[float]]]:
    """Return {method: {task: normalised return of each run}}, without what nobody measured."""
    scores: dict[str, dict[str, list[float]]] = {}
    for group in groups:
        values = values_of(group, "return_normalised")
        if values:
            scores.setdefault(group.method, {})[group.task] = values
    return scores


def estimate(found: Estimate) -> str:
    """Return a value and its interval."""
    return number(found.value) + (f" [{number(found.low)}, {number(found.high)}]" if found.low == found.low else "")


def in_tasks(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Return the groups by environment, in the order of their first."""
    found: dict[str, list[Group]] = {}
    for group in groups:
        found.setdefault(group.task, []).append(group)
    return found


def bounds(groups: Sequence[Group]) -> str:
    """Return in words what the expert and random actions got in an environment, the mean over the runs."""
    means = {key: level_of(groups, key) for key in BOUNDS}
    return ", ".join(f"{key.removeprefix('return_')} {number(mean)}" for key, mean in means.items())


def returns(groups: Sequence[Group]) -> Section:
    """Return the return over steps and over CPU seconds in each environment."""
    tasks: dict[str, list[tuple[str, Markup]]] = {}
    for task, members in in_tasks(groups).items():
        means = [(level_of(members, key), colour) for key, (colour, _) in BOUNDS.items()]
        levels = [(mean, colour) for mean, colour in means if mean == mean]
        drawn = {words: learning_figure(members, "return_mean", over, levels) for over, words in AXES.items()}
        tasks[task] = list(drawn.items())
    return Section(page.fragment(RETURNS, {"tasks": tasks, "levels": list(BOUNDS.values())}))


def others(groups: Sequence[Group]) -> Section:
    """Return the other metrics over steps, folded away."""
    html = Markup()
    for task, members in in_tasks(groups).items():
        found = {key for group in members for run in group.runs for key in run.metrics()}
        keys = records.in_order(found - {"return_mean", "cpu_seconds"})
        panels = comparison.panels(members, keys, meaning=MEANING)
        html += page.fragment(DETAILS, {"task": task, "panels": panels.html})
    return Section(html)


def values_of(group: Group, key: str) -> list[float]:
    """Return a number of the summaries, of the runs that have it."""
    return [run.summary[key] for run in group.runs if key in run.summary]


def level_of(groups: Sequence[Group], key: str) -> float:
    """Return the mean over all runs of all groups."""
    return interval([value for group in groups for value in values_of(group, key)]).mean
