from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rl.rollout import Rollout, gae, last_step, returns_to_go


def floats(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def flags(*rows: list[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.bool)


def test_of_terminates_each_row_at_its_last_counted_step():
    mask = flags([1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1])
    rollout = Rollout.of(torch.zeros(4, 4), mask)
    assert torch.equal(rollout.terminated, flags([0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]))
    assert torch.equal(rollout.terminated, last_step(mask))
    assert not rollout.truncated.any()
    for zeros in (rollout.log_probs, rollout.rewards, rollout.values, rollout.next_values):
        assert torch.equal(zeros, torch.zeros(4, 4))


def test_relabel_pays_anew_and_leaves_the_rest():
    rollout = Rollout.of(floats([3, 4]), flags([1, 1]))
    paid = rollout.relabel(lambda r: r.steps * 2)
    assert paid.rewards.tolist() == [[6, 8]]
    assert rollout.rewards.tolist() == [[0, 0]]
    assert paid.steps is rollout.steps
    assert paid.terminated is rollout.terminated


def test_returns_to_go_by_hand():
    rewards = floats([1, 2, 4, 8], [5, 9, 9, 9], [1, 9, 4, 9])
    mask = flags([1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 1, 0])
    # in the last row the second step does not exist: it neither pays nor ages
    assert returns_to_go(rewards, mask).tolist() == [[15, 14, 12, 8], [5, 0, 0, 0], [5, 0, 4, 0]]
    assert returns_to_go(rewards, mask, 0.5).tolist() == [[4, 6, 8, 8], [5, 0, 0, 0], [3, 0, 4, 0]]
    assert returns_to_go(rewards, mask, 0.0).tolist() == [[1, 2, 4, 8], [5, 0, 0, 0], [1, 0, 4, 0]]


def rollout_by_hand(terminated: list[int], truncated: list[int]) -> Rollout[None]:
    return replace(
        Rollout.of(None, flags([1, 1, 1])),
        rewards=floats([1, 2, 3]),
        values=floats([10, 20, 30]),
        next_values=floats([20, 40, 50]),  # the second step led to a state worth 40; then, perhaps, a new episode
        terminated=flags(terminated),
        truncated=flags(truncated),
    )


def test_gae_by_hand():
    # discount 1/2, lam 1/2; deltas: 1 + 10 - 10 = 1, 2 + 20 - 20 = 2, 3 + 25 - 30 = -2
    advantages, targets = gae(rollout_by_hand([0, 0, 0], [0, 0, 0]), 0.5, 0.5)
    assert advantages.tolist() == [[1 + 1.5 / 4, 2 - 2 / 4, -2]]
    assert targets.tolist() == [[11.375, 21.5, 28]]


def test_gae_stops_at_truncation_but_counts_the_future():
    advantages, _ = gae(rollout_by_hand([0, 0, 0], [0, 1, 0]), 0.5, 0.5)
    assert advantages.tolist() == [[1 + 2 / 4, 2, -2]]


def test_gae_stops_at_termination_and_the_future_is_worth_nothing():
    # second delta: 2 + 0 - 20 = -18
    advantages, _ = gae(rollout_by_hand([0, 1, 0], [0, 0, 0]), 0.5, 0.5)
    assert advantages.tolist() == [[1 - 18 / 4, -18, -2]]
    both, _ = gae(rollout_by_hand([0, 1, 0], [0, 1, 0]), 0.5, 0.5)
    assert torch.equal(both, advantages)


def test_gae_ignores_what_is_off_the_mask():
    clean, hole = rollout_by_hand([0, 0, 1], [0, 0, 0]), float("nan")
    spread = Rollout(
        None,
        flags([1, 0, 1, 1, 0]),
        floats([0, 0, 0, 0, 0]),
        floats([1, hole, 2, 3, hole]),
        floats([10, hole, 20, 30, hole]),
        floats([20, hole, 40, 50, hole]),
        flags([0, 1, 0, 1, 1]),
        flags([0, 1, 0, 0, 1]),
    )
    for ours, expected in zip(gae(spread, 0.5, 0.5), gae(clean, 0.5, 0.5), strict=True):
        assert torch.equal(ours[:, [0, 2, 3]], expected)
        assert torch.equal(ours[:, [1, 4]], floats([0, 0]))


def test_gae_carries_no_gradient():
    rollout = rollout_by_hand([0, 0, 0], [0, 0, 0])
    advantages, targets = gae(replace(rollout, values=rollout.values.requires_grad_()), 0.9, 0.9)
    assert not advantages.requires_grad
    assert not targets.requires_grad


@st.composite
def rollouts(draw) -> Rollout[None]:
    batch, time = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))

    def coin(p: float) -> Tensor:
        return torch.rand(batch, time, generator=generator) < p

    def numbers() -> Tensor:
        return torch.randn(batch, time, generator=generator, dtype=torch.float64)

    return Rollout(None, coin(0.8), numbers(), numbers(), numbers(), numbers(), coin(0.2), coin(0.2))


def slow_gae(r: Rollout[None], discount: float, lam: float) -> Tensor:
    """The recurrence, step by step."""
    out = torch.zeros_like(r.rewards)
    for b in range(len(out)):
        ahead = 0.0
        for t in reversed(range(out.shape[1])):
            if r.mask[b, t]:
                alive = 0.0 if r.terminated[b, t] else 1.0
                go_on = 0.0 if r.terminated[b, t] or r.truncated[b, t] else 1.0
                delta = r.rewards[b, t] + discount * alive * r.next_values[b, t] - r.values[b, t]
                ahead = float(delta + discount * lam * go_on * ahead)
                out[b, t] = ahead
    return out


@given(rollouts(), st.floats(0, 1), st.floats(0, 1))
def test_gae_equals_the_recurrence(rollout, discount, lam):
    advantages, targets = gae(rollout, discount, lam)
    torch.testing.assert_close(advantages, slow_gae(rollout, discount, lam))
    torch.testing.assert_close(targets, (advantages + rollout.values) * rollout.mask)


@given(rollouts(), st.floats(0, 1))
def test_without_values_and_at_lam_one_gae_is_returns_to_go(rollout, discount):
    zero, never = torch.zeros_like(rollout.rewards), torch.zeros_like(rollout.mask)
    plain = replace(rollout, values=zero, next_values=zero, terminated=never, truncated=never)
    torch.testing.assert_close(gae(plain, discount, 1.0)[0], returns_to_go(plain.rewards, plain.mask, discount))


@given(rollouts())
def test_lam_one_telescopes_to_the_return_less_the_value(rollout):
    values = rollout.values
    ahead = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    full, never = torch.ones_like(rollout.mask), torch.zeros_like(rollout.mask)
    one = replace(rollout, mask=full, next_values=ahead, terminated=last_step(full), truncated=never)
    torch.testing.assert_close(gae(one, 0.9, 1.0)[1], returns_to_go(one.rewards, one.mask, 0.9))


def test_long_rows_keep_their_precision():
    rewards = torch.ones(1, 3000)
    expected = (1 - 0.99 ** torch.arange(3000, 0, -1, dtype=torch.float64)) / 0.01
    ours = returns_to_go(rewards, rewards.bool(), 0.99)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours[0].double(), expected, rtol=1e-5, atol=0)


def test_a_rollout_is_frozen():
    with pytest.raises(AttributeError):
        Rollout.of(None, flags([1])).rewards = floats([1])  # type: ignore[misc]
