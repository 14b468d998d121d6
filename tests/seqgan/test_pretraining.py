import math
from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.runtime import Engine, Runtime
from seqgan.generators import LSTMGenerator
from seqgan.likelihood import nll
from seqgan.pretraining import Best, Shuffled, mle_round


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


def filled(value: float) -> LSTMGenerator:
    net = LSTMGenerator(4, embedding=2, hidden=2)
    with torch.no_grad():
        for weight in net.parameters():
            weight.fill_(value)
    return net


def test_best_keeps_a_copy_of_the_lowest_loss() -> None:
    net = filled(0.0)
    best = Best(net)
    assert best.loss == math.inf
    for value, loss in ((1.0, 3.0), (2.0, 2.0), (3.0, 2.0), (4.0, 2.5), (5.0, math.nan)):
        with torch.no_grad():
            for weight in net.parameters():
                weight.fill_(value)
        best.offer(net, loss)
    assert best.loss == 2.0
    assert all((weight == 2).all() for weight in best.weights.values())
    other = Best(filled(9.0))
    other.load_state_dict(best.state_dict())
    other.offer(net, 2.2)
    assert other.loss == 2.0
    assert all((weight == 2).all() for weight in other.weights.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rounds_lower_the_loss_of_their_batch(precision: str) -> None:
    engine = Engine(Runtime(device="cpu", precision=precision), 0)  # type: ignore[arg-type]
    net, tokens = LSTMGenerator(30, dropout=0.1, end=0), torch.randint(30, (32, 6))
    optimizer, before = torch.optim.Adam(net.parameters(), 0.01), nll(net, tokens)
    net.eval()
    first = mle_round(net, tokens, optimizer, engine, clip=5.0)
    assert net.training
    assert first["mle/loss"].item() == pytest.approx(before, rel=0.02)  # the loss before the step; dropout is on
    assert nll(net, tokens) < before
    for _ in range(20):
        mle_round(net, tokens, optimizer, engine, clip=5.0)
    assert nll(net, tokens) < before - 0.1
    assert first["mle/grad_norm"].item() > 0


def test_a_round_is_clipped() -> None:
    engine = Engine(Runtime(device="cpu", precision="fp32"), 0)
    net, tokens = LSTMGenerator(30), torch.randint(30, (32, 6))
    before = [weight.detach().clone() for weight in net.parameters()]
    norm = mle_round(net, tokens, torch.optim.SGD(net.parameters(), 1.0), engine, clip=1e-3)["mle/grad_norm"]
    moved = torch.cat([(now - then).flatten() for now, then in zip(net.parameters(), before, strict=True)])
    assert norm.item() > 1e-3
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)
