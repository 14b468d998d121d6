import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Text, Tuple
from gymnasium.vector.utils import batch_space
from hypothesis import given
from hypothesis import strategies as st

from rl.control import spaces
from rl.runtime.errors import InputError


def test_a_float32_box_is_not_copied():
    layout = spaces.observations(Box(-1, 1, (3,)), where="Env-v0")
    batch = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert (layout.width, layout.dtype) == (3, torch.float32)
    assert np.shares_memory(layout.rows(batch), batch)
    assert np.array_equal(layout.rows(batch), batch)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_other_boxes_become_contiguous_float32(dtype):
    layout = spaces.observations(Box(0, 100, (2, 3), dtype), where="Env-v0")
    rows = layout.rows(np.asfortranarray(np.arange(24).reshape(4, 2, 3).astype(dtype)))
    assert rows.dtype == np.float32
    assert rows.flags.c_contiguous
    assert rows.tolist() == np.arange(24.0).reshape(4, 6).tolist()


def test_numbers_too_large_become_infinite_without_a_warning():
    layout = spaces.observations(Box(-np.inf, np.inf, (1,), np.float64), where="Env-v0")
    assert layout.rows(np.array([[1e300]])).tolist() == [[np.inf]]


def test_a_box_without_dimensions_is_one_number():
    layout = spaces.observations(Box(0, 1, ()), where="Env-v0")
    assert layout.rows(np.array([0.5, 0.25], np.float32)).tolist() == [[0.5], [0.25]]


def test_discrete_observations_are_one_hot_from_their_start():
    layout = spaces.observations(Discrete(3, start=5), where="Env-v0")
    assert layout.rows(np.array([7, 5])).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_multi_discrete_observations_are_one_hot_side_by_side():
    layout = spaces.observations(MultiDiscrete([2, 3], start=[0, 10]), where="Env-v0")
    assert layout.rows(np.array([[1, 10], [0, 12]])).tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("shape", "channels_last", "channels_first"),
    [
        ((4, 5, 3), True, (3, 4, 5)),
        ((2, 4, 5), False, (2, 4, 5)),
        ((4, 4, 1), True, (1, 4, 4)),
        ((3, 5, 3), True, (3, 3, 5)),
    ],
)
def test_pixels_stand_channels_first(shape, channels_last, channels_first):
    layout = spaces.observations(Box(0, 255, shape, np.uint8), where="Env-v0")
    batch = np.random.default_rng(0).integers(0, 256, (2, *shape), np.uint8)
    (part,) = layout.parts
    assert (part.kind, part.shape, layout.dtype) == ("pixels", channels_first, torch.uint8)
    expected = batch.transpose(0, 3, 1, 2) if channels_last else batch
    rows = layout.rows(batch)
    assert rows.dtype == np.uint8
    assert np.array_equal(rows.reshape(2, *part.shape), expected)


def test_a_dict_is_laid_out_in_key_order():
    space = Dict({"b": Discrete(2), "a": Dict({"y": Box(-1, 1, (2,)), "x": Box(0, 255, (2, 2, 1), np.uint8)})})
    layout = spaces.observations(space, where="Env-v0")
    assert [(part.name, part.kind, part.start, part.size) for part in layout.parts] == [
        ("a.x", "pixels", 0, 4),
        ("a.y", "vector", 4, 2),
        ("b", "vector", 6, 2),
    ]
    batch = {"b": np.array([1]), "a": {"x": np.full((1, 2, 2, 1), 200, np.uint8), "y": np.array([[0.5, -0.5]])}}
    assert layout.dtype == torch.float32
    assert layout.rows(batch).tolist() == [[200, 200, 200, 200, 0.5, -0.5, 0, 1]]
    one = {"b": 1, "a": {"x": batch["a"]["x"][0], "y": batch["a"]["y"][0]}}
    assert np.array_equal(layout.row(one), layout.rows(batch))


SPACES = [
    Box(-1, 1, (3,)),
    Box(-1, 1, (2, 2), np.float64),
    Box(0, 255, (5, 4, 3), np.uint8),
    Discrete(4, start=-2),
    MultiDiscrete([2, 5, 3]),
    Dict({"image": Box(0, 255, (3, 4, 4), np.uint8), "inner": Dict({"one": Discrete(3), "two": Box(0, 1, (1,))})}),
]


@given(st.sampled_from(SPACES), st.integers(1, 4), st.integers(0, 1000))
def test_a_batch_is_its_observations_one_by_one(space, number, seed):
    layout = spaces.observations(space, where="Env-v0")
    space.seed(seed)
    single = [space.sample() for _ in range(number)]
    batch = _stack(single)
    assert batch in batch_space(space, number)
    rows = layout.rows(batch)
    assert (rows.shape, rows.dtype) == ((number, layout.width), layout.numpy_dtype)
    assert np.array_equal(rows, np.concatenate([layout.row(obs) for obs in single]))
    ended = np.arange(number) != 1
    objects = np.empty(number, object)
    objects[:] = [obs if end else None for obs, end in zip(single, ended, strict=True)]
    for final in (batch, objects, list(objects)):
        assert np.array_equal(layout.last_rows(final, ended), rows[ended])


def _stack(single):
    if isinstance(single[0], dict):
        return {key: _stack([obs[key] for obs in single]) for key in single[0]}
    return np.stack(single)


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        (Tuple([Discrete(2)]), "Env-v0: observations: Tuple is not supported"),
        (Dict({"a": Dict({"b": Text(3)})}), "Env-v0: observations: a.b: Text is not supported"),
        (Box(0, 1, (0,)), "Env-v0: observations: an empty space"),
    ],
)
def test_other_observations_are_refused(space, reason):
    with pytest.raises(InputError, match=reason):
        spaces.observations(space, where="Env-v0")


def test_box_actions_are_clipped_to_each_bound():
    actions = spaces.actions(Box(np.array([-1, 0, -np.inf]), np.array([1, 0.5, np.inf]), dtype=np.float64), where="E")
    assert (actions.kind, actions.size, actions.shape) == ("box", 3, (3,))
    assert (actions.low, actions.high) == ((-1, 0, -np.inf), (1, 0.5, np.inf))
    given_ = np.array([[2, -3, 1e6], [-2, 0.75, -1e6]], np.float32)
    done = actions.to_env(given_)
    assert done.dtype == np.float64
    assert done.tolist() == [[1, 0, 1e6], [-1, 0.5, -1e6]]
    assert given_[0, 0] == 2  # the agent's own numbers stay


def test_choices_are_counted_from_the_environments_start():
    actions = spaces.actions(Discrete(3, start=-1), where="E")
    assert (actions.kind, actions.size, actions.start, actions.shape) == ("discrete", 3, -1, ())
    assert actions.to_env(np.array([0, 2])).tolist() == [-1, 1]
    assert actions.from_env(np.array([[-1], [1]], np.int32)).tolist() == [0, 2]


@given(st.sampled_from([Box(-2, 3, (2,)), Box(-1, 1, (1,), np.float64), Discrete(5, start=3)]), st.integers(0, 1000))
def test_what_the_environment_takes_comes_back(space, seed):
    actions = spaces.actions(space, where="E")
    space.seed(seed)
    taken = np.stack([space.sample() for _ in range(3)])
    ours = actions.from_env(taken)
    assert (ours.dtype, ours.shape) == (actions.numpy_dtype, (3, *actions.shape))
    back = actions.to_env(ours)
    assert back.dtype == space.dtype
    assert np.allclose(back, taken, atol=1e-6)
    assert all(action in space for action in back)


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        (MultiDiscrete([2, 2]), "E: actions: MultiDiscrete is not supported"),
        (Box(0, 1, (2, 2)), r"E: actions: a Box must have one dimension, this one has shape \(2, 2\)"),
        (Box(0, 9, (2,), np.int64), "E: actions: a Box must hold real numbers, this one holds int64"),
    ],
)
def test_other_actions_are_refused(space, reason):
    with pytest.raises(InputError, match=reason):
        spaces.actions(space, where="E")
