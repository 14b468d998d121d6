from pathlib import Path

import numpy as np
import pytest

from experiments import record
from tests.experiments.helpers import CHECKOUT, call, succeed

BUNDLED = CHECKOUT / "experiments/data/cartpole_expert.npz"
CARTPOLE = ("--policy", "cartpole-controller", "--env", "CartPole-v1")


@pytest.fixture
def pushes_right(tmp_path: Path) -> Path:
    path = tmp_path / "policy.npz"
    np.savez(
        path,
        obs_mean=np.zeros(4),
        obs_scale=np.ones(4),
        obs_clip=np.inf,
        n_hidden=0,
        activation="tanh",
        Wout=np.zeros((4, 2)),
        bout=np.array([0.0, 9.0]),
        head="categorical",
    )
    return path


def test_the_bundled_file_is_what_its_command_records(tmp_path: Path):
    said = succeed(record.main, *CARTPOLE, "--episodes", 4, "--output", tmp_path / "a.npz")
    assert said.splitlines() == [
        f"{tmp_path / 'a.npz'}: 4 episodes, 2000 steps",
        "return: mean 500.0, least 500.0, largest 500.0",
    ]
    with np.load(tmp_path / "a.npz") as now, np.load(BUNDLED) as before:
        assert set(now.files) == set(before.files)
        for name in now.files:  # other processors round the last bit otherwise
            if now[name].dtype == np.float32:
                np.testing.assert_allclose(now[name], before[name], atol=1e-5)
            else:
                assert np.array_equal(now[name], before[name]), name


def test_the_controller_is_noisy_and_still_good(tmp_path: Path):
    with np.load(BUNDLED) as file:
        obs, acts = file["obs"], file["acts"]
    import torch

    agreed = (record.CartPoleController().mode(torch.from_numpy(obs)).numpy() == acts).mean()
    assert agreed == pytest.approx(1 - record.CartPoleController.noise / 2, abs=0.01)
    out = tmp_path / "many.npz"
    succeed(record.main, *CARTPOLE, "--episodes", 20, "--seed", 1000, "--deterministic", "--output", out)
    with np.load(out) as file:
        assert file["episode_returns"].tolist() == [500.0] * 20


def test_a_stored_policy_and_the_environments_arguments(pushes_right: Path, tmp_path: Path):
    out = tmp_path / "b.npz"
    arguments = ("--policy", pushes_right, "--env", "CartPole-v1", "--episodes", 3, "--output", out)
    succeed(record.main, *arguments, "--deterministic", "--env-kwargs", '{"sutton_barto_reward": true}')
    with np.load(out) as file:
        assert file["acts"].all()
        assert file["episode_returns"].tolist() == [-1.0] * 3
        assert str(file["env_kwargs"]) == '{"sutton_barto_reward": true}'


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"--policy": "."}, "config.json: not a run's folder: No such file or directory"),
        ({"--policy": "nowhere.npz"}, "nowhere.npz: No such file or directory"),
        ({"--env": "Acrobot-v1"}, "--policy cartpole-controller: is for CartPole, not for observations of 6 numbers"),
        ({"--env": "CartPole-v7"}, "CartPole-v7: "),
        ({"--episodes": 0}, "--episodes 0: at least one"),
        ({"--seed": -1}, "--seed -1: must be zero or more, and below 2^62"),
        ({"--env-kwargs": "{no"}, "--env-kwargs {no: Expecting property name"),
        ({"--env-kwargs": "3"}, "--env-kwargs 3: expected a JSON object"),
        ({"--output": "a.txt"}, "--output a.txt: must end in .npz"),
    ],
)
def test_one_line_for_what_is_wrong(change: dict[str, object], line: str, tmp_path: Path):
    given = {"--policy": "cartpole-controller", "--env": "CartPole-v1", "--output": tmp_path / "c.npz"} | change
    ended = call(record.main, *(word for pair in given.items() for word in pair))
    assert ended.code == 2
    assert ended.err.startswith(f"error: {line}")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("env", "line"),
    [
        ("Acrobot-v1", "obs_mean: sees 4 numbers, the environment gives 6"),
        ("MountainCar-v0", "obs_mean: sees 4 numbers, the environment gives 2"),
    ],
)
def test_a_policy_of_another_environment(env: str, line: str, pushes_right: Path, tmp_path: Path):
    ended = call(record.main, "--policy", pushes_right, "--env", env, "--output", tmp_path / "c.npz")
    assert (ended.code, ended.err) == (2, f"error: --policy {pushes_right}: {line}\n")


def test_a_policy_with_other_actions(pushes_right: Path, tmp_path: Path):
    arrays = dict(np.load(pushes_right))
    out = ("--env", "CartPole-v1", "--output", tmp_path / "c.npz")
    np.savez(pushes_right, **(arrays | {"Wout": np.zeros((4, 3)), "bout": np.zeros(3)}))
    ended = call(record.main, "--policy", pushes_right, *out)
    assert ended.err == f"error: --policy {pushes_right}: head: 3 choices, the environment takes discrete of 2\n"
    np.savez(pushes_right, **(arrays | {"head": "gaussian", "log_std": np.zeros(2)}))
    ended = call(record.main, "--policy", pushes_right, *out)
    assert ended.err == f"error: --policy {pushes_right}: head: 2 numbers, the environment takes discrete of 2\n"
