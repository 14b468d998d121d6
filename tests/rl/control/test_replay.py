from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from rl.control.replay import Replay
from rl.control.transitions import Transitions
from rl.runtime.state import decode, encode
from tests.rl.control.offpolicy import BOX, CHOICE, PIXELS, VECTOR


def numbered(first: int, rows: int) -> tuple[Transitions, torch.Tensor]:
    """Steps all of whose fields tell their number."""
    number = torch.arange(first, first + rows).float()
    wide = number[:, None]
    steps = Transitions(wide.expand(-1, 4), wide.expand(-1, 2), -wide.expand(-1, 4), number % 2 == 0)
    return steps, 10 * number


@given(capacity=st.integers(1, 7), sizes=st.lists(st.integers(0, 17), max_size=6))
def test_a_ring_holds_the_last_steps(capacity: int, sizes: list[int]) -> None:
    replay, model, first = Replay(capacity, VECTOR, BOX), deque(maxlen=capacity), 0
    for rows in sizes:
        replay.add(*numbered(first, rows))
        model.extend(range(first, first + rows))
        first += rows
    assert len(replay) == len(model)
    held = replay.steps.obs[: len(replay), 0].tolist()
    assert sorted(held) == sorted(model)
    # the oldest is the next to go
    rest = held[replay.position :] + held[: replay.position] if len(replay) == capacity else held
    assert rest == list(model)


def test_a_draw_keeps_fields_together_and_finds_the_reward() -> None:
    replay = Replay(10, VECTOR, BOX)
    replay.add(*numbered(0, 14))
    torch.manual_seed(0)
    steps, index = replay.sample(200)
    number = steps.obs[:, 0]
    assert set(number.tolist()) == set(range(4, 14))
    torch.testing.assert_close(steps.obs, number[:, None].expand(-1, 4))
    torch.testing.assert_close(steps.actions, number[:, None].expand(-1, 2))
    torch.testing.assert_close(steps.next_obs, -steps.obs)
    assert torch.equal(steps.terminated, number % 2 == 0)
    assert torch.equal(replay.rewards[index], 10 * number)


def test_nothing_unfilled_is_drawn_and_each_step_alike() -> None:
    replay = Replay(1000, VECTOR, BOX)
    replay.add(*numbered(1, 3))
    torch.manual_seed(0)
    counts = torch.bincount(replay.sample(3000)[0].obs[:, 0].long(), minlength=4)
    assert counts[0] == 0
    assert (counts[1:] - 1000).abs().max() < 100


def test_an_empty_replay_says_so() -> None:
    with pytest.raises(ValueError, match="nothing to sample"):
        Replay(3, VECTOR, BOX).sample(1)


def test_types_follow_the_spaces() -> None:
    replay = Replay(3, PIXELS, CHOICE)
    assert replay.steps.obs.dtype == replay.steps.next_obs.dtype == torch.uint8
    assert replay.steps.obs.shape == (3, 192)
    assert replay.steps.actions.dtype == torch.int64
    assert replay.steps.actions.shape == (3,)


@pytest.mark.parametrize("rows", [0, 3, 5, 8])
def test_a_saved_ring_goes_on_as_if_never_stopped(rows: int) -> None:
    replay, other = Replay(5, VECTOR, BOX), Replay(5, VECTOR, BOX)
    replay.add(*numbered(0, rows))
    text, tensors = encode(replay.state_dict(), "replay")
    assert sum(tensor.numel() for tensor in tensors.values()) == min(rows, 5) * (4 + 2 + 4 + 1 + 1)
    other.load_state_dict(decode(text, load(save(tensors))))
    for each in (replay, other):
        each.add(*numbered(rows, 4))
    assert (replay.filled, replay.position) == (other.filled, other.position)
    for one, two in zip((*replay.steps, replay.rewards), (*other.steps, other.rewards), strict=True):
        assert torch.equal(one[: len(replay)], two[: len(replay)])


def test_a_saved_ring_of_another_size_or_space_is_refused() -> None:
    replay = Replay(5, VECTOR, BOX)
    replay.add(*numbered(0, 4))
    with pytest.raises(ValueError, match="does not fit"):
        Replay(3, VECTOR, BOX).load_state_dict(replay.state_dict())
    with pytest.raises(ValueError, match=r"actions: .* does not fit"):
        Replay(5, VECTOR, CHOICE).load_state_dict(replay.state_dict())
