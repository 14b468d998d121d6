"""What a run of an imitator leaves, for every variant and every kind of space; that it repeats and can be measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import evaluate, gail, gail_results
from experiments.gail_setup import BUNDLED
from rl.control import environments, spaces
from rl.control.discriminators import StepDiscriminator
from rl.control.encoder import Encoder
from rl.control.learned_reward import LearnedReward
from rl.control.variants import VARIANTS
from rl.objectives import GAIL
from rl.runtime import checkpoints
from tests.experiments import toys
from tests.experiments.helpers import GAIL_TINY, call, fingerprint, rows, succeed

KEYS = {
    "return_mean", "return_std", "return_expert", "return_random", "return_normalised", "env_steps",
    "env_steps_per_second",
}  # fmt: skip
OFF_POLICY = [name for name, row in VARIANTS.items() if row.generator in ("sac", "td3")]
ON_POLICY = [name for name in VARIANTS if name not in (*OFF_POLICY, "bc")]


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with toys.registered():
        yield


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end before the final measuring."""
    monkeypatch.setattr(gail_results, "finish", lambda *_, **__: None)


def trained(folder: Path, variant: str, *flags: object) -> tuple[str, list[dict[str, Any]]]:
    succeed(gail.main, variant, *GAIL_TINY, *flags, "--run-dir", folder)
    return fingerprint(folder), rows(folder)


def test_a_run_leaves_all_that_a_run_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    out = succeed(gail.main, "gail", *GAIL_TINY, "--run-dir", run)
    assert out.startswith(f"run: {run}\n")
    assert out.endswith(f"report: {run}/report.html\n")
    names = {"config.json", "metrics.jsonl", "summary.json", "histograms.json", "report.html"}
    folders = {"checkpoints", "tensorboard", "reward", ".lock"}
    assert names | folders == {path.name for path in run.iterdir()}
    description = json.loads((run / "config.json").read_text())
    assert (description["family"], description["variant"]) == ("gail", "gail")
    assert {"seed", "config", "versions", "commit", "command", "platform", "threads"} <= description.keys()
    assert description["config"]["env"] == "CartPole-v1"
    assert description["config"]["numbers"]["hidden"] == [8]
    table = rows(run)
    assert [row["step"] for row in table] == [32, 64]
    learned = {"d/loss", "d/accuracy_expert", "d/accuracy_agent", "reward", "agent/policy_loss", "agent/kl"}
    measured = {"return_mean", "return_std", "episode_length"}
    assert all(learned | measured <= row.keys() for row in table)
    assert all(np.isfinite(value) for row in table for value in row.values())
    assert checkpoints.steps(run) == [0, 64]
    for step in (0, 64):
        checkpoints.verify(run / f"checkpoints/step-{step}")
    seen = checkpoints.load(run / "checkpoints/step-0")["agent"]["encoder.normaliser.mean"]
    np.testing.assert_allclose(seen, np.load(BUNDLED)["obs"].mean(0), atol=1e-4)
    summary = json.loads((run / "summary.json").read_text())
    assert summary.keys() >= KEYS
    assert all(np.isfinite(value) for value in summary.values())
    assert summary["return_expert"] == 500
    assert 9 <= summary["return_random"] <= 60
    assert summary["env_steps"] == 64
    above = (summary["return_mean"] - summary["return_random"]) / (500 - summary["return_random"])
    assert summary["return_normalised"] == pytest.approx(above)
    assert "<html" in (run / "report.html").read_text()
    assert LearnedReward.load(run / "reward").observations.width == 4
    assert list((run / "tensorboard").glob("events.*"))


def test_without_a_folder_it_makes_one_under_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unmeasured: None
) -> None:
    monkeypatch.chdir(tmp_path)
    out = succeed(gail.main, "ppo", *GAIL_TINY)
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("gail-ppo-")
    assert out.startswith(f"run: runs/{folder.name}\n")


@pytest.mark.parametrize("variant", ON_POLICY)
def test_every_variant_that_learns_from_its_own_steps_runs(tmp_path: Path, variant: str, unmeasured: None) -> None:
    _, table = trained(tmp_path / "run", variant)
    assert checkpoints.steps(tmp_path / "run")[-1] == 64
    assert all(value is not None for row in table for value in row.values())
    judged = VARIANTS[variant].rewarded == "adversary"
    assert all(("d/loss" in row) == judged and "return_mean" in row for row in table)


@pytest.mark.parametrize("variant", OFF_POLICY)
def test_every_variant_that_learns_from_replay_runs(tmp_path: Path, variant: str, unmeasured: None) -> None:
    demos = toys.record(tmp_path / "pendulum.npz", "Pendulum-v1", episodes=1)
    _, table = trained(tmp_path / "run", variant, "--env", "Pendulum-v1", "--demos", demos)
    assert checkpoints.steps(tmp_path / "run")[-1] == 64
    assert all(value is not None for row in table for value in row.values())
    judged = VARIANTS[variant].rewarded == "adversary"
    assert all(("d/loss" in row) == judged and "agent/critic_loss" in row for row in table)


def test_cloning_alone_takes_no_step_in_the_environment(tmp_path: Path) -> None:
    _, table = trained(tmp_path / "run", "bc", "--steps", 0, "--clone-updates", 300)
    assert [row["step"] for row in table] == [0]
    assert "return_mean" in table[0]
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["env_steps"] == 0
    assert summary["return_mean"] > 2 * summary["return_random"]


def test_a_cloned_policy_goes_on_imitating_while_its_values_warm(tmp_path: Path, unmeasured: None) -> None:
    cloned = ["--clone-updates", 3, "--evaluate-every", 16]
    _, table = trained(tmp_path / "run", "gail", *cloned, "--warm-rounds", 2)
    assert [row["step"] for row in table] == [0, 16, 32, 48, 64]
    assert ["agent/policy_loss" in row for row in table] == [False, False, False, True, True]
    assert table[0]["return_mean"] == table[1]["return_mean"] == table[2]["return_mean"]
    assert trained(tmp_path / "cold", "gail", *cloned)[1][1].keys() != table[1].keys()


RUNS = {
    "on the agent's own steps": ("gail", {}),
    "on replay": ("dac", {"acts": "numbers"}),
    "through pixels": ("dac", {"acts": "numbers", "observes": "pixels"}),
}


@pytest.mark.parametrize(("variant", "kind"), RUNS.values(), ids=RUNS)
def test_a_seed_repeats_and_another_differs_and_measuring_changes_nothing(
    tmp_path: Path, unmeasured: None, variant: str, kind: dict[str, str]
) -> None:
    flags = toys.toy(tmp_path, **kind)
    once = trained(tmp_path / "once", variant, *flags)
    assert trained(tmp_path / "again", variant, *flags) == once
    assert trained(tmp_path / "other", variant, *flags, "--seed", 1)[0] != once[0]
    assert trained(tmp_path / "saved", variant, *flags, "--save-seconds", 0) == once
    trained(tmp_path / "often", variant, *flags, "--evaluate-every", 1, "--evaluate-episodes", 5)
    trained(tmp_path / "never", variant, *flags, "--evaluate-every", 10**9)
    states = [checkpoints.load(checkpoints.newest(tmp_path / run)) for run in ("once", "often", "never")]
    for part in ("agent", "discriminator", "optimizer", "d_optimizer", "collector"):
        digests = {
            checkpoints.fingerprint(fragment(tmp_path, number, part, state)) for number, state in enumerate(states)
        }
        assert len(digests) == 1, part


def fragment(folder: Path, number: int, name: str, state: dict[str, Any]) -> Path:
    """One part of a checkpoint as a checkpoint."""

    class Part:
        def state_dict(self) -> Any:
            return state[name]

        def load_state_dict(self, state: Any) -> None: ...

    return checkpoints.save(folder / f"part-{name}-{number}", 0, {name: Part()})


SEEN = ["vector", "matrix", "pixels", "vector and pixels", "choice", "choices"]


LEARNED_IN = [("gail", acts, observes) for acts, observes in zip(["choice", "numbers"] * 3, SEEN, strict=True)]
LEARNED_IN += [("dac", "numbers", observes) for observes in SEEN]
LEARNED_IN += [("dac", "choice", "vector"), ("sqil", "choice", "vector and pixels"), ("dac-td3", "numbers", "pixels")]


@pytest.mark.parametrize(("variant", "acts", "observes"), LEARNED_IN)
def test_every_kind_of_space_is_learned_in(
    tmp_path: Path, unmeasured: None, variant: str, acts: str, observes: str
) -> None:
    _, table = trained(tmp_path / "run", variant, *toys.toy(tmp_path, observes=observes, acts=acts))
    assert all(np.isfinite(value) for row in table for value in row.values())
    agents = [checkpoints.load(tmp_path / f"run/checkpoints/step-{step}")["agent"] for step in (0, 64)]
    learned = [name for name in agents[0] if not bool((agents[0][name] == agents[1][name]).all())]
    assert len(learned) >= 2
    assert any("convolutions" in name for name in learned) == ("pixels" in observes)


def test_actions_without_bounds_are_learned_by_those_that_need_none(tmp_path: Path, unmeasured: None) -> None:
    trained(tmp_path / "run", "gail", *toys.toy(tmp_path, acts="without_bounds"))


@pytest.fixture
def reward(tmp_path: Path) -> Path:
    """A reward of CartPole, never trained."""
    env = environments.make("CartPole-v1", 1, {})
    observations = spaces.observations(env.single_observation_space, where="x")
    actions = spaces.actions(env.single_action_space, where="x")
    encoder = Encoder(observations)
    judge = StepDiscriminator(encoder.features, actions, "state-action", (8,), False, 0.0, "relu")
    LearnedReward(encoder, judge, GAIL(), observations, actions).save(tmp_path / "reward")
    return tmp_path / "reward"


def test_a_learned_reward_pays_instead_of_the_environment(tmp_path: Path, unmeasured: None, reward: Path) -> None:
    _, own = trained(tmp_path / "own", "ppo")
    _, learned = trained(tmp_path / "learned", "ppo", "--reward", reward)
    assert [row["reward"] for row in own] == [1, 1]
    assert all(0 < row["reward"] < 5 and row["reward"] != 1 for row in learned)


def test_demonstrations_of_another_environment_that_fit_are_taken_with_a_warning(
    tmp_path: Path, unmeasured: None
) -> None:
    demos = toys.record(tmp_path / "other.npz", "CartPole-v0")
    ended = call(gail.main, "gail", *GAIL_TINY, "--demos", demos, "--run-dir", tmp_path / "run")
    assert ended.code == 0
    warning = f"warning: {demos}: recorded in CartPole-v0, the agent acts in CartPole-v1\n"
    assert ended.err == warning


@pytest.mark.parametrize("variant", ["gail", "dac"])
def test_a_run_is_measured_again(tmp_path: Path, variant: str) -> None:
    run = tmp_path / "run"
    trained(run, variant, *toys.toy(tmp_path, acts="numbers"), "--save-seconds", 0)
    said = json.loads((run / "summary.json").read_text())
    (run / "summary.json").unlink()
    state = fingerprint(run)
    out = succeed(evaluate.main, run, "--json", tmp_path / "numbers.json")
    again = json.loads((run / "summary.json").read_text())
    timed = {"cpu_seconds", "env_steps_per_second"}
    assert {key: value for key, value in again.items() if key not in timed} == {
        key: value for key, value in said.items() if key not in timed
    }
    assert again["cpu_seconds"] > 0
    assert json.loads((tmp_path / "numbers.json").read_text()) == again
    assert out.startswith(f"checkpoint: {run}/checkpoints/step-64\ntensors: {state}\n")
    earlier = call(evaluate.main, run, "--step", 48)
    assert earlier.code == 0
    assert json.loads((run / "summary.json").read_text())["env_steps"] == 48
    assert fingerprint(run) == state


DIVERGING = [("gail", {}, "--ppo.lr"), ("dac", {"acts": "numbers"}, "--sac.critic-lr"), ("gail", {}, "--d-lr")]


@pytest.mark.parametrize(("variant", "kind", "flag"), DIVERGING)
def test_a_run_that_diverges_ends_with_code_3_and_keeps_its_checkpoint(
    tmp_path: Path, unmeasured: None, variant: str, kind: dict[str, str], flag: str
) -> None:
    run = tmp_path / "run"
    flags = [*GAIL_TINY, *toys.toy(tmp_path, **kind), "--save-seconds", 0, flag, 1e38]
    ended = call(gail.main, variant, *flags, "--run-dir", run)
    assert ended.code == 3, ended.err
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    checkpoints.verify(checkpoints.newest(run))
