import math

import numpy as np
import pytest

from experiments.frontier import PLACES, Frontier, describe, judge

MINUS = "\N{MINUS SIGN}"
FLAT = Frontier((0.0, 1.0), (0.0, 0.0))


def level(height: float, first: float = 0.0, last: float = 1.0) -> Frontier:
    return Frontier((first, last), (height, height))


def test_points_without_both_metrics_are_left_out() -> None:
    points = [{"x": 1.0, "y": 2.0}, {"x": 3.0}, {"y": 4.0}, {"x": 5.0, "y": 6.0}]
    assert Frontier.of(points, "x", "y") == Frontier((1.0, 5.0), (2.0, 6.0))


def test_a_constant_distance_is_the_difference_everywhere() -> None:
    # Distances -.06, -.05, -.04: half of the t-interval is 4.30265 * .01 / sqrt(3) = .024842.
    found = judge([(level(h), FLAT) for h in (-0.06, -0.05, -0.04)], "x", "y")
    (stretch,) = found.stretches
    assert (stretch.first, stretch.last, stretch.side) == (0.0, 1.0, "below")
    assert found.overall.difference.mean == pytest.approx(-0.05)
    assert found.overall.difference.high == pytest.approx(-0.025158, abs=1e-6)
    assert describe(found) == "dominates for x 0.000 to 1.000 by 0.050 [0.025, 0.075]"


def test_a_difference_is_taken_within_pairs() -> None:
    # Ours lie .05 below theirs, whose heights are far apart: no spread is left.
    heights = (0.0, 5.0, 9.0)
    found = judge([(level(h - 0.05), level(h)) for h in heights], "x", "y")
    assert found.overall.difference.low == pytest.approx(-0.05)
    assert found.overall.side == "below"


def test_only_qualities_that_all_have_are_read() -> None:
    pairs = [(level(-1, 0, 8), level(0, 1, 9)), (level(-1, 2, 7), level(0, 0, 9)), (level(-1, 0, 9), level(0, 0, 9))]
    found = judge(pairs, "x", "y")
    assert (found.overall.first, found.overall.last) == (2.0, 7.0)


def test_stretches_by_hand() -> None:
    # Ours cross theirs at x = .5: below left of it, above right of it, by 2 x - 1, in all seeds alike.
    found = judge([(Frontier((0.0, 1.0), (-1.0, 1.0)), FLAT)] * 3, "x", "y")
    assert [part.side for part in found.stretches] == ["below", "level", "above"]
    below, crossing, above = found.stretches
    assert (below.first, crossing.first, crossing.last, above.last) == (0.0, 0.5, 0.5, 1.0)
    half = (PLACES - 1) // 2
    assert below.difference.mean == pytest.approx(np.mean([2 * i / (PLACES - 1) - 1 for i in range(half)]))
    assert found.overall.side == "level"
    words = describe(found)
    assert words.startswith("no clear difference over x 0.000 to 1.000, on average difference 0.000 [0.000, 0.000]; ")
    assert "dominates for x 0.000 to 0.475 by 0.525 [0.525, 0.525], level for x 0.500, is dominated for" in words


def test_worse_is_said_with_its_sign() -> None:
    found = judge([(level(h), FLAT) for h in (0.04, 0.05, 0.06)], "x", "y")
    assert describe(found) == "is dominated for x 0.000 to 1.000 by 0.050 [0.025, 0.075]"


def test_level_is_no_claim() -> None:
    found = judge([(level(h), FLAT) for h in (-0.06, 0.01, 0.02)], "x", "y")
    assert describe(found) == "level for x 0.000 to 1.000"


def test_a_curve_that_turns_back_is_read_at_its_best() -> None:
    back = Frontier((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
    found = judge([(back, FLAT)] * 3, "x", "y")
    assert found.overall.difference.mean == pytest.approx(-0.5)


def test_never_reached_and_partly_reached() -> None:
    away = (level(-1, 5, 6), FLAT)
    nowhere = judge([away] * 3, "x", "y")
    assert (nowhere.met, nowhere.pairs, nowhere.missed) == (False, 3, 3)
    assert math.isnan(nowhere.overall.first)
    assert describe(nowhere) == "never reached: there is no x that both have"
    partly = judge([away, *[(level(-1), FLAT)] * 3], "x", "y")
    assert (partly.met, partly.missed, partly.overall.difference.n) == (True, 1, 3)
    assert describe(partly).endswith("; 1 more never reached")
    assert describe(judge([], "x", "y")) == "no seed that both have, measured alike over temperatures"
    # Each seed meets its start, but no quality is in all of them.
    apart = judge([(level(-1, 0, 1), level(0, 0, 1)), (level(-1, 3, 4), level(0, 3, 4))], "x", "y")
    assert not apart.met


def test_one_quality_in_common_is_one_place() -> None:
    found = judge([(level(-1, 0, 1), level(0, 1, 2))] * 3, "x", "y")
    assert describe(found) == "dominates for x 1.000 by 1.000 [1.000, 1.000]"


def test_fewer_than_three_seeds_have_no_interval_and_no_verdict() -> None:
    found = judge([(level(-0.05), FLAT)] * 2, "x", "y")
    assert not found.certain
    assert math.isnan(found.overall.difference.low)
    words = describe(found)
    assert words == "below on average by 0.050 for x 0.000 to 1.000 (n = 2: too few seeds for an interval)"


def test_the_same_curves_are_level() -> None:
    found = judge([(FLAT, FLAT)] * 3, "x", "y")
    assert describe(found) == "level for x 0.000 to 1.000"


def test_seeds_alike_are_called_different_about_as_often_as_they_say() -> None:
    # Four seeds whose distances are normal around nothing: the t-interval errs in 5 % of the cases, the wider of the
    # two in no more. Were the 60 trials drawn anew, more than 11 of them would come up less than once in ten thousand
    # times.
    generator = np.random.default_rng(0)
    trials = [judge([(level(h), FLAT) for h in generator.normal(size=4)], "x", "y") for _ in range(60)]
    assert sum(found.overall.side != "level" for found in trials) <= 11
