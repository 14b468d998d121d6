"""An imitator that was stopped or killed anywhere ends with the same bits as one that was not."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import gail, gail_results, resume
from rl.runtime import checkpoints
from tests.experiments import toys
from tests.experiments.helpers import (
    GAIL_TINY,
    Interrupted,
    assert_begins_anew,
    assert_passed_over,
    assert_same_run,
    assert_stopped,
    call,
    fingerprint,
    interrupted,
    killed_and_stopped,
    rows,
    stoppable_runs,
    strike,
    succeed,
    unmeasured_runs,
    whole_run,
)


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with toys.registered():
        yield


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end before the final measuring."""
    unmeasured_runs(monkeypatch, gail_results)


stoppable = stoppable_runs(gail, gail_results)


def whole(folder: Path, *flags: object) -> Path:
    return whole_run(gail.main, folder, *flags)


def assert_equal(one: Path, other: Path) -> None:
    assert_same_run(one, other)
    states = [checkpoints.load(checkpoints.newest(folder))["collector"] for folder in (one, other)]
    assert states[0].keys() == states[1].keys()
    for name in ("lengths", "generator"):
        assert states[0][name] == states[1][name], name


Flags = Callable[[Path], list[str]]


def cartpole(folder: Path) -> list[str]:
    return []


def pendulum(folder: Path) -> list[str]:
    demos = toys.record(folder / "pendulum.npz", "Pendulum-v1", episodes=1)
    return ["--env", "Pendulum-v1", "--demos", str(demos)]


def hopper(folder: Path) -> list[str]:
    pytest.importorskip("mujoco")
    return ["--env", "Hopper-v5", "--demos", str(toys.record(folder / "hopper.npz", "Hopper-v5"))]


def toy(**kwargs: Any) -> Flags:
    return lambda folder: toys.toy(folder, **kwargs)


# dropout, cloning and the control's own draws too, so that all that has a state is used
RUNS: dict[str, tuple[str, Flags, str]] = {
    "GAIL with PPO": ("gail", cartpole, "--d-dropout 0.1 --clone-updates 3 --warm-rounds 1"),
    # so short that episodes end with rounds: what comes next is then a reset
    "GAIL with PPO, short rounds": ("gail", cartpole, "--envs 24 --horizon 1 --steps 330 --evaluate-every 40"),
    "GAIL with TRPO": ("gail-trpo", cartpole, ""),
    "AIRL": ("airl", cartpole, ""),
    "GAIL with PPO, pixels": ("gail", toy(observes="vector and pixels"), ""),
    "DAC": ("dac", pendulum, ""),
    "DAC, pixels": ("dac", toy(acts="numbers", observes="pixels"), ""),
    "DAC, choices": ("dac", toy(acts="choice"), ""),
    "DAC with TD3": ("dac-td3", toy(acts="numbers"), "--steps 96"),
    "SQIL": ("sqil", toy(acts="numbers"), ""),
    "GAIL with PPO in MuJoCo": ("gail", hopper, ""),
    "DAC in MuJoCo": ("dac", hopper, "--steps 96"),
}


@pytest.mark.parametrize(("variant", "flags", "more"), RUNS.values(), ids=RUNS)
def test_a_run_stopped_after_every_round_ends_with_the_same_bits(
    tmp_path: Path, stoppable: type[Interrupted], variant: str, flags: Flags, more: str
) -> None:
    arguments = [variant, *GAIL_TINY, *flags(tmp_path), *more.split()]
    run = whole(tmp_path / "whole", *arguments)
    stopped = tmp_path / "stopped"
    stops = interrupted(gail.main, stopped, *arguments)
    assert stops == checkpoints.steps(run)[-1] // (24 if "--horizon 1" in more else 16)
    assert_equal(stopped, run)


@pytest.mark.parametrize("variant", ["gail", "dac"])
def test_more_steps_continue_a_finished_run_as_if_it_had_been_asked_for_them(
    tmp_path: Path, stoppable: type[Interrupted], variant: str
) -> None:
    # measured every round, so that the rows are the same whichever round was once the last; a rate that falls to zero
    # at the last step cannot be the same
    often = ["--evaluate-every", 16, "--replay", 1000, "--lr-decay", 0]
    flags = [variant, *GAIL_TINY, *toys.toy(tmp_path, acts="numbers"), *often]
    short = whole(tmp_path / "short", *flags, "--steps", 40)
    succeed(resume.main, short, "--steps", 96)
    assert_equal(short, whole(tmp_path / "long", *flags, "--steps", 96))
    assert json.loads((short / "config.json").read_text())["config"]["numbers"]["steps"] == 96


def test_fewer_steps_than_were_made_are_refused(tmp_path: Path, stoppable: type[Interrupted]) -> None:
    Interrupted.left = 3
    assert call(gail.main, "gail", *GAIL_TINY, "--run-dir", tmp_path / "run").code == 143
    ended = call(resume.main, tmp_path / "run", "--steps", 32)
    assert ended.code == 2
    assert ended.err.startswith("error: --steps 32: the run has come to 48 ")
    assert ended.err.count("\n") == 1
    assert json.loads((tmp_path / "run/config.json").read_text())["config"]["numbers"]["steps"] == 64
    succeed(resume.main, tmp_path / "run", "--steps", 33)  # three rounds


def test_a_finished_run_can_be_resumed_and_stays_what_it_is(tmp_path: Path, unmeasured: None) -> None:
    run = whole(tmp_path / "run", "dac", *GAIL_TINY, *toys.toy(tmp_path, acts="numbers"))
    before = fingerprint(run), rows(run)
    succeed(resume.main, run)
    assert (fingerprint(run), rows(run)) == before


@pytest.mark.parametrize("left", [[], [0]], ids=["no checkpoint", "that before the first round"])
def test_a_run_that_died_early_begins_there(tmp_path: Path, unmeasured: None, left: list[int]) -> None:
    run = whole(tmp_path / "run", "gail", *GAIL_TINY, "--clone-updates", 3)
    assert_begins_anew(run, tmp_path / "dead", *left)


@pytest.mark.parametrize("part", ["agent", "replay"])
def test_a_damaged_checkpoint_is_passed_over_with_one_warning(tmp_path: Path, unmeasured: None, part: str) -> None:
    flags = [*GAIL_TINY, *toys.toy(tmp_path, acts="numbers"), "--save-seconds", 0]
    run = whole(tmp_path / "run", "dac", *flags)
    assert_passed_over(run, part)


def test_other_demonstrations_are_refused(tmp_path: Path, stoppable: type[Interrupted]) -> None:
    flags = toys.toy(tmp_path, acts="numbers")
    Interrupted.left = 2
    assert call(gail.main, "dac", *GAIL_TINY, *flags, "--run-dir", tmp_path / "run").code == 143
    before = fingerprint(tmp_path / "run")
    demos = tmp_path / "toy.npz"
    arrays = dict(np.load(demos))
    arrays["acts"][3, 1] += 1e-4
    np.savez(demos, **arrays)
    ended = call(resume.main, tmp_path / "run")
    assert ended.code == 2
    assert ended.err == (
        f"error: {tmp_path}/run/checkpoints/step-32/origin.json: {demos} has changed since this checkpoint\n"
    )
    demos.unlink()
    ended = call(resume.main, tmp_path / "run")
    assert (ended.code, ended.err) == (2, f"error: {demos}: No such file or directory\n")
    assert fingerprint(tmp_path / "run") == before


MOMENTS = [
    (gail.cloning, "clone", 1, signal.SIGTERM, "while it copies"),
    (gail, "act_and_judge", 1, signal.SIGINT, "in the first round"),
    (gail, "act_and_judge", 3, signal.SIGTERM, "in a later round"),
    (gail_results, "measure", 2, signal.SIGINT, "while it is measured between rounds"),
    (gail_results, "measure", 3, signal.SIGTERM, "while it is measured after the last round"),
    (gail_results, "summarise", 1, signal.SIGTERM, "in the final measuring"),
    (gail_results.report, "write", 1, signal.SIGINT, "while the report is written"),
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """Fingerprint and rows of a run that no signal met."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    with pytest.MonkeyPatch.context() as patched:
        unmeasured_runs(patched, gail_results)
        succeed(gail.main, "gail", *GAIL_TINY, "--clone-updates", 3, "--run-dir", folder)
    return fingerprint(folder), rows(folder)


@pytest.mark.parametrize(("where", "name", "at", "number", "when"), MOMENTS, ids=[moment[-1] for moment in MOMENTS])
def test_a_signal_ends_a_run_with_its_checkpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    at: int,
    number: signal.Signals,
    when: str,
    reference: tuple[str, list[dict[str, Any]]],
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        strike(patched, where, name, number, at)
        ended = call(gail.main, "gail", *GAIL_TINY, "--clone-updates", 3, "--run-dir", run)
    assert_stopped(ended, number, run)
    assert not (run / "summary.json").exists() or name == "write"
    final = name in ("summarise", "write")
    if not final:
        unmeasured_runs(monkeypatch, gail_results)
    succeed(resume.main, run)
    assert (fingerprint(run), rows(run)) == reference
    assert (run / "report.html").exists() == final


def test_a_killed_process_goes_on_as_if_nothing_had_happened(tmp_path: Path, unmeasured: None) -> None:
    flags = ["gail", *GAIL_TINY, "--runtime.threads", 1, "--steps", 1600, "--evaluate-every", 480]
    run = tmp_path / "run"
    killed_and_stopped(run, 1600, "gail", *flags)
    assert_equal(run, whole(tmp_path / "whole", *flags))
