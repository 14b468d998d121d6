from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.runtime import Shuffled


@given(rows=st.integers(1, 20), batch=st.integers(1, 25), seed=st.integers(0, 3))
def test_every_pass_takes_no_row_twice(rows: int, batch: int, seed: int) -> None:
    shuffled = Shuffled(rows, batch, seed=seed)
    size = min(batch, rows)
    assert len(shuffled) == rows // size
    for _ in range(3):
        taken = torch.cat(list(islice(iter(lambda: next(shuffled), None), len(shuffled)))).tolist()
        assert len(taken) == len(set(taken)) == rows - rows % size
        assert set(taken) <= set(range(rows))


def test_passes_have_new_orders_that_a_seed_repeats() -> None:
    first, again, other = (Shuffled(50, 50, seed=seed) for seed in (0, 0, 1))
    orders = [next(first) for _ in range(3)]
    assert all(next(again).equal(order) for order in orders)
    assert not orders[0].equal(orders[1])
    assert not next(other).equal(orders[0])


def test_rows_left_over_wait_for_another_pass() -> None:
    """Of ten rows in fours two wait; over many passes every row has its turn."""
    shuffled, taken = Shuffled(10, 4, seed=0), set()
    for _ in range(20):
        batch = next(shuffled)
        assert len(batch) == 4
        taken.update(batch.tolist())
    assert taken == set(range(10))


def test_shuffling_draws_from_its_own_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    shuffled = Shuffled(10, 4, seed=0)
    for _ in range(9):
        next(shuffled)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("taken", range(8))
def test_a_restored_shuffle_goes_on_where_it_stood(taken: int) -> None:
    shuffled, other = Shuffled(10, 4, seed=0), Shuffled(10, 4, seed=5)
    for _ in range(taken):
        next(shuffled)
    saved = {
        key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in shuffled.state_dict().items()
    }
    expected = [next(shuffled) for _ in range(7)]
    next(other)
    other.load_state_dict(saved)
    assert all(next(other).equal(batch) for batch in expected)
