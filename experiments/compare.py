"""Runs side by side: `python -m experiments.compare RUN_DIR... [--output compare.html]`.

Runs that differ in nothing but the seed make a group. Of each group: mean and 95 % interval over seeds beside the
maximum-likelihood start and REAL, or between random actions and the expert, and learning curves.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments import (
    comparison,
    comparison_gail,
    comparison_image,
    comparison_irgan,
    comparison_lm,
    comparison_text,
    page,
    records,
)
from experiments.comparison import Group, Section, comparable
from experiments.config import one_line_errors
from experiments.records import Run
from experiments.statistics import FEWEST
from rl.runtime import rundir
from rl.runtime.errors import InputError, exit_codes, warn

# A run may differ in these and still be the same experiment.
INCIDENTAL = (
    "seed",
    "data_seed",  # what the draws of an oracle, and which sentences are held out, add to the spread over seeds
    "run_dir",
    "save_seconds",
    "film",
    "cache",
    "log_every",
    "runtime.device",
    "runtime.threads",
    "runtime.compile",
)
PRETRAINING = (
    "seed", "data_seed", "generator", "embedding", "hidden", "layers", "dropout", "mle_epochs", "mle_batch", "mle_lr",
    "mle_decay", "mle_best",
)  # fmt: skip
MEASURED_MEANWHILE = {"text_gan": ("evaluate_every", "evaluate_samples")}  # seen in the learning curves alone
FAMILIES = {
    "text_gan": comparison_text.sections,
    "gail": comparison_gail.sections,
    "irgan": comparison_irgan.sections,
    "lm_gan": comparison_lm.sections,
    "image_gan": comparison_image.sections,
}

BODY = """
<h1>Comparison</h1>
<p class="soft">{{ runs }} runs in {{ groups | length }} groups; means over seeds with 95 % t-intervals.</p>
{% for warning in warnings %}<p class="warning">{{ warning }}</p>{% endfor %}
<ul class="legend">{% for method, (colour, n) in methods.items() %}
<li><i style="color: var(--{{ colour }})"></i>{{ method }}, n = {{ n }}</li>
{% endfor %}</ul>

{% for section in sections %}{{ section.html }}{% endfor %}
<h2>Runs</h2>
{% for group in groups %}<details><summary>{{ group.name }}</summary>
<ul>{% for run in group.runs %}<li>{{ run.folder }}, seed {{ run.description.seed }}:
<code>{{ run.description.get("command") or "" }}</code></li>{% endfor %}</ul></details>
{% endfor %}
"""


@dataclass(frozen=True)
class Arguments:
    """Put runs side by side: means and intervals over seeds, learning curves, quality against diversity."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """folders of finished runs"""
    output: Path = Path("compare.html")
    """where the page is written"""


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
    several = len({run.task for run in firsts}) > 1
    seen: Counter[tuple[str, str]] = Counter()
    colours: dict[str, str] = {}
    groups = []
    for members in together.values():
        method, task = _method(members[0], firsts), members[0].task
        seen[method, task] += 1
        if seen[method, task] > 1:
            method += f" ({seen[method, task]})"
        colour = colours.setdefault(method, page.SERIES[len(colours) % len(page.SERIES)])
        groups.append(Group(f"{method}, {task}" if several and task else method, members, colour, method, task))
    return groups


def _settings(run: Run) -> dict[str, Any]:
    flat = records.flatten(run.description["config"])
    if flat.get("start_from"):
        flat["start_from"] = _start(Path(str(flat["start_from"])), flat, run.description["seed"])
    free = (*INCIDENTAL, *MEASURED_MEANWHILE.get(run.description["family"], ()))
    return {name: value for name, value in flat.items() if name not in free}


def _start(start: Path, flat: Mapping[str, Any], seed: int) -> str | None:
    """Name the run that one starts from, None where that was pretrained as this one would have been by itself."""
    try:
        other = records.flatten(rundir.read_config(start)["config"])
    except InputError:  # it is elsewhere
        other = {}
    if other and all(other.get(name) == flat.get(name) for name in PRETRAINING):
        return None
    return re.sub(rf"(?<!\d){seed}(?!\d)", "SEED", start.name)  # each seed may start from a run of its own


def _method(run: Run, others: Sequence[Run]) -> str:
    """Name the variant, and the flags in which its groups differ although they have the same task."""
    siblings = [other for other in others if other.description["variant"] == run.description["variant"]]
    by_task: dict[str, list[dict[str, Any]]] = {}
    for other in siblings:
        by_task.setdefault(other.task, []).append(_settings(other))
    settings = _settings(run)
    differing = [
        key
        for key in settings
        if any(other.get(key) != alike[0].get(key) for alike in by_task.values() for other in alike)
    ]
    differing.sort(key=lambda key: key != "preset")
    flags = [f"--{key.replace('_', '-')} {settings[key]}" for key in differing[:3]]
    more = [f"+{len(differing) - 3} more"] if len(differing) > 3 else []
    return " ".join([str(run.description["variant"]), *flags, *more])


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
    tasks = {group.method: [other.task for other in groups if other.method == group.method] for group in groups}
    everywhere = dict.fromkeys(group.task for group in groups)
    for method, its in tasks.items():
        missing = [task for task in everywhere if task not in its]
        if missing:
            found.append(f"{method}: no run in {', '.join(missing)}: means over environments are of other environments")
    return found


def compare(groups: Sequence[Group]) -> list[Section]:
    """Return what each family has to say of its groups."""
    families = sorted({str(group.runs[0].description["family"]) for group in groups})
    found = []
    for family in families:
        members = [group for group in groups if group.runs[0].description["family"] == family]
        found += FAMILIES.get(family, comparison.sections)(members)
    return found


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
    sections = compare(groups)
    print("\n\n".join(section.text for section in sections if section.text))
    values = {
        "title": "Comparison of runs",
        "runs": len(runs),
        "groups": groups,
        "methods": {
            group.method: (group.colour, sum(len(g.runs) for g in groups if g.method == group.method))
            for group in groups
        },
        "warnings": concerns,
        "sections": sections,
    }
    path = page.save(asked.output, page.render(BODY, values))
    print(f"\npage: {path}", flush=True)
    for concern in concerns:
        warn(concern)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
