"""An imitator that was stopped or killed anywhere ends with the same bits as one that was not."""

import json
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments import gail, gail_results, resume
from rl.runtime import checkpoints
from tests.experiments import toys
from tests.experiments.helpers import (
    GAIL_TINY,
    Interrupted,
    call,
    fingerprint,
    finish,
    interrupted,
    rows,
    start,
    strike,
    succeed,
    wait_for,
)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    with toys.registered():
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end before the final measuring."""
    monkeypatch.setattr(gail_results, "finish", lambda *_, **__: None)


@pytest.fixture
def stoppable(monkeypatch: pytest.MonkeyPatch, unmeasured: None) -> Iterator[type[Interrupted]]:
    """Runs stop at the round that `Interrupted.left` counts down to."""
    monkeypatch.setattr(gail, "Keeper", Interrupted)
    yield Interrupted
    Interrupted.left = 0


def whole_run(folder: Path, *flags: object) -> Path:
    Interrupted.left = 0
    succeed(gail.main, *flags, "--run-dir", folder)
    return folder


def assert_equal(one: Path, other: Path) -> None:
    assert rows(one) == rows(other)
    assert fingerprint(one) == fingerprint(other)
    states = [checkpoints.load(checkpoints.newest(folder)) for folder in (one, other)]
    assert states[0].keys() == states[1].keys()
    for name in ("at", "meter", "origin", "engine"):
        assert states[0][name].keys() == states[1][name].keys()
        assert repr(states[0][name]) == repr(states[1][name]), name
    assert states[0]["collector"]["lengths"] == states[1]["collector"]["lengths"]
    assert states[0]["collector"]["generator"] == states[1]["collector"]["generator"]


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
    whole = whole_run(tmp_path / "whole", *arguments)
    stopped = tmp_path / "stopped"
    stops = interrupted(gail.main, stopped, *arguments)
    assert stops == checkpoints.steps(whole)[-1] // (24 if "--horizon 1" in more else 16)
    assert_equal(stopped, whole)


@pytest.mark.parametrize("variant", ["gail", "dac"])
def test_more_steps_continue_a_finished_run_as_if_it_had_been_asked_for_them(
    tmp_path: Path, stoppable: type[Interrupted], variant: str
) -> None:
    # measured every round, so that the rows are the same whichever round was once the last; a rate that falls to zero
    # at the last step cannot be the same
    often = ["--evaluate-every", 16, "--replay", 1000, "--lr-decay", 0]
    flags = [variant, *GAIL_TINY, *toys.toy(tmp_path, acts="numbers"), *often]
    short = whole_run(tmp_path / "short", *flags, "--steps", 40)
    succeed(resume.main, short, "--steps", 96)
    assert_equal(short, whole_run(tmp_path / "long", *flags, "--steps", 96))
    assert json.loads((short / "config.json").read_text())["config"]["numbers"]["steps"] == 96


def test_fewer_steps_than_were_made_are_refused(tmp_path: Path, stoppable: type[Interrupted]) -> None:
    Interrupted.left = 3
    assert call(gail.main, "gail", *GAIL_TINY, "--run-dir", tmp_path / "run").code == 143
    ended = call(resume.main, tmp_path / "run", "--steps", 32)
    assert ended.code == 2
    assert ended.err.startswith("error: --steps 32: the run has made 48 steps ")
    assert ended.err.count("\n") == 1
    assert json.loads((tmp_path / "run/config.json").read_text())["config"]["numbers"]["steps"] == 64
    succeed(resume.main, tmp_path / "run", "--steps", 33)  # three rounds


def test_a_finished_run_can_be_resumed_and_stays_what_it_is(tmp_path: Path, unmeasured: None) -> None:
    run = whole_run(tmp_path / "run", "dac", *GAIL_TINY, *toys.toy(tmp_path, acts="numbers"))
    before = fingerprint(run), rows(run)
    succeed(resume.main, run)
    assert (fingerprint(run), rows(run)) == before


@pytest.mark.parametrize("left", [[], [0]], ids=["no checkpoint", "that before the first round"])
def test_a_run_that_died_early_begins_there(tmp_path: Path, unmeasured: None, left: list[int]) -> None:
    run = whole_run(tmp_path / "run", "gail", *GAIL_TINY, "--clone-updates", 3)
    dead = tmp_path / "dead"
    shutil.copytree(run, dead)
    for step in {*checkpoints.steps(dead)} - {*left}:
        shutil.rmtree(dead / f"checkpoints/step-{step}")  # the rows that it had written stand
    succeed(resume.main, dead)
    assert_equal(dead, run)


@pytest.mark.parametrize("part", ["agent", "replay"])
def test_a_damaged_checkpoint_is_passed_over_with_one_warning(tmp_path: Path, unmeasured: None, part: str) -> None:
    flags = [*GAIL_TINY, *toys.toy(tmp_path, acts="numbers"), "--save-seconds", 0]
    run = whole_run(tmp_path / "run", "dac", *flags)
    before = fingerprint(run), rows(run)
    weights = checkpoints.newest(run) / f"{part}.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    ended = call(resume.main, run)
    assert ended.code == 0, ended.err
    assert ended.err.count("\n") == 1
    assert ended.err.startswith(f"warning: {weights}: ")
    assert (fingerprint(run), rows(run)) == before


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
        patched.setattr(gail_results, "finish", lambda *_, **__: None)
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
    assert ended.code == 128 + number
    assert ended.err.startswith("stopped: ")
    assert ended.err.count("\n") == 1
    checkpoints.verify(checkpoints.newest(run))
    assert not (run / "summary.json").exists() or name == "write"
    final = name in ("summarise", "write")
    if not final:
        monkeypatch.setattr(gail_results, "finish", lambda *_, **__: None)
    succeed(resume.main, run)
    assert (fingerprint(run), rows(run)) == reference
    assert (run / "report.html").exists() == final


def test_a_killed_process_goes_on_as_if_nothing_had_happened(tmp_path: Path, unmeasured: None) -> None:
    flags = ["gail", *GAIL_TINY, "--runtime.threads", 1, "--steps", 1600, "--evaluate-every", 480]
    run, chance = tmp_path / "run", random.Random(3)

    def saved(after: int) -> Callable[[], bool]:
        return lambda: any(step > after for step in checkpoints.steps(run))

    process = start("gail", *flags, "--save-seconds", 0.1, "--run-dir", run)
    assert wait_for(saved(0), process)
    time.sleep(chance.uniform(0, 0.05))
    process.send_signal(signal.SIGKILL)
    assert finish(process).code == -signal.SIGKILL
    reached = int(checkpoints.newest(run).name.removeprefix("step-"))
    assert 0 < reached < 1600

    process = start("resume", run)
    assert wait_for(saved(reached), process)
    process.send_signal(signal.SIGTERM)
    ended = finish(process)
    assert ended.code == 143, ended.err
    assert ended.err.splitlines()[-1].startswith("stopped: ")
    checkpoints.verify(checkpoints.newest(run))

    succeed(resume.main, run)
    whole = whole_run(tmp_path / "whole", *flags)
    assert (fingerprint(run), rows(run)) == (fingerprint(whole), rows(whole))
    assert not list((run / "checkpoints").glob(".*"))
