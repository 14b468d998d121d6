"""Retrieval runs side by side: metrics over seeds, paired differences from the first group, what no ranking shows."""

from collections.abc import Sequence

from experiments import comparison
from experiments.comparison import Group, Section, Table, cell
from experiments.page import number
from experiments.report_irgan import MEANING
from experiments.statistics import interval

COLUMNS = ("p@3", "p@5", "p@10", "ndcg@3", "ndcg@5", "ndcg@10", "map", "mrr", "coverage@10", "cpu_seconds")
OTHERS = ("start/p@5", "last/p@5", "discriminator/p@5", "d/share_of_item", "d/norm_users", "g/entropy")
NOTE = (
    "Means over seeds ± half of their 95 % t-interval, on test data, of the round that validation chose. Popularity: "
    "documents by how many queries they were relevant to in training."
)
DIFFERENCE = "Means over the seeds that both groups have, of what a run has more than {}'s of its seed."
BESIDE = "Before the game, after it, the discriminator's own rankings, and how personal its verdicts are."


def sections(groups: Sequence[Group]) -> list[Section]:
    """Return the tables and the curves."""
    tables = [at_the_chosen(groups), *against_the_first(groups), beside(groups)]
    return [comparison.tables(tables, MEANING), comparison.panels(groups, meaning=MEANING)]


def at_the_chosen(groups: Sequence[Group]) -> Table:
    """Return a row for each group, popularity last."""
    keys = present(groups, COLUMNS)
    rows = [(name_of(group), [str(len(group.runs)), *cells(group, keys)]) for group in groups]
    runs = [run for group in groups for run in group.runs]
    counted = [[run.summary[f"popularity/{key}"] for run in runs if f"popularity/{key}" in run.summary] for key in keys]
    if any(counted):
        rows.append(("popularity", ["", *(number(interval(found).mean if found else None) for found in counted)]))
    return Table("At the round that validation chose", ["n", *keys], [("", rows)], NOTE)


def against_the_first(groups: Sequence[Group]) -> list[Table]:
    """Return each group's gain over the first, seed by seed; nothing where there is no other."""
    first, *others = groups
    keys = present(groups, [key for key in COLUMNS if key != "cpu_seconds"])
    theirs = {run.description["seed"]: run.summary for run in first.runs}
    rows = []
    for group in others:
        pairs = [(run.summary, theirs[seed]) for run in group.runs if (seed := run.description["seed"]) in theirs]
        gains = [[mine[key] - other[key] for mine, other in pairs if key in mine and key in other] for key in keys]
        rows.append((name_of(group), [str(len(pairs)), *(gain(found) for found in gains)]))
    title = f"More than {name_of(first)}"
    return [Table(title, ["n", *keys], [("", rows)], DIFFERENCE.format(name_of(first)))] if rows else []


def beside(groups: Sequence[Group]) -> Table:
    """Return what the rankings of the chosen round do not show."""
    keys = present(groups, OTHERS)
    return Table("Beside it", keys, [("", [(name_of(group), cells(group, keys)) for group in groups])], BESIDE)


def present(groups: Sequence[Group], keys: Sequence[str]) -> list[str]:
    """Return the numbers that any run has."""
    return [key for key in keys if any(key in run.summary for group in groups for run in group.runs)]


def cells(group: Group, keys: Sequence[str]) -> list[str]:
    """Return means and intervals of what the runs of a group measured."""
    values = [[run.summary[key] for run in group.runs if key in run.summary] for key in keys]
    return [cell(interval(found), len(group.runs)) if found else number(None) for found in values]


def gain(differences: Sequence[float]) -> str:
    """Return a mean difference and half of its interval."""
    return cell(interval(differences), len(differences)) if differences else number(None)


def name_of(group: Group) -> str:
    """Return the group's name, and whether its round was chosen on test."""
    return group.name + (" (chosen on test)" if group.runs[0].summary.get("selected_on_test") else "")
