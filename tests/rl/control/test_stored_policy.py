import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rl.control import environments, evaluation, stored_policy
from rl.runtime import InputError

DATA = Path(__file__).parents[4] / "shared/data/control"


def arrays(**changes: Any) -> dict[str, np.ndarray]:
    """Two numbers, one hidden layer of two, a Gaussian of one number."""
    given = {
        "obs_mean": [1.0, 0.0],
        "obs_scale": [2.0, 1.0],
        "obs_clip": 1.5,
        "n_hidden": 1,
        "activation": "relu",
        "W0": [[1.0, -1.0], [2.0, 0.0]],
        "b0": [0.0, 1.0],
        "Wout": [[2.0], [10.0]],
        "bout": [0.5],
        "head": "gaussian",
        "log_std": [math.log(3)],
    }
    return {key: np.array(value) for key, value in (given | changes).items() if value is not None}


def stored(folder: Path, **changes: Any) -> stored_policy.StoredPolicy:
    np.savez(folder / "policy.npz", **arrays(**changes))
    return stored_policy.load(folder / "policy.npz")


# obs (3, 9) -> (1, 1.5 clipped); hidden: 1 + 3 = 4 and -1 + 1 = 0
OBS = torch.tensor([[3.0, 9.0], [-5.0, 0.0]])  # the second: (-1.5 clipped, 0) -> -1.5 and 1.5 + 1


def test_a_gaussian_by_hand(tmp_path: Path):
    policy = stored(tmp_path)
    assert policy.mode(OBS).tolist() == [[8.5], [25.5]]
    assert (policy.mode(OBS).dtype, policy.act(OBS).dtype) == (torch.float32, torch.float32)
    torch.manual_seed(0)
    drawn = policy.act(OBS[:1].expand(20_000, 2))
    assert drawn.mean().item() == pytest.approx(8.5, abs=0.1)
    assert drawn.std().item() == pytest.approx(3, abs=0.05)
    assert (policy.width, policy.size) == (2, 1)


@pytest.mark.parametrize(
    ("activation", "mode"),
    [
        ("leaky_relu_0.01", 2 * -0.015 + 25.5),
        ("tanh", 2 * math.tanh(-1.5) + 10 * math.tanh(2.5) + 0.5),
    ],
)
def test_activations_by_hand(activation: str, mode: float, tmp_path: Path):
    assert stored(tmp_path, activation=activation).mode(OBS[1:]).item() == pytest.approx(mode)


def test_no_hidden_layer_and_no_clip(tmp_path: Path):
    policy = stored(tmp_path, n_hidden=0, obs_clip=math.inf)
    assert policy.mode(OBS).tolist() == [[2 * 1 + 10 * 9 + 0.5], [2 * -3 + 0.5]]


def test_choices(tmp_path: Path):
    logits = {"Wout": [[0.0, 0.0], [0.0, 0.0]], "bout": [0.0, math.log(3)]}
    policy = stored(tmp_path, head="categorical", **logits)
    assert policy.mode(OBS).tolist() == [1, 1]
    torch.manual_seed(0)
    drawn = policy.act(OBS[:1].expand(20_000, 2))
    assert drawn.dtype == torch.int64
    assert drawn.float().mean().item() == pytest.approx(0.75, abs=0.01)
    greedy = stored(tmp_path, head="q_values", **logits)
    assert greedy.act(OBS[:1].expand(1000, 2)).unique().tolist() == greedy.mode(OBS[:1]).tolist() == [1]


def test_squashed(tmp_path: Path):
    bounds = {"head": "tanh_gaussian", "act_low": [-1.0], "act_high": [3.0], "Wout": [[0.1], [0.0]], "bout": [0.0]}
    spread = {"Wlogstd": [[0.0], [1.0]], "blogstd": [-1.0]}
    policy = stored(tmp_path, **bounds, **spread)
    assert policy.mode(OBS)[0].item() == pytest.approx(1 + 2 * math.tanh(0.4))
    torch.manual_seed(0)
    drawn = policy.act(OBS[:1].expand(20_000, 2))
    before = torch.atanh((drawn.double() - 1) / 2)
    assert before.mean().item() == pytest.approx(0.4, abs=0.01)
    assert before.std().item() == pytest.approx(math.exp(-1), abs=0.01)
    wide = stored(tmp_path, **bounds, **(spread | {"blogstd": [50.0]})).act(OBS[:1].expand(20_000, 2))
    inside = (wide > -0.999) & (wide < 2.999)
    assert inside.float().mean().item() == pytest.approx(0.425, abs=0.015)  # |N(.4, e^4)| < atanh(.9995)

    mode_only = stored(tmp_path, **bounds)
    assert torch.equal(mode_only.mode(OBS), policy.mode(OBS))
    with pytest.raises(InputError, match=r"policy\.npz: Wlogstd: missing, so it can only be used deterministically$"):
        mode_only.act(OBS)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"head": None, "Wout": None}, "Wout, head: missing (there: "),
        ({"head": "gauss"}, "head: 'gauss' is not known; did you mean 'gaussian'?"),
        ({"activation": "swish"}, "activation: 'swish' is not known; allowed: leaky_relu_0.01, relu, tanh"),
        ({"n_hidden": 2}, "W1: missing"),
        ({"n_hidden": -1}, "n_hidden: -1, expected a number of layers"),
        ({"n_hidden": 1.0}, "n_hidden: 1.0, expected a number of layers"),
        ({"log_std": None}, "log_std: missing"),
        ({"log_std": [0.0, 0.0]}, "head: for 2 numbers, Wout gives 1"),
        ({"obs_scale": [1.0]}, "obs_scale: 1 numbers, obs_mean has 2"),
        ({"W0": [[1.0, 2.0]]}, "W0: shape (1, 2), expected (2, 2)"),
        ({"b0": [1.0]}, "W0: shape (2, 2), expected (2, 1)"),
        ({"Wout": [[1.0]]}, "Wout: shape (1, 1), expected (2, 1)"),
        ({"Wout": [1.0]}, "Wout: float64 (1,), expected 2 dimensions of numbers"),
        ({"bout": [math.nan]}, "bout: float64 (1,), expected 1 dimensions of numbers"),
        ({"bout": ["a"]}, "bout: <U1 (1,), expected 1 dimensions of numbers"),
        ({"head": "tanh_gaussian"}, "act_low: missing"),
    ],
)
def test_one_line_for_what_is_wrong(changes: dict[str, Any], line: str, tmp_path: Path):
    with pytest.raises(InputError) as caught:
        stored(tmp_path, **changes)
    assert str(caught.value).startswith(f"{tmp_path / 'policy.npz'}: {line}")


def published(name: str) -> stored_policy.StoredPolicy:
    path = DATA / f"policy_{name}.npz"
    if not path.exists():
        pytest.skip("the experts' policies are not here")
    return stored_policy.load(path)


@pytest.mark.parametrize(
    "name",
    [
        *("acrobot_zoo", "cartpole_zoo", "mountaincar_zoo", "pendulum_zoo", "mountaincarcontinuous_zoo"),
        *("hopper_gailpaper", "halfcheetah_gailpaper", "halfcheetah_sac_zoo", "ant27_zoo"),
    ],
)
def test_an_expert_does_what_its_trajectories_hold(name: str):
    policy = published(name)
    with np.load(DATA / f"traj_{name}_det.npz") as file:
        obs, acts = torch.from_numpy(file["obs"]), torch.from_numpy(file["acts"])
    chosen = policy.mode(obs)
    if acts.dtype == torch.int64:
        assert torch.equal(chosen, acts)
    else:
        bounds = {"pendulum_zoo": 2.0}.get(name, 1.0)
        torch.testing.assert_close(chosen.clamp(-bounds, bounds), acts, atol=1e-4, rtol=1e-4)


def test_an_expert_earns_what_is_published():
    got = evaluation.returns(published("acrobot_zoo").mode, environments.make("Acrobot-v1", 5, {}), 20, 0)
    assert (got.mean, got.std) == (pytest.approx(-71.2, abs=0.05), pytest.approx(8.3, abs=0.05))


def test_the_papers_expert_earns_what_is_published():
    pytest.importorskip("mujoco")
    got = evaluation.returns(published("reacher_gailpaper").mode, environments.make("Reacher-v5", 5, {}), 20, 0)
    assert (got.mean, got.std) == (pytest.approx(-3.4, abs=0.05), pytest.approx(1.4, abs=0.05))
