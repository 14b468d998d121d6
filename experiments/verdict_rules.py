"""Which published gains survive: plain rules over runs of one task, the same for every method."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from experiments import records
from experiments.comparison import Group
from experiments.equal_quality import against, against_start, is_control, start_of
from experiments.frontier import Verdict
from experiments.records import Run
from experiments.statistics import FEWEST, Interval, interval, widest
from seqgan.metrics.collapse import FAR_BELOW, REPEATED

Label = Literal[
    "survives", "as without a discriminator", "by sharpening alone", "by collapse", "no gain", "not reached",
    "unverified",
]  # fmt: skip
OWN_CONTROLS = {"seqgan-trust": ("trust",)}  # of a variant that has its own; of all others these:
COMMON_CONTROLS = ("seqgan-constant", "seqgan-noise")
RULES = (
    f"**unverified**: no run, fewer than {FEWEST} seeds, fewer than {FEWEST} in common with a control that was run, "
    "no maximum-likelihood start with a temperature curve, or a gain over it and no control that was run.",
    "**survives**: at equal quality the last step pays less than its own maximum-likelihood start does at any "
    "temperature, and less than each control that was run on the task: the mean difference over the whole range of "
    "quality that both have is below zero with an interval that leaves out zero, and no seed is without such a range.",
    f"**by collapse**: otherwise, and at the last step distinct_2, the tokens used or exp(entropy) is below "
    f"{FAR_BELOW:g} of REAL's, or the share of unique sentences is more than {REPEATED:g} below REAL's.",
    "**no gain**: otherwise, and the quality of the last step is not better than the start's, by the same interval.",
    "**not reached**: otherwise, and there is no quality that it has in common with its start, or with a control "
    "although it lies below its start.",
    "**by sharpening alone**: otherwise, and it does not lie below the start's temperature curve: a temperature does "
    "as much.",
    "**as without a discriminator**: otherwise: it lies below its start, but not below a control that no "
    "discriminator pays.",
)


@dataclass(frozen=True)
class Ruling:
    """What the rules say of one group, and from what."""

    label: Label
    pair: tuple[str, str]
    """the quality, and what is paid for it"""
    gain: Interval
    """quality at the last step less the start's, within runs"""
    start: Verdict
    controls: tuple[tuple[str, Verdict], ...]
    signs: tuple[str, ...]
    """of collapse"""


def rule(group: Group, groups: Sequence[Group]) -> Ruling:
    """Return the ruling on a group among the groups of its task."""
    names = OWN_CONTROLS.get(variant(group), COMMON_CONTROLS)
    given = [other for other in groups if variant(other) in names]
    everyone = [run for other in groups for run in other.runs]
    x, y = pair_of([group, *given])
    start = against_start(group.runs, x, y, everyone)
    controls = tuple((other.name, against(group.runs, other.runs, x, y)) for other in given)
    gain, signs = quality_gain(group.runs, x, everyone), signs_of_collapse(group.runs)
    return Ruling(label(group, gain, start, [v for _, v in controls], signs), (x, y), gain, start, controls, signs)


def label(group: Group, gain: Interval, start: Verdict, controls: Sequence[Verdict], signs: Sequence[str]) -> Label:
    """Apply the rules in their order."""
    few = len(group.runs) < FEWEST or any(control.pairs < FEWEST for control in controls)
    if few or any(verdict.met and not verdict.certain for verdict in (start, *controls)):
        return "unverified"
    if below(start) and controls and all(below(control) for control in controls):
        return "survives"
    if signs:
        return "by collapse"
    if gain.n >= FEWEST and not gain.high < 0:
        return "no gain"
    if start.pairs < FEWEST:
        return "unverified"
    if not start.met or (below(start) and any(not control.met for control in controls)):
        return "not reached"
    if not below(start):
        return "by sharpening alone"
    return "as without a discriminator" if controls else "unverified"


def below(verdict: Verdict) -> bool:
    """Return whether ours pays less at equal quality, beyond what seeds explain; every seed must have met."""
    return not verdict.missed and verdict.met and verdict.certain and verdict.overall.side == "below"


def pair_of(groups: Sequence[Group]) -> tuple[str, str]:
    """Return the pair of metrics that decides: the first that a temperature curve of every group has."""
    for x, y in records.TRADE_OFFS:
        curves = [run.curves.get("last", []) for group in groups for run in group.runs]
        if curves and all(any(x in point and y in point for point in curve) for curve in curves):
            return x, y
    measured = [p for p in records.TRADE_OFFS if any(p[0] in run.summary for group in groups for run in group.runs)]
    return measured[0] if measured else records.TRADE_OFFS[0]


def quality_gain(runs: Sequence[Run], x: str, others: Sequence[Run]) -> Interval:
    """Return the quality of the last step less the start's within runs, negative where it is better."""
    sign = -1 if x in records.BETTER_WHEN_HIGH else 1
    both = [(run.summary.get(x, math.nan), start_of(run, others)[0].get(x, math.nan)) for run in runs]
    return widest([sign * (last - start) for last, start in both if not math.isnan(last - start)])


def signs_of_collapse(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return in words what of the last step is far below REAL, as means over seeds."""
    found = []
    for key, words in (("distinct_2", "distinct_2"), ("tokens_used", "tokens used"), ("entropy", "exp(entropy)")):
        said, real = mean(runs, key), mean(runs, f"real/{key}")
        share = math.exp(said - real) if key == "entropy" else said / real if real else math.nan
        if share < FAR_BELOW:
            found.append(f"{words} {share:.0%} of REAL's")
    said, real = mean(runs, "unique"), mean(runs, "real/unique")
    if said < real - REPEATED:
        found.append(f"{said:.0%} of the sentences unique, REAL's {real:.0%}")
    return tuple(found)


def mean(runs: Sequence[Run], key: str) -> float:
    """Return the mean over the runs that have a number; nan if none has."""
    return interval([run.summary[key] for run in runs if key in run.summary]).mean


def variant(group: Group) -> str:
    """Return the variant that a group is of."""
    return str(group.runs[0].description["variant"])


def is_method(group: Group) -> bool:
    """Return whether a group is ruled on: a discriminator pays it."""
    return not is_control(group)
