"""Quality against diversity over temperatures: how far one frontier lies below another at equal quality."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from experiments.page import number
from experiments.records import Point
from experiments.statistics import FEWEST, Interval, read_curve, widest

PLACES = 41  # of quality, evenly spaced, at which frontiers are read
ROUNDING = 1e-9  # what rounding may leave of no difference
Side = Literal["below", "above", "level"]
NOWHERE = Interval(0, math.nan, math.nan, math.nan)
OVERALL: dict[Side, str] = {"below": "better", "above": "worse", "level": "no clear difference"}
WORDS: dict[Side, str] = {"below": "dominates", "above": "is dominated", "level": "level"}
FEW_WORDS: dict[Side, str] = {"below": "below", "above": "above", "level": "level"}


@dataclass(frozen=True)
class Frontier:
    """One generator over temperatures: its qualities, and what it pays for each, lower is better."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    @classmethod
    def of(cls, points: Sequence[Point], x: str, y: str) -> "Frontier":
        """Take the points that have both metrics, in their order."""
        having = [point for point in points if x in point and y in point]
        return cls(tuple(point[x] for point in having), tuple(point[y] for point in having))


Pair = tuple[Frontier, Frontier]
"""ours and theirs, of one seed"""


@dataclass(frozen=True)
class Stretch:
    """Qualities from `first` to `last`, and the mean difference there: ours less theirs, over seeds."""

    first: float
    last: float
    difference: Interval
    side: Side
    """of the whole range that of its mean; of a part that of each of its places"""


@dataclass(frozen=True)
class Verdict:
    """What frontiers say at equal quality; `overall` is the whole range that all have, without a place if none."""

    x: str
    y: str
    overall: Stretch
    stretches: tuple[Stretch, ...]
    pairs: int
    """ours and theirs of one seed, that were given"""
    missed: int
    """of them, those that have no quality in common"""

    @property
    def met(self) -> bool:
        """Whether there is a quality that all pairs have, those without any left out."""
        return bool(self.stretches)

    @property
    def certain(self) -> bool:
        """Whether there are seeds enough for an interval."""
        return self.overall.difference.n >= FEWEST


def side(found: Interval) -> Side:
    """Tell on which side of zero a difference lies; of fewer than three seeds the mean decides."""
    low, high = (found.mean, found.mean) if found.n < FEWEST else (found.low, found.high)
    return "below" if high < -ROUNDING else "above" if low > ROUNDING else "level"


def judge(pairs: Sequence[Pair], x: str, y: str) -> Verdict:
    """Return how ours lie beside theirs, each pair read linearly at the same qualities, inside the ranges of all.

    Differences are taken within pairs. Intervals over pairs are the wider of t and bootstrap, at each place for
    itself: the stretches on which they agree are not tested together, the mean over the whole range is one test.
    """
    meeting = [pair for pair in pairs if _shared([pair])]
    grid = _shared(meeting)
    missed = len(pairs) - len(meeting)
    if not grid:
        return Verdict(x, y, Stretch(math.nan, math.nan, NOWHERE, "level"), (), len(pairs), missed)
    gaps = np.array([[_gap(pair, place) for place in grid] for pair in meeting])
    sides = [side(widest(gaps[:, i].tolist())) for i in range(len(grid))]
    parts = []
    for which, group in groupby(range(len(grid)), key=lambda i: sides[i]):
        places = list(group)
        difference = widest(gaps[:, places].mean(1).tolist())
        parts.append(Stretch(grid[places[0]], grid[places[-1]], difference, which))
    whole = widest(gaps.mean(1).tolist())
    return Verdict(x, y, Stretch(grid[0], grid[-1], whole, side(whole)), tuple(parts), len(pairs), missed)


def _shared(pairs: Sequence[Pair]) -> list[float]:
    """Return places of quality that all frontiers have; none if there are none."""
    frontiers = [frontier for pair in pairs for frontier in pair]
    if not frontiers or not all(frontier.x for frontier in frontiers):
        return []
    low, high = max(min(f.x) for f in frontiers), min(max(f.x) for f in frontiers)
    return np.linspace(low, high, PLACES).tolist() if low < high else [low] if low == high else []


def _gap(pair: Pair, place: float) -> float:
    ours, theirs = pair
    return read_curve(ours.x, ours.y, place) - read_curve(theirs.x, theirs.y, place)


def describe(verdict: Verdict) -> str:
    """Return a verdict in words: the whole range first, then its stretches if they differ."""
    x, whole = verdict.x, verdict.overall
    more = f"; {verdict.missed} more never reached" if verdict.missed and verdict.met else ""
    if not verdict.pairs:
        return "no seed that both have, measured alike over temperatures"
    if not verdict.met:
        return f"never reached: there is no {x} that both have"
    found = whole.difference
    if not verdict.certain:
        seeds = f"n = {found.n}: too few seeds for an interval"
        where = f"{FEW_WORDS[whole.side]} on average by {number(abs(found.mean))}"
        return f"{where} for {x} {span(whole)} ({seeds}){more}"
    parts = ", ".join(in_words(part, x) for part in verdict.stretches)
    if {part.side for part in verdict.stretches} == {whole.side}:
        return parts + more
    return f"{OVERALL[whole.side]} over {x} {span(whole)}, {_mean(whole)}; {parts}{more}"


def in_words(stretch: Stretch, x: str) -> str:
    """Return "dominates for lm_kn 2.900 to 3.400 by 0.050 [0.030, 0.070]"; a level stretch has no amount."""
    by = "" if stretch.side == "level" else f" by {amount(stretch)}"
    return f"{WORDS[stretch.side]} for {x} {span(stretch)}{by}"


def _mean(stretch: Stretch) -> str:
    words = {"below": "lower by", "above": "higher by", "level": "difference"}
    return f"on average {words[stretch.side]} {amount(stretch)}"


def span(stretch: Stretch) -> str:
    """Return the range of quality."""
    ends = number(stretch.first), number(stretch.last)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def amount(stretch: Stretch) -> str:
    """Return the size of a difference with its interval, positive in the direction of its side; signed if level."""
    found = stretch.difference
    if stretch.side == "below":
        found = Interval(found.n, -found.mean, -found.high, -found.low)
    return bracketed(found)


def bracketed(found: Interval) -> str:
    """Return "0.050 [0.030, 0.070]", without an interval where there is none."""
    if found.low != found.low:
        return number(found.mean)
    return f"{number(found.mean)} [{number(found.low)}, {number(found.high)}]"
