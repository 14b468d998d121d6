import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Dict, MultiBinary
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers import TransformObservation
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rl.control import episodes as whole
from rl.control import evaluation
from rl.control.environments import Serial, make
from rl.control.spaces import Actions
from rl.runtime import InputError, Stopped
from tests.rl.control.counting import Counting, expected

MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)


def stay(obs: Tensor) -> Tensor:
    return torch.zeros(len(obs), 1)


def serial(number: int, **kwargs: Any) -> Serial:
    return Serial([lambda: Counting(**kwargs)] * number)


@given(st.integers(1, 5), st.integers(1, 11), st.integers(0, 50))
def test_each_seed_is_counted_once_whatever_the_lengths(number: int, episodes: int, seed: int):
    got = evaluation.returns(stay, serial(number), episodes, seed)
    assert list(zip(got.returns, got.lengths, strict=True)) == [expected(seed + i) for i in range(episodes)]


@pytest.mark.parametrize("mode", MODES)
def test_the_three_modes_of_autoreset_count_the_same(mode: AutoresetMode):
    env = SyncVectorEnv([Counting] * 3, autoreset_mode=mode)
    got = evaluation.returns(stay, env, 8, 5)
    assert list(zip(got.returns, got.lengths, strict=True)) == [expected(5 + i) for i in range(8)]


def nested_counting() -> gymnasium.Env[Any, Any]:
    space = Dict(inner=Dict(numbers=Counting.observation_space))
    return TransformObservation(Counting(), lambda obs: {"inner": {"numbers": obs}}, space)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("nested", [False, True])
def test_a_step_is_whole_in_the_three_modes(mode: AutoresetMode, nested: bool):
    env = SyncVectorEnv([nested_counting if nested else Counting] * 2, autoreset_mode=mode)
    seen = dict.fromkeys(range(3), 0)
    for step in whole.play(lambda obs: torch.full((len(obs), 1), 0.5), env, 3, 4):
        for row in np.flatnonzero(step.episode >= 0):
            episode = int(step.episode[row])
            seen[episode] += 1
            time = seen[episode]
            assert step.obs[row].tolist() == [4 + episode, time - 1, 0.5 * (time - 1)]
            assert step.next_obs[row].tolist() == [4 + episode, time, 0.5 * time]
            over = time == expected(4 + episode)[1]
            assert (step.terminated[row], step.truncated[row]) == (over and episode % 2 == 0, over and episode % 2 == 1)
    assert list(seen.values()) == [expected(4 + i)[1] for i in range(3)]


class Stacked(VectorWrapper[Any, Any, Any, Any, Any]):
    """Gives the last observations as one batch."""

    def step(self, actions: Any) -> Any:
        *outcome, info = self.env.step(actions)
        if "final_obs" in info:
            nested = isinstance(self.single_observation_space, Dict)
            numbers = [np.full(3, np.nan) if obs is None else obs for obs in info["final_obs"]]
            numbers = [obs["inner"]["numbers"] if isinstance(obs, dict) else obs for obs in numbers]
            batch = np.stack(numbers).astype(np.float32)
            info["final_obs"] = {"inner": {"numbers": batch}} if nested else batch
        return *outcome, info


@pytest.mark.parametrize("nested", [False, True])
def test_last_observations_may_come_as_one_batch(nested: bool):
    env = Stacked(SyncVectorEnv([nested_counting if nested else Counting] * 3, autoreset_mode=AutoresetMode.SAME_STEP))
    last = [0.0] * 3
    for step in whole.play(stay, env, 3, 4):
        for row in np.flatnonzero(step.episode >= 0):
            last[step.episode[row]] = step.next_obs[row][1]
    assert last == [expected(4 + i)[1] for i in range(3)]


@pytest.mark.parametrize("mode", MODES)
def test_an_environment_may_write_to_the_same_memory_each_time(mode: AutoresetMode):
    env = SyncVectorEnv([Counting] * 2, autoreset_mode=mode, copy=False)
    steps = list(whole.play(stay, env, 2, 4))
    assert [step.obs[0, 1] for step in steps if step.episode[0] == 0] == [0, 1]
    assert [step.next_obs[1, 1] for step in steps if step.episode[1] == 1] == [1, 2, 3]


def test_an_environment_vectorised_by_itself_counts_first_episodes_only():
    env = make("CartPole-v1", 4, {})
    acted: list[int] = []

    def push(obs: Tensor) -> Tensor:
        acted.append(len(obs))
        return torch.ones(len(obs), dtype=torch.long)

    got = evaluation.returns(push, env, 10, 0)
    assert got.returns == got.lengths
    assert all(8 <= length <= 11 for length in got.lengths)  # a constant push has fallen by then
    assert len(acted) <= 33  # three waves, each as long as its longest episode


@pytest.mark.parametrize("native", [False, True])
def test_torchs_generator_is_left_alone_and_the_draws_repeat(native: bool):
    def toss(obs: Tensor) -> Tensor:
        return torch.randint(2, (len(obs),))

    env = make("CartPole-v1", 3, {}, native=native)
    before = torch.get_rng_state()
    one = evaluation.returns(toss, env, 5, 7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(123)
    assert evaluation.returns(toss, env, 5, 7) == one
    assert evaluation.returns(toss, env, 5, 8) != one
    assert evaluation.random_returns(env, 5, 7) == evaluation.random_returns(env, 5, 7)
    assert evaluation.random_returns(env, 5, 7) != evaluation.random_returns(env, 5, 8)


def test_a_policy_acts_without_a_gradient_and_the_moments_are_those_of_the_population():
    weight = torch.ones(1, requires_grad=True)

    def act(obs: Tensor) -> Tensor:
        out = 0 * obs[:, :1] * weight
        assert not out.requires_grad
        return out

    assert evaluation.returns(act, serial(1), 1, 0).mean == 3
    assert (evaluation.Returns([1, 3], [1, 1]).mean, evaluation.Returns([1, 3], [1, 1]).std) == (2, 1)


def test_random_returns_match_the_published_ones():
    got = evaluation.random_returns(make("CartPole-v1", 100, {}), 400, 0)
    assert got.mean == pytest.approx(22.2, abs=2.2)  # of 10,000 episodes; 95 % of means of 400 lie within 1.2


@pytest.mark.parametrize("fault", ["reward", "obs"])
def test_what_is_not_finite_ends_the_evaluation(fault: str):
    with pytest.raises(InputError, match=r"^Serial: a reward or an observation is not finite$"):
        evaluation.returns(stay, serial(2, fault=fault), 2, 0)


def test_endless_episodes_and_no_episodes_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(whole, "LONGEST", 50)
    with pytest.raises(InputError, match=r"^Serial: an episode goes on after 50 steps: it needs a time limit$"):
        evaluation.returns(stay, serial(2, endless=True), 2, 0)
    with pytest.raises(InputError, match=r"^Serial: 0 episodes: at least one$"):
        evaluation.returns(stay, serial(2), 0, 0)


def test_age_is_counted_from_the_episodes_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(whole, "LONGEST", 6)  # the longest here has 5 steps
    assert len(evaluation.returns(stay, serial(2), 20, 0).returns) == 20


def test_uniform_actions_fill_the_space():
    generator = np.random.default_rng(0)
    box = Actions("box", 3, (-2.0, 0.0, -np.inf), (1.0, np.inf, np.inf))
    drawn = whole.uniform(box, 20_000, generator)
    assert (drawn.dtype, drawn.shape) == (torch.float32, (20_000, 3))
    assert (drawn[:, 0].min() >= -2) & (drawn[:, 0].max() <= 1) & (drawn[:, 1].min() >= 0)
    torch.testing.assert_close(drawn[:, 0].mean(), torch.tensor(-0.5), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn[:, 0].var(), torch.tensor(9 / 12), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn[:, 2].std(), torch.tensor(1.0), atol=0.03, rtol=0)
    choices = whole.uniform(Actions("discrete", 3, (), (), 5), 30_000, generator)
    assert choices.dtype == torch.int64
    torch.testing.assert_close(choices.bincount(minlength=3) / 30_000, torch.full((3,), 1 / 3), atol=0.02, rtol=0)


def test_frames_film_strip_and_video(tmp_path: Path):
    pytest.importorskip("pygame")
    from PIL import Image

    def push(obs: Tensor) -> Tensor:
        assert obs.shape == (1, 4)
        return torch.ones(1, dtype=torch.long)

    frames = evaluation.frames(push, "CartPole-v1", {}, seed=0)
    length = int(evaluation.returns(push, make("CartPole-v1", 1, {}, native=False), 1, 0).lengths[0])
    assert len(frames) == length + 1
    assert (frames[0].shape, frames[0].dtype) == ((400, 600, 3), np.uint8)
    assert not np.array_equal(frames[0], frames[-1])
    assert len(evaluation.frames(push, "CartPole-v1", {}, seed=0, limit=3)) == 3

    evaluation.film_strip(tmp_path / "strip.png", frames, count=3)
    with Image.open(tmp_path / "strip.png") as image:
        strip = np.array(image)
    assert strip.shape == (400, 1800, 3)
    assert np.array_equal(strip[:, :600], frames[0])
    assert np.array_equal(strip[:, 1200:], frames[-1])
    evaluation.film_strip(tmp_path / "none.png", [])
    assert not (tmp_path / "none.png").exists()

    evaluation.video(tmp_path / "film.gif", frames, fps=25)
    with Image.open(tmp_path / "film.gif") as film:
        assert 1 < film.n_frames <= len(frames)  # equal neighbours are kept as one, for twice as long
        assert film.info["duration"] in (40, 80)
    with pytest.raises(InputError, match=r"film\.what: a film is a \.gif or an \.mp4$"):
        evaluation.video(tmp_path / "film.what", frames)


@pytest.mark.parametrize(("env_id", "kwargs"), [("CartPole-v1", {"no": 1}), ("Nowhere-v7", {})])
def test_no_pictures_is_a_warning(env_id: str, kwargs: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    assert evaluation.frames(stay, env_id, kwargs, 0) == []
    assert capsys.readouterr().err.startswith(f"warning: {env_id}: no pictures: ")


def test_a_renderer_that_fails_is_a_warning(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    def fail(self: CartPoleEnv) -> None:
        raise RuntimeError("no display")

    monkeypatch.setattr(CartPoleEnv, "render", fail)
    assert evaluation.frames(stay, "CartPole-v1", {}, 0) == []
    assert capsys.readouterr().err == "warning: CartPole-v1: no pictures: no display\n"


@pytest.mark.parametrize("method", ["__init__", "render"])
def test_a_signal_is_no_failed_renderer(method: str, monkeypatch: pytest.MonkeyPatch):
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    def stop(self: CartPoleEnv, *args: Any, **kwargs: Any) -> None:
        raise Stopped(15)

    monkeypatch.setattr(CartPoleEnv, method, stop)
    with pytest.raises(Stopped):
        evaluation.frames(stay, "CartPole-v1", {}, 0)


def test_an_mp4(tmp_path: Path):
    pytest.importorskip("imageio_ffmpeg")
    evaluation.video(tmp_path / "film.mp4", [np.full((32, 32, 3), 20 * i, np.uint8) for i in range(5)])
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"


def test_an_mp4_without_imageio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    real: Callable[..., Any] = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("imageio"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="pip install 'imageio"):
        evaluation.video(tmp_path / "film.mp4", [np.zeros((8, 8, 3), np.uint8)])


def test_the_name_in_messages():
    env: VectorEnv[Any, Any, Any] = make("CartPole-v1", 1, {})
    assert (whole.name_of(env), whole.name_of(serial(1))) == ("CartPole-v1", "Serial")


def test_spaces_that_are_not_supported_are_named_once():
    class Switches(Counting):
        action_space = MultiBinary(2)

    env = Serial([Switches])
    for play in (lambda: evaluation.random_returns(env, 1, 0), lambda: evaluation.returns(stay, env, 1, 0)):
        with pytest.raises(InputError, match=r"^Serial: actions: MultiBinary is not supported"):
            play()
