import math

import numpy as np
import pytest

from experiments.statistics import bootstrap, improvement, interquartile_mean, interval, iqm, widest


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([8, 1, 7, 2, 6, 3, 5, 4], 4.5),  # 3, 4, 5, 6
        ([0, 1, 2, 100], 1.5),
        ([0, 1, 2, 3, 100], 2.0),  # floor(5 / 4) at each end
        ([0, 0, 9], 3.0),
    ],
)
def test_interquartile_mean_by_hand(runs: list[float], expected: float) -> None:
    assert interquartile_mean(np.array(runs, float)) == expected
    assert interquartile_mean(np.array([runs, runs], float)).tolist() == [expected, expected]


def test_runs_of_all_tasks_are_taken_together() -> None:
    found = iqm([[100.0, 0.0], [2.0, 1.0]])
    assert (found.n, found.value) == (4, 1.5)


def test_runs_are_drawn_within_their_task() -> None:
    # What differs between tasks alone is no noise: 0, 0, 10, 10 in the middle whatever is drawn.
    found = iqm([[0.0] * 3, [10.0] * 3])
    assert (found.value, found.low, found.high) == (5.0, 5.0, 5.0)


def test_bootstrap_bounds_by_enumeration() -> None:
    # Six runs lose the lowest and the highest: of (a1 <= a2 <= a3) and three tens remain a2, a3, 10, 10.
    # Of the 27 draws one has a3 = 0, a share of .037 > .025; seven have a2 = a3 = 6.
    found = iqm([[0.0, 3.0, 6.0], [10.0, 10.0, 10.0]])
    assert (found.n, found.value, found.low, found.high) == (6, 7.25, 5.0, 8.0)


def test_fewer_than_three_runs_of_a_task_have_no_interval() -> None:
    found = iqm([[1.0, 2.0, 3.0], [1.0, 2.0]])
    assert found.value == pytest.approx(5 / 3)  # of 1, 1, 2, 2, 3 without its ends
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(improvement([[1.0, 2.0, 3.0]], [[1.0]]).low)


def test_probability_of_improvement_by_hand() -> None:
    # 1 loses three times, 2 draws three times, 3 wins three times; in the other task everybody wins.
    assert improvement([[1.0, 2.0, 3.0]], [[2.0, 2.0, 2.0]]).value == 0.5
    found = improvement([[2.0, 2.0, 3.0], [9.0] * 3], [[2.0] * 3, [8.0] * 3])
    assert found.value == pytest.approx((2 / 3 + 1) / 2)
    assert (found.n, found.high) == (12, 1.0)
    # The first task alone varies: of its runs all are 2 in 8 of 27 draws, so the least is (1 / 2 + 1) / 2.
    assert found.low == 0.75
    # Tasks of other heights stay apart, and may have other numbers of runs.
    assert improvement([[1.0, 1.0, 1.0], [50.0, 50.0]], [[0.0, 0.0], [60.0, 60.0, 60.0]]).value == 0.5


def test_the_same_seed_gives_the_same_interval() -> None:
    tasks = [np.random.default_rng(1).normal(size=7).tolist()]
    assert iqm(tasks, seed=3) == iqm(tasks, seed=3)
    assert iqm(tasks, seed=3) != iqm(tasks, seed=4)


@pytest.mark.parametrize("heights", [(0.0, 0.0), (-20.0, 20.0)])
def test_intervals_hold_the_truth_about_as_often_as_they_say(heights: tuple[float, float]) -> None:
    # Both tasks are spread alike around their height, so the truth is 0. With ten runs in each the interval is a little
    # narrow: in 7,000 trials it held the truth in .930 and .915 of them. Were the 400 trials here drawn anew, a share
    # below .86 or above .98 would come up less than once in ten thousand times; their seeds are fixed.
    generator = np.random.default_rng(0)
    held = 0
    for trial in range(400):
        tasks = [(height + generator.normal(size=10)).tolist() for height in heights]
        found = iqm(tasks, resamples=400, seed=trial)
        held += found.low <= 0 <= found.high
    assert 0.86 <= held / 400 <= 0.98


def test_bootstrap_of_a_mean_by_enumeration() -> None:
    # Of the 27 draws of 0, 3, 6 one has the mean 0 and one 6, a share of .037 > .025 each.
    found = bootstrap([0.0, 3.0, 6.0])
    assert (found.n, found.mean, found.low, found.high) == (3, 3.0, 0.0, 6.0)
    # Of the 256 draws of 0, 0, 0, 4 the share without the 4 is .316, of those with three or four of it .051.
    assert (bootstrap([0.0, 0.0, 0.0, 4.0]).low, bootstrap([0.0, 0.0, 0.0, 4.0]).high) == (0.0, 3.0)
    assert bootstrap([1.0, 5.0, 2.0], seed=1) == bootstrap([1.0, 5.0, 2.0], seed=1)
    assert math.isnan(bootstrap([1.0, 2.0]).low)
    assert math.isnan(bootstrap([]).mean)


def test_the_widest_interval_holds_both() -> None:
    for values in ([1.0, 2.0, 3.0], [0.0] * 19 + [1.0], [1.0, 2.0, 3.0, 9.0, 1.0]):
        both = interval(values), bootstrap(values)
        found = widest(values)
        assert (found.low, found.high) == (min(i.low for i in both), max(i.high for i in both))
    skewed = [0.0] * 18 + [1.0] * 2
    assert widest(skewed).high == bootstrap(skewed).high > interval(skewed).high
    assert widest(skewed).low == interval(skewed).low < bootstrap(skewed).low
    assert math.isnan(widest([1.0, 2.0]).low)
