"""Text runs at equal quality: beside their start over temperatures, and beside other runs of the same seeds."""

import math
from collections.abc import Sequence
from itertools import combinations

from experiments import comparison, frontier, records
from experiments.comparison import Group
from experiments.frontier import Frontier, Verdict
from experiments.page import number
from experiments.records import Point, Run
from experiments.statistics import FEWEST, Interval, interval, read_curve, widest

# variants that no discriminator pays
CONTROLS = ("seqgan-constant", "seqgan-noise", "trust", "rlvr", "rlvr-kl", "sft", "mle")


def start_of(run: Run, runs: Sequence[Run]) -> tuple[Point, list[Point]]:
    """Return summary and temperature curve of the maximum-likelihood start; both are empty where there is none.

    That of the run itself, or, if its start has learned nothing, the run of variant `mle` among `runs` that has the
    same seed and was measured on the same sentences.
    """
    if pretrained(run):
        start = {key.removeprefix("mle/"): value for key, value in run.summary.items() if key.startswith("mle/")}
        return start, run.curves.get("mle", [])
    for other in runs:
        same = other.description["variant"] == "mle" and other.description["seed"] == run.description["seed"]
        if same and comparable_runs(run, other):
            return other.summary, other.curves.get("last", [])
    return {}, []


def start_frontier(run: Run, runs: Sequence[Run], x: str, y: str) -> Frontier:
    """Return what the start pays for its qualities over temperatures."""
    return Frontier.of(start_of(run, runs)[1], x, y)


def last_frontier(run: Run, x: str, y: str) -> Frontier:
    """Return what the last step pays for its qualities over temperatures."""
    return Frontier.of(run.curves.get("last", []), x, y)


def at_last(run: Run) -> Point:
    """Return the last step as its curve has it, by as many samples as the start's; a run without one: its summary."""
    plain = [point for point in run.curves.get("last", []) if point.get("inverse_temperature") == 1.0]
    return plain[0] if plain else run.summary


def pretrained(run: Run) -> bool:
    """Return whether a run's start has learned: by epochs of its own, or in the run that it started from."""
    settings = records.flatten(run.description["config"])
    return bool(settings.get("mle_epochs", True) or settings.get("start_from"))


def comparable_runs(one: Run, other: Run) -> bool:
    """Return whether two runs' curves were measured on the same sentences, by as many samples at each temperature."""
    settings = [records.flatten(run.description["config"]) for run in (one, other)]
    samples = {flat.get("sweep_samples") for flat in settings}
    drawn = {flat.get("data_seed") for flat in settings if not flat.get("test")}  # a test file is no draw
    return (
        len(samples) == 1
        and len(drawn) <= 1
        and set(comparison.comparable([("", one), ("", other)])) <= {"final_samples"}
    )


def against_start(runs: Sequence[Run], x: str, y: str, others: Sequence[Run] = ()) -> Verdict:
    """Return how the last step's frontier lies beside the start's at equal quality."""
    pairs = [(last_frontier(run, x, y), start_frontier(run, others, x, y)) for run in runs]
    return frontier.judge([(a, b) for a, b in pairs if a.x and b.x], x, y)


def against(ours: Sequence[Run], theirs: Sequence[Run], x: str, y: str) -> Verdict:
    """Return how our last step's frontier lies beside theirs at equal quality, over the seeds that both have."""
    by_seed = {run.description["seed"]: run for run in reversed(theirs)}
    both = [(run, by_seed[seed]) for run in ours if (seed := run.description["seed"]) in by_seed]
    pairs = [(last_frontier(a, x, y), last_frontier(b, x, y)) for a, b in both if comparable_runs(a, b)]
    return frontier.judge([(a, b) for a, b in pairs if a.x and b.x], x, y)


def against_each_other(groups: Sequence[Group], x: str, y: str) -> list[tuple[Group, Group, str]]:
    """Return (ours, theirs, words) of every two groups measured on the same sentences; controls are theirs."""
    ordered = sorted(groups, key=is_control)
    found = []
    for ours, theirs in combinations(ordered, 2):
        if comparable_runs(ours.runs[0], theirs.runs[0]):
            verdict = against(ours.runs, theirs.runs, x, y)
            found.append((ours, theirs, frontier.describe(verdict)))
    return found


def is_control(group: Group) -> bool:
    """Return whether a group's generators were paid by no discriminator."""
    return group.runs[0].description["variant"] in CONTROLS


def compare_curves(runs: Sequence[Run], x: str, y: str, others: Sequence[Run] = ()) -> str:
    """Return in words where the last step lies beside the start's temperature curve; "" if no run has the curves."""
    having = [run for run in runs if {x, y} <= at_last(run).keys() and start_frontier(run, others, x, y).x]
    if not having:
        return ""
    distances = distances_to_start(having, x, y, others)
    reached = [distance for distance in distances if not math.isnan(distance)]
    where = number(interval([at_last(run)[x] for run in having]).mean)
    curve = f"Over temperatures: {frontier.describe(against_start(having, x, y, others))}."
    if not reached:
        missing = f"at the last step's {x} ({where}) there is no start to compare with: its curve does not reach there"
        return f"{missing}. {curve}"
    found = widest(reached)
    missed = len(distances) - len(reached)
    words = (
        f"at the last step's {x} (mean {where}), its {y} is {_signed(found)} the start's temperature curve, "
        f"{_conclusion(found)}"
    )
    words += f"; {missed} more did not reach it" if missed else ""
    return f"{words}. {curve}"


def distances_to_start(runs: Sequence[Run], x: str, y: str, others: Sequence[Run] = ()) -> list[float]:
    """Return how far each last step lies above its start's curve at its own x; nan where the curve does not reach."""
    starts = [start_frontier(run, others, x, y) for run in runs]
    places = [at_last(run) for run in runs]
    return [p[y] - read_curve(start.x, start.y, p[x]) for p, start in zip(places, starts, strict=True)]


def _signed(found: Interval) -> str:
    return f"{number(abs(found.mean))} {'below' if found.mean < 0 else 'above'}"


def _conclusion(found: Interval) -> str:
    if found.n < FEWEST:
        return f"n = {found.n}: too few seeds to say more"
    between = f"95 % interval of the difference {number(found.low)} to {number(found.high)}, n = {found.n}"
    return f"{between}: {frontier.OVERALL[frontier.side(found)]}"
