"""Which published gains of text GANs survive: `python -m experiments.verdict RUN_DIR... [--output docs/text_gans.md]`.

The page is made of runs; every number that is not from a run is a published one with its source.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments import compare, page, records, verdict_tables
from experiments.comparison import Group
from experiments.config import one_line_errors
from experiments.frontier import PLACES, Verdict
from experiments.page import number
from experiments.published_findings import FINDINGS, Finding
from experiments.published_text import COCO, EMNLP, ORACLE, ORACLE_40, SOURCES, Published
from experiments.records import Run
from experiments.report_text import on_the_papers_oracle
from experiments.statistics import RESAMPLES
from experiments.verdict_rules import RULES, Ruling, is_method, mean, rule, variant
from experiments.verdict_tables import Task
from rl.runtime.errors import InputError, exit_codes, warn
from rl.runtime.rundir import write_json

FAMILY = "text_gan"
NOTHING = Published("", (), ())
PUBLISHED = {
    "SeqGAN's oracle, 20 tokens": ORACLE,
    "COCO captions": COCO,
    "EMNLP2017 WMT news": EMNLP,
    "SeqGAN's oracle, 40 tokens": ORACLE_40,
}
ORACLE_20_TITLE, COCO_TITLE, EMNLP_TITLE, ORACLE_40_TITLE = PUBLISHED
GIVEN = {"classes": "classes", "prompt": "words given"}  # what makes a task conditional: nobody published it
ALWAYS = (ORACLE_20_TITLE, COCO_TITLE, EMNLP_TITLE)  # shown although nobody ran anything
EQUAL_QUALITY = (
    f"Temperature curves are read linearly at {PLACES} qualities inside the range that all curves have; differences "
    f"are taken within seeds. An interval is 95 %, the wider of Student's t and a percentile bootstrap over seeds "
    f'({RESAMPLES:,} resamples, fixed seed; of three seeds there are ten different ones). "Dominates" and "is '
    'dominated" hold at each quality for itself, not for all together; the mean over the whole range, on which the '
    "rules rest, is one test."
)
THERE = (
    "Start there: the start's nll_test at the temperature where its nll_oracle is the method's; difference: the "
    "method's nll_test less that."
)


@dataclass(frozen=True)
class Arguments:
    """Say which published gains of text GANs survive, from runs alone."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """folders of finished text runs"""
    output: Path = Path("docs/text_gans.md")
    """where the page is written"""
    json: Path | None = None
    """where the same is written as numbers; none: nowhere"""


def title_of(run: Run) -> str:
    """Return what a run was measured on, in words: one of the published tasks, or another."""
    settings = records.flatten(run.description["config"])
    corpus, length = str(settings.get("corpus")), settings.get("length") or 20
    given = "".join(f", {settings[key]} {words}" for key, words in GIVEN.items() if settings.get(key))
    if corpus != "oracle":
        name = Path(corpus).name
        return (COCO_TITLE if "coco" in name else EMNLP_TITLE if "emnlp" in name else name) + given
    if settings.get("oracle_params"):
        same = length != 20 or on_the_papers_oracle(run)
        return f"SeqGAN's oracle, {length} tokens{given}" if same else f"{settings['oracle_params']}, 20 tokens{given}"
    size, draw = settings.get("vocabulary"), settings.get("data_seed", 0)
    return f"an oracle of ours: {size} words, {length} tokens, draw {draw}{given}"


def find_tasks(runs: Sequence[Run]) -> list[Task]:
    """Return the tasks, the published first; groups in the order of their names, runs in that of their seeds."""
    by_title: dict[str, list[Run]] = {title: [] for title in ALWAYS}
    for run in sorted(runs, key=lambda run: (run.description["variant"], run.description["seed"], str(run.folder))):
        by_title.setdefault(title_of(run), []).append(run)
    order = [*PUBLISHED, *sorted(set(by_title) - set(PUBLISHED))]
    return [
        Task(title, PUBLISHED.get(title, NOTHING), tuple(compare.group_runs(by_title[title])))
        for title in order
        if title in by_title
    ]


def ruled(task: Task) -> dict[str, Ruling]:
    """Return the rulings on a task's methods by the name of their group."""
    return {group.name: rule(group, task.groups) for group in task.groups if is_method(group)}


def markdown(tasks: Sequence[Task]) -> str:
    """Return the page."""
    rulings = [row for task in tasks for row in verdict_tables.rulings(task, ruled(task))]
    count = sum(len(task.runs) for task in tasks)
    parts = [
        "# Text GANs: which published gains survive",
        f"Made by `python -m experiments.verdict` from {count} runs; all other numbers are published ones. Numbers are "
        "of the last step, at temperature 1 unless a temperature is named: mean ± half of the 95 % t-interval over "
        "seeds. Lower is better, but for BLEU, `distinct`, `unique` and `divergence`.",
        "## Which survive",
        verdict_tables.table(verdict_tables.RULINGS, rulings, "---"),
        "Against its start, against controls: mean difference at equal quality; negative: less is paid.",
        "The rules, in their order:",
        "\n".join(f"{place}. {words}" for place, words in enumerate(RULES, 1)),
        EQUAL_QUALITY,
    ]
    for task in tasks:
        oracle = task.published.quality == "nll_oracle" or any("nll_oracle" in run.summary for run in task.runs)
        made = verdict_tables.oracle_table(task) if oracle else verdict_tables.text_table(task)
        parts += [f"## {task.title[:1].upper()}{task.title[1:]}", made, *task.published.notes]
        parts += [THERE] if oracle else []
        parts += [f"Warning: {words}." for words in compare.warnings(task.groups)]
        lines = verdict_tables.frontiers(task)
        parts += ["### Over temperatures", "\n".join(lines).strip()] if lines else []
    parts += ["## What others found at equal quality", *(finding(found) for found in FINDINGS)]
    parts += ["## Sources", "(?): recalled, not read again.", sources()]
    parts += ["## Runs", *(listed(task) for task in tasks if task.groups)]
    return "\n\n".join(parts) + "\n"


def finding(found: Finding) -> str:
    """Return what others found, as a table."""
    rows = [[name, *(number(value) for value in values)] for name, values in found.rows]
    note = f"\n\n{found.note}" if found.note else ""
    return f"### {found.title}\n\n{SOURCES[found.source]}.{note}\n\n{verdict_tables.table(['', *found.columns], rows)}"


def sources() -> str:
    """Return where published numbers were read."""
    return "\n".join(f"- {key}: {words}" for key, words in SOURCES.items())


def listed(task: Task) -> str:
    """Return the runs of a task with their commits and commands."""
    lines = [f"### {task.title[:1].upper()}{task.title[1:]}\n"]
    for group in task.groups:
        for run in group.runs:
            said = run.description
            commit = str(said.get("commit") or "unknown")[:10]
            asked = asked_for(str(said.get("command") or ""))
            lines.append(f"- {group.name}, {run.folder.name}, seed {said['seed']}, commit {commit}: `{asked}`")
    return "\n".join(lines)


def asked_for(command: str) -> str:
    """Return a command with the names of its files alone: where they stood is one machine's business."""
    return " ".join(Path(word).name if "/" in word else word for word in command.split())


def numbers(tasks: Sequence[Task]) -> dict[str, Any]:
    """Return the page's numbers: by task and group the means, the ruling and what it rests on."""
    return {task.title: {group.name: in_numbers(task, group) for group in task.groups} for task in tasks}


def in_numbers(task: Task, group: Group) -> dict[str, Any]:
    """Return one group's numbers."""
    keys = sorted({key for run in group.runs for key in run.summary if "/" not in key})
    seeds = [run.description["seed"] for run in group.runs]
    found: dict[str, Any] = {"variant": variant(group), "seeds": seeds}
    found["means"] = {key: mean(group.runs, key) for key in keys}
    if is_method(group):
        ruling = rule(group, task.groups)
        found |= {"ruling": ruling.label, "pair": ruling.pair, "signs": ruling.signs, "start": plain(ruling.start)}
        found["controls"] = {name: plain(verdict) for name, verdict in ruling.controls}
    return found


def plain(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as numbers; nan where it was never reached."""
    parts = {"overall": verdict.overall, **{str(i): part for i, part in enumerate(verdict.stretches)}}
    rows = {name: {"from": p.first, "to": p.last, "side": p.side, **vars(p.difference)} for name, p in parts.items()}
    return {
        "overall": rows.pop("overall"),
        "stretches": list(rows.values()),
        "pairs": verdict.pairs,
        "missed": verdict.missed,
    }


def main(arguments: Sequence[str]) -> None:
    """Write the page, and print the rulings."""
    asked = one_line_errors(
        lambda: tyro.cli(Arguments, prog="python -m experiments.verdict", description=__doc__, args=arguments)
    )
    if not asked.run_dirs:
        raise InputError("command line: name at least one run's folder")
    runs = [compare.load(folder) for folder in {folder.resolve(): folder for folder in asked.run_dirs}.values()]
    for run in runs:
        if run.description["family"] != FAMILY:
            raise InputError(
                f"{run.folder / 'config.json'}: family {run.description['family']}: a text run is expected"
            )
    tasks = find_tasks(runs)
    path = page.save(asked.output, markdown(tasks))
    if asked.json:
        write_json(asked.json, numbers(tasks))
    for task in tasks:
        for name, ruling in ruled(task).items():
            print(f"{name}, {task.title}: {ruling.label}")
        for words in compare.warnings(task.groups):
            warn(f"{task.title}: {words}")
    print(f"\npage: {path}", flush=True)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
