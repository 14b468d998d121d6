import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rl.control import demonstrations as demos
from rl.control import spaces
from rl.control.environments import Serial, make
from rl.control.transitions import Transitions
from rl.runtime import InputError
from tests.rl.control.counting import Counting, expected

DATA = Path(__file__).parents[4] / "shared/data/control"
BUNDLED = Path(__file__).parents[3] / "experiments/data/cartpole_expert.npz"
WALK = spaces.observations(Box(-10, 10, (2,), np.float32), where="walk")
LEFT_RIGHT = spaces.actions(Discrete(2, start=3), where="walk")
PUSH = spaces.actions(Box(np.array([-1, -2], np.float32), np.array([1, np.inf], np.float32)), where="walk")


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    """Two episodes of 3 and 2 steps; the first terminates, the second is truncated."""
    return {
        "obs": np.array([[0, 1], [1, 1], [2, 1], [5, 2], [6, 2]], np.float32),
        "acts": np.array([3, 4, 4, 3, 3]),
        "rewards": np.array([1, 2, 4, 8, 16], np.float32),
        "terminated": np.array([0, 0, 1, 0, 0], bool),
        "truncated": np.array([0, 0, 0, 0, 1], bool),
        "episode_starts": np.array([1, 0, 0, 1, 0], bool),
        "final_obs": np.array([[3, 1], [7, 2]], np.float32),
        "episode_returns": np.array([7.0, 24.0]),
        "episode_lengths": np.array([3, 2]),
        "env_id": np.array("Walk-v0"),
        "env_kwargs": np.array('{"wide": true}'),
    } | changes


def stored(folder: Path, **changes: Any) -> Path:
    path = folder / "traj.npz"
    np.savez(path, **{name: array for name, array in arrays(**changes).items() if array is not None})
    return path


def read(path: Path, actions: spaces.Actions = LEFT_RIGHT, trajectories: int = 0) -> demos.Demonstrations:
    return demos.read(path, WALK, actions, trajectories=trajectories)


def test_a_file_by_hand(tmp_path: Path):
    got = read(stored(tmp_path))
    assert got.steps.obs.tolist() == arrays()["obs"].tolist()
    assert got.steps.next_obs.tolist() == [[1, 1], [2, 1], [3, 1], [6, 2], [7, 2]]
    assert got.steps.actions.tolist() == [0, 1, 1, 0, 0]
    assert got.steps.terminated.tolist() == [False, False, True, False, False]
    assert got.truncated.tolist() == [False] * 4 + [True]
    assert got.starts.tolist() == [True, False, False, True, False]
    assert (got.returns.tolist(), got.lengths.tolist()) == ([7, 24], [3, 2])
    assert (got.env_id, got.env_kwargs) == ("Walk-v0", {"wide": True})
    kinds = [field.dtype for field in got.steps]
    assert kinds == [torch.float32, torch.int64, torch.float32, torch.bool]


def test_the_first_trajectories(tmp_path: Path):
    one = read(stored(tmp_path), trajectories=1)
    assert (one.steps.rows, one.lengths.tolist(), one.returns.tolist()) == (3, [3], [7])
    assert one.steps.next_obs.tolist() == [[1, 1], [2, 1], [3, 1]]
    assert len(one.rewards) == len(one.truncated) == 3
    assert read(stored(tmp_path), trajectories=2).steps.rows == 5
    for count in (3, -1):
        with pytest.raises(InputError, match=rf"traj\.npz: {count} trajectories asked for, 2 there$"):
            read(stored(tmp_path), trajectories=count)


def test_both_flags_at_once_are_a_termination_at_the_time_limit(tmp_path: Path):
    flags = np.array([0, 0, 1, 0, 1], bool)
    got = read(stored(tmp_path, truncated=flags))
    assert got.lengths.tolist() == [3, 2]
    assert got.steps.terminated.sum() == 1


def test_numbers_as_actions(tmp_path: Path):
    acts = np.array([[0, 0], [1, 100], [-1, -2], [1.0009, 5], [0, -2.0009]])
    got = read(stored(tmp_path, acts=acts), PUSH)
    torch.testing.assert_close(got.steps.actions, torch.from_numpy(acts).float())


def test_pixels_stay_bytes(tmp_path: Path):
    pixels = spaces.Observations(2, torch.uint8, ())
    small = {"obs": arrays()["obs"].astype(np.uint8), "final_obs": arrays()["final_obs"].astype(np.uint8)}
    got = demos.read(stored(tmp_path, **small), pixels, LEFT_RIGHT)
    assert got.steps.obs.dtype == got.steps.next_obs.dtype == torch.uint8
    with pytest.raises(InputError, match=r"traj\.npz: obs: float32, expected uint8$"):
        demos.read(stored(tmp_path), pixels, LEFT_RIGHT)


NAN, HUGE = np.array(arrays()["obs"]), np.array(arrays()["obs"], np.float64)
NAN[3, 1], HUGE[2, 0] = np.nan, 1e300
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "missing": ({"acts": None, "final_obs": None}, "acts, final_obs: missing (there: "),
    "no steps": ({"obs": np.zeros((0, 2), np.float32)}, "obs: no steps"),
    "one number": ({"obs": np.float32(3)}, "obs: no steps"),
    "width": ({"obs": np.zeros((5, 3), np.float32)}, "obs: shape (5, 3), expected (5, 2)"),
    "text": ({"obs": np.full((5, 2), "a")}, "obs: <U1, expected numbers"),
    "nan": ({"obs": NAN}, "obs[3, 1]: nan is not finite"),
    "beyond float32": ({"obs": HUGE}, "obs[2, 0]: 1e+300 is not finite"),
    "last nan": ({"final_obs": np.array([[3, 1], [np.inf, 2]])}, "final_obs[1, 0]: inf is not finite"),
    "reward": ({"rewards": np.array([1, 2, np.nan, 8, 16])}, "rewards[2]: nan is not finite"),
    "rewards": ({"rewards": np.ones(4)}, "rewards: shape (4,), expected (5,)"),
    "no action": ({"acts": np.array([3, 4, 4, 3, 5])}, "acts[4]: 5 is no action of Discrete(2, start=3)"),
    "below": ({"acts": np.array([3, 2, 4, 3, 3])}, "acts[1]: 2 is no action of Discrete(2, start=3)"),
    "real choices": ({"acts": np.ones(5)}, "acts: float64 (5,), expected whole numbers (5,)"),
    "column": ({"acts": np.full((5, 1), 3)}, "acts: int64 (5, 1), expected whole numbers (5,)"),
    "short": ({"acts": np.full(4, 3)}, "acts: int64 (4,), expected whole numbers (5,)"),
    "flags": ({"terminated": np.zeros(5)}, "terminated: float64 (5,), expected bool (5,)"),
    "short flags": ({"truncated": np.zeros(4, bool)}, "truncated: bool (4,), expected bool (5,)"),
    "no start": ({"episode_starts": np.array([0, 0, 0, 1, 0], bool)}, "episode_starts[0]: the first step starts no"),
    "open end": ({"truncated": np.zeros(5, bool)}, "terminated[4]: the last episode does not end"),
    "no end": (
        {"terminated": np.zeros(5, bool)},
        "episode_starts[3]: an episode starts and the one before has not ended",
    ),
    "after the end": ({"terminated": np.array([0, 1, 1, 0, 0], bool)}, "episode_starts[2]: steps after the end"),
    "last observations": ({"final_obs": np.zeros((1, 2))}, "final_obs: shape (1, 2), expected (2, 2)"),
    "id": ({"env_id": np.array(3)}, "env_id: int64 (), expected one text"),
    "ids": ({"env_id": np.array(["a"])}, "env_id: <U1 (1,), expected one text"),
    "kwargs": ({"env_kwargs": np.array("{wide")}, "env_kwargs: Expecting property name"),
    "a list": ({"env_kwargs": np.array("[1]")}, "env_kwargs: [1], expected a JSON object"),
    "lengths": ({"episode_lengths": np.array([2, 3])}, "episode_lengths: not those of the 2 episodes here"),
    "returns": ({"episode_returns": np.array([7, 25.0])}, "episode_returns: not the sums of the rewards of the 2"),
    "count of returns": ({"episode_returns": np.array([7.0])}, "episode_returns: not the sums of the rewards of the 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_line_for_what_is_wrong(case: str, tmp_path: Path):
    changes, line = BAD[case]
    path = stored(tmp_path, **changes)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {line}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("acts", "line"),
    [
        (np.array([[0, 0], [0, 0], [1.002, 0], [0, 0], [0, 0]]), "acts[2, 0]: 1.002 lies beyond the bounds"),
        (np.array([[0, -3], [0, 0], [1, 0], [0, 0], [0, 0]]), "acts[0, 1]: -3 lies beyond the bounds"),
        (np.array([[0, 0], [0, np.inf], [1, 0], [0, 0], [0, 0]]), "acts[1, 1]: inf is not finite"),
        (np.zeros((5, 3)), "acts: float64 (5, 3), expected numbers (5, 2)"),
        (np.zeros(5), "acts: float64 (5,), expected numbers (5, 2)"),
        (np.zeros((5, 2), bool), "acts: bool (5, 2), expected numbers (5, 2)"),
    ],
)
def test_one_line_for_wrong_numbers(acts: np.ndarray, line: str, tmp_path: Path):
    with pytest.raises(InputError) as caught:
        read(stored(tmp_path, acts=acts), PUSH)
    assert str(caught.value).removeprefix(f"{tmp_path}/traj.npz: ").startswith(line)


def test_what_is_no_file_of_arrays(tmp_path: Path):
    whole = stored(tmp_path).read_bytes()
    pickled, single = tmp_path / "pickled.npz", tmp_path / "single.npz"
    np.savez(pickled, **(arrays() | {"obs": np.array([{}], dtype=object)}))
    with single.open("wb") as file:
        np.save(file, np.zeros(3))
    for name, content in {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello", "tail": whole[:-4]}.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
    flipped = bytearray(whole)
    flipped[whole.index(b"obs.npy") + 150] ^= 255
    (tmp_path / "flipped.npz").write_bytes(flipped)
    for name in ("cut", "empty", "text", "tail", "flipped", "pickled", "single"):
        with pytest.raises(InputError, match=rf"{name}\.npz: ") as caught:
            read(tmp_path / f"{name}.npz")
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):  # a script says so in one line
        read(tmp_path / "nowhere.npz")


@pytest.mark.parametrize("key", ["episode_returns", "episode_lengths"])
def test_totals_may_be_left_out(key: str, tmp_path: Path):
    assert read(stored(tmp_path, **{key: None})).lengths.tolist() == [3, 2]


def test_what_is_written_is_read_and_its_bytes_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = read(stored(tmp_path))
    demos.write(tmp_path / "new" / "a.npz", first, LEFT_RIGHT)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))
    demos.write(tmp_path / "b.npz", first, LEFT_RIGHT)
    assert (tmp_path / "new" / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    with np.load(tmp_path / "b.npz") as file:
        for name, array in arrays().items():
            assert np.array_equal(file[name], array), name
    again = read(tmp_path / "b.npz")
    assert all(torch.equal(a, b) for a, b in zip(first.steps, again.steps, strict=True))


class Steady:
    """Moves by half; sampled, by more than the bounds allow, and at random."""

    def mode(self, obs: Tensor) -> Tensor:
        return torch.full((len(obs), 1), 0.5)

    def act(self, obs: Tensor) -> Tensor:
        return 2 + torch.rand(len(obs), 1)


@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_recording_holds_whole_episodes_in_order(mode: AutoresetMode, number: int):
    env = SyncVectorEnv([Counting] * number, autoreset_mode=mode)
    got = demos.record(Steady(), env, 6, 3, deterministic=True, env_kwargs={"a": 1})
    lengths = [expected(3 + i)[1] for i in range(6)]
    rows = [[3 + i, t, 0.5 * t] for i, length in enumerate(lengths) for t in range(length)]
    assert got.steps.obs.tolist() == rows
    assert got.steps.next_obs.tolist() == [[seed, t + 1, moved + 0.5] for seed, t, moved in rows]
    assert got.lengths.tolist() == lengths
    assert got.returns.tolist() == [expected(3 + i)[0] for i in range(6)]
    ends = [(3 + i, t + 1 == length) for i, length in enumerate(lengths) for t in range(length)]
    assert got.steps.terminated.tolist() == [over and seed % 2 == 0 for seed, over in ends]
    assert got.truncated.tolist() == [over and seed % 2 == 1 for seed, over in ends]
    assert got.env_kwargs == {"a": 1}


def test_a_recording_holds_what_was_done_and_repeats(tmp_path: Path):
    env = Serial([Counting] * 2)
    before = torch.get_rng_state()
    got = demos.record(Steady(), env, 3, 0, deterministic=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert got.steps.actions.unique().tolist() == [1]  # clipped
    layout = spaces.observations(env.single_observation_space, where="counting")
    actions = spaces.actions(env.single_action_space, where="counting")
    demos.write(tmp_path / "a.npz", got, actions)
    again = demos.read(tmp_path / "a.npz", layout, actions)
    assert all(torch.equal(a, b) for a, b in zip(got.steps, again.steps, strict=True))


LONG = demos.Demonstrations(
    Transitions(
        torch.arange(50.0).view(50, 1),
        torch.arange(50),
        torch.arange(1, 51.0).view(50, 1),
        torch.tensor([False] * 19 + [True] + [False] * 19 + [True] + [False] * 10),
    ),
    torch.ones(50),
    torch.tensor([False] * 49 + [True]),
    torch.tensor([t in (0, 20, 40) for t in range(50)]),
    "Long-v0",
    {},
)


@given(st.integers(1, 10), st.integers(0, 1000))
def test_subsampling_keeps_every_so_many_from_its_offset(every: int, seed: int):
    got = demos.subsample(LONG, every, seed)
    assert all(0 <= offset < every for offset in got.offsets)
    wanted = [
        first + t
        for first, length, offset in zip((0, 20, 40), (20, 20, 10), got.offsets, strict=True)
        for t in range(offset, length, every)
    ]
    assert got.steps.actions.tolist() == wanted
    assert got.steps.next_obs.flatten().tolist() == [row + 1 for row in wanted]
    assert (got.ends.terminations, got.ends.steps) == (2, 50)  # of the whole, whatever was kept


def test_subsampling_by_seed():
    assert demos.subsample(LONG, 1, 0).steps.rows == 50
    drawn = {demos.subsample(LONG, 5, seed).offsets for seed in range(60)}
    assert {offset for offsets in drawn for offset in offsets} == set(range(5))
    assert any(len(set(offsets)) > 1 for offsets in drawn)  # each trajectory has its own
    assert demos.subsample(LONG, 5, 3).offsets == demos.subsample(LONG, 5, 3).offsets
    with pytest.raises(InputError, match=r"^Long-v0: every 0-th pair: must be 1 or more$"):
        demos.subsample(LONG, 0, 0)
    seed = next(s for s in range(99) if min(np.random.default_rng(s).integers(1000, size=3)) >= 20)
    with pytest.raises(InputError, match=r"^Long-v0: every 1000-th pair of episodes this short leaves none$"):
        demos.subsample(LONG, 1000, seed)


def test_draws_are_uniform_of_the_pairs_that_were_kept():
    kept = demos.subsample(LONG, 10, 0)
    torch.manual_seed(0)
    drawn = kept.pairs(20_000)
    counts = torch.tensor([(drawn.actions == action).float().mean() for action in kept.steps.actions])
    torch.testing.assert_close(counts, torch.full((5,), 1 / 5), atol=0.02, rtol=0)
    assert torch.equal(drawn.obs[:, 0], drawn.actions.float())
    assert torch.equal(drawn.next_obs, drawn.obs + 1)
    assert torch.equal(drawn.terminated, (drawn.actions == 19) | (drawn.actions == 39))
    assert [a.dtype for a in drawn] == [a.dtype for a in kept.steps]
    torch.manual_seed(5)
    one = kept.pairs(10)
    torch.manual_seed(5)
    assert torch.equal(one.actions, kept.pairs(10).actions)  # resumes with torch's own generator
    assert not kept.pairs(0).rows


def test_the_aimless_draw_evenly_whatever_they_see():
    aimless = demos.Aimless(LEFT_RIGHT, 0)
    drawn = aimless.act(torch.zeros(4000, 1))
    assert drawn.float().mean() == pytest.approx(0.5, abs=0.05)  # six standard errors
    assert not torch.equal(drawn, aimless.mode(torch.zeros(4000, 1)))
    assert torch.equal(drawn, demos.Aimless(LEFT_RIGHT, 0).act(torch.ones(4000, 1)))


def test_random_actions_change_the_actions_alone(tmp_path: Path):
    whole = read(stored(tmp_path))
    many = replace(whole, steps=whole.steps.take(torch.zeros(1000, dtype=torch.long)))
    drawn = demos.random_actions(many, LEFT_RIGHT, 0)
    assert drawn.steps.actions.float().mean() == pytest.approx(0.5, abs=0.06)
    assert torch.equal(drawn.steps.obs, many.steps.obs)
    assert torch.equal(drawn.steps.actions, demos.random_actions(many, LEFT_RIGHT, 0).steps.actions)
    assert not torch.equal(drawn.steps.actions, demos.random_actions(many, LEFT_RIGHT, 1).steps.actions)


def spaces_of(env_id: str, **kwargs: Any) -> tuple[spaces.Observations, spaces.Actions]:
    env = make(env_id, 1, kwargs)
    layout = spaces.observations(env.single_observation_space, where=env_id)
    actions = spaces.actions(env.single_action_space, where=env_id)
    env.close()
    return layout, actions


def test_the_bundled_demonstrations_can_be_played_again():
    got = demos.read(BUNDLED, *spaces_of("CartPole-v1"))
    assert (got.lengths.tolist(), got.returns.tolist()) == ([500] * 4, [500] * 4)
    assert (got.env_id, dict(got.env_kwargs)) == ("CartPole-v1", {})
    assert BUNDLED.stat().st_size <= 60_000

    class Again:
        def __init__(self) -> None:
            self.time = -1

        def mode(self, obs: Tensor) -> Tensor:
            self.time += 1
            return got.steps.actions.view(4, 500)[:, self.time]

        act = mode

    played = demos.record(Again(), make("CartPole-v1", 4, {}, native=False), 4, 0, deterministic=True)
    for before, now in zip(got.steps, played.steps, strict=True):
        torch.testing.assert_close(now, before)


@pytest.mark.parametrize(
    ("name", "env_id", "mean", "length"),
    [
        ("cartpole_zoo_stoch", "CartPole-v1", 500.0, 500),
        ("acrobot_zoo_det", "Acrobot-v1", -73.1, 74),
        ("pendulum_zoo_det", "Pendulum-v1", -170.0, 200),
        ("hopper_gailpaper_stoch", "Hopper-v5", 3180.2, 895),
        ("reacher_gailpaper_stoch", "Reacher-v5", -4.3, 50),
    ],
)
def test_published_trajectories(name: str, env_id: str, mean: float, length: float):
    path = DATA / f"traj_{name}.npz"
    if not path.exists():
        pytest.skip("the experts' trajectories are not here")
    if env_id in ("Hopper-v5", "Reacher-v5"):
        pytest.importorskip("mujoco")
    got = demos.read(path, *spaces_of(env_id))
    assert len(got.lengths) == 25
    assert got.returns.mean().item() == pytest.approx(mean, abs=0.06)
    assert got.lengths.double().mean().item() == pytest.approx(length, abs=0.6)
    assert got.env_id == env_id


class MinariSet:
    def __init__(self, parts: list[Any], env_spec: Any) -> None:
        self.parts, self.env_spec = parts, env_spec

    def iterate_episodes(self) -> list[Any]:
        return self.parts


def minari_episode(first: float, length: int, terminated: bool, truncated: bool) -> Any:
    last = [False] * (length - 1)
    return pytest.importorskip("minari").EpisodeData(
        id=0,
        observations=np.array([[first + t, 1] for t in range(length + 1)], np.float64),
        actions=np.array([3 + t % 2 for t in range(length)]),
        rewards=np.arange(float(length)),
        terminations=np.array([*last, terminated]),
        truncations=np.array([*last, truncated]),
        infos={},
    )


def test_a_minari_data_set(monkeypatch: pytest.MonkeyPatch):
    parts = [
        minari_episode(0, 3, True, False),
        minari_episode(7, 2, False, True),
        minari_episode(20, 4, False, False),
    ]
    names: list[str] = []

    def load(name: str, download: bool) -> MinariSet:
        names.append(name)
        return MinariSet(parts, make("CartPole-v1", 1, {"sutton_barto_reward": True}, native=False).spec)

    monkeypatch.setattr("minari.load_dataset", load)
    got = demos.read("minari:walk/test-v0", WALK, LEFT_RIGHT)
    assert names == ["walk/test-v0"]
    assert got.lengths.tolist() == [3, 2, 4]
    assert got.returns.tolist() == [3, 1, 6]
    assert got.steps.obs[:, 0].tolist() == [0, 1, 2, 7, 8, 20, 21, 22, 23]
    assert got.steps.next_obs[:, 0].tolist() == [1, 2, 3, 8, 9, 21, 22, 23, 24]
    assert got.steps.actions.tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 1]
    assert got.steps.terminated.nonzero().flatten().tolist() == [2]
    assert got.truncated.nonzero().flatten().tolist() == [4, 8]  # the last was cut off without a flag
    assert (got.env_id, got.env_kwargs) == ("CartPole-v1", {"sutton_barto_reward": True})
    with pytest.raises(InputError, match=r"^minari:walk/test-v0: 4 trajectories asked for, 3 there$"):
        demos.read("minari:walk/test-v0", WALK, LEFT_RIGHT, trajectories=4)
    parts.clear()
    with pytest.raises(InputError, match=r"^minari:walk/test-v0: no episodes$"):
        demos.read("minari:walk/test-v0", WALK, LEFT_RIGHT)


def test_a_minari_data_set_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("minari")

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr("minari.load_dataset", fail)
    with pytest.raises(InputError, match=r"^minari:no/such-v0: no network$"):
        demos.read("minari:no/such-v0", WALK, LEFT_RIGHT)


def test_arguments_of_the_environment_are_kept_as_json(tmp_path: Path):
    whole = replace(read(stored(tmp_path)), env_kwargs={"b": [1, 2], "a": None})
    demos.write(tmp_path / "k.npz", whole, LEFT_RIGHT)
    assert read(tmp_path / "k.npz").env_kwargs == {"a": None, "b": [1, 2]}
    with np.load(tmp_path / "k.npz") as file:
        assert json.loads(str(file["env_kwargs"])) == {"a": None, "b": [1, 2]}
