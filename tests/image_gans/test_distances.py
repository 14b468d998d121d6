import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance
from torch import Tensor

from image_gans.distances import earth_mover, earth_mover_line, jensen_shannon, kullback_leibler, total_variation

SIZES = st.integers(1, 30)
SEEDS = st.integers(0, 10_000)


def shares(outcomes: int, seed: int) -> Tensor:
    return torch.rand(outcomes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(0)


def points(number: int, seed: int) -> Tensor:
    return torch.randn(number, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_numbers_by_hand() -> None:
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.5, 0.25])
    assert float(kullback_leibler(p, q)) == pytest.approx(0.5 * math.log(2))
    assert float(kullback_leibler(q, p)) == math.inf
    # mixture 3/8, 1/2, 1/8
    by_hand = (0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0.25 * math.log(2)) / 2
    assert float(jensen_shannon(p, q)) == pytest.approx(by_hand)
    assert float(total_variation(p, q)) == pytest.approx(0.25)


def test_apart_js_is_log_two_and_kl_infinite() -> None:
    p, q = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert float(jensen_shannon(p, q)) == pytest.approx(math.log(2), abs=1e-15)
    assert float(kullback_leibler(p, q)) == math.inf
    assert float(total_variation(p, q)) == 1


@given(SIZES, SEEDS)
def test_bounds_symmetry_and_scipy(outcomes: int, seed: int) -> None:
    p, q = shares(outcomes, seed), shares(outcomes, seed + 1)
    js, tv = float(jensen_shannon(p, q)), float(total_variation(p, q))
    assert js == pytest.approx(float(jensen_shannon(q, p)), abs=1e-14)
    # scipy gives its root, in nats
    assert js == pytest.approx(float(jensenshannon(p.numpy(), q.numpy())) ** 2, abs=1e-12)
    assert 2 * tv**2 <= float(kullback_leibler(p, q)) + 1e-12  # Pinsker
    assert js <= math.log(2) * tv + 1e-12
    assert float(kullback_leibler(p, p)) == pytest.approx(0, abs=1e-14)


@given(SIZES, SIZES, SEEDS)
def test_line_is_scipys_for_any_two_sizes(some: int, others: int, seed: int) -> None:
    a, b = points(some, seed)[:, 0], points(others, seed + 1)[:, 0]
    expected = wasserstein_distance(a.numpy(), b.numpy())
    assert float(earth_mover_line(a, b)) == pytest.approx(expected, abs=1e-12)


def test_line_with_equal_numbers() -> None:
    a, b = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0])
    # distribution functions 2/3 and 1/2 between 0 and 1
    assert float(earth_mover_line(a, b)) == pytest.approx(1 / 6)


@given(SIZES, SEEDS)
def test_moving_all_points_costs_the_way(number: int, seed: int) -> None:
    a, way = points(number, seed), torch.tensor([3.0, -4.0], dtype=torch.float64)
    assert float(earth_mover(a, a.flip(0) + way)) == pytest.approx(5, abs=1e-12)
    assert float(earth_mover(a, a.flip(0))) == 0


@given(SIZES, SEEDS)
def test_assignment_on_a_line_is_the_sorted_one(number: int, seed: int) -> None:
    a, b = points(number, seed)[:, :1], points(number, seed + 1)[:, :1]
    assert float(earth_mover(a, b)) == pytest.approx(float(earth_mover_line(a[:, 0], b[:, 0])), abs=1e-12)


@given(st.integers(2, 12), SEEDS)
def test_best_plan_and_best_lipschitz_function_agree(number: int, seed: int) -> None:
    """Kantorovich and Rubinstein: the cheapest transport costs what the best discriminator finds."""
    a, b = points(number, seed), points(number, seed + 1)
    everything = torch.cat([a, b])
    distance = torch.cdist(everything, everything).numpy()
    costs = distance[:number, number:].reshape(-1)
    rows, columns = np.kron(np.eye(number), np.ones(number)), np.kron(np.ones(number), np.eye(number))
    even = np.full(2 * number, 1 / number)
    plan = linprog(costs, A_eq=np.vstack([rows, columns]), b_eq=even)
    pairs = [(i, j) for i in range(2 * number) for j in range(2 * number) if i != j]
    slopes = np.zeros((len(pairs), 2 * number))
    for row, (i, j) in zip(slopes, pairs, strict=True):
        row[i], row[j] = 1, -1
    gain = np.concatenate([even[:number], -even[number:]])
    limits = [distance[pair] for pair in pairs]
    judge = linprog(-gain, A_ub=slopes, b_ub=limits, bounds=[(0, 0)] + [(None, None)] * (2 * number - 1))
    assert float(earth_mover(a, b)) == pytest.approx(plan.fun, abs=1e-9)
    assert -judge.fun == pytest.approx(plan.fun, abs=1e-9)


def test_what_is_no_distribution_is_refused() -> None:
    even = torch.tensor([0.5, 0.5])
    for wrong in (torch.tensor([0.5, 0.6]), torch.tensor([1.5, -0.5])):
        with pytest.raises(ValueError, match="sum to one"):
            kullback_leibler(even, wrong)
    with pytest.raises(ValueError, match="2 and 3 probabilities"):
        total_variation(even, torch.tensor([0.5, 0.25, 0.25]))
    with pytest.raises(ValueError, match="as many"):
        earth_mover(torch.zeros(2, 1), torch.zeros(3, 1))
