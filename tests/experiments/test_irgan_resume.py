"""A retrieval run that was stopped or killed anywhere ends with the same bits as one that was not."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from experiments import irgan, irgan_results, resume
from rl.runtime import checkpoints
from tests.experiments.helpers import (
    IRGAN_GAME,
    IRGAN_TINY,
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
from tests.experiments.retrieval_files import letor_files, qa_files, rating_files

FILES = {"ratings": rating_files, "letor": letor_files, "qa": qa_files}
GAME = [f"--{name.replace('_', '-')}={number}" for name, number in IRGAN_GAME.items()]


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end before the final measuring."""
    unmeasured_runs(monkeypatch, irgan_results)


stoppable = stoppable_runs(irgan, irgan_results)


def whole(folder: Path, *flags: object) -> Path:
    return whole_run(irgan.main, folder, *flags)


def assert_equal(one: Path, other: Path) -> None:
    states = [checkpoints.load(checkpoints.newest(folder)) for folder in (one, other)]
    assert_same_run(one, other, *states[0].keys() - {"clock", "log", "found"})
    assert states[0]["found"] == states[1]["found"]


# each has a state that the others lack
RUNS = {
    "written derivatives, negatives of several epochs": ("ratings", "irgan --deal-every 2"),
    "what was drawn evenly": ("ratings", "irgan-uniform"),
    "the whole expectation": ("ratings", "irgan --estimator exact"),
    "autograd, orders of queries, momentum of Adam": ("ratings", "irgan --optimizer adam --baseline leave-one-out"),
    "pairs": ("ratings", "irgan-pairwise"),
    "lists that are retrieved, rates that fall": ("ratings", "ar2 --list 5 --lr-decay 0.7"),
    "a start of maximum likelihood": ("ratings", "irgan --pretraining mle"),
    "two stages": ("ratings", "irgan --refit"),
    "two stages of lists": ("ratings", "ar2 --refit --list 5 --pretraining mle"),
    "documents with features": ("letor", "irgan --optimizer adam"),
    "questions": ("qa", "ar2 --refit"),
}


FAST = ("written derivatives, negatives of several epochs", "two stages of lists")


@pytest.mark.parametrize(
    ("kind", "command"),
    [pytest.param(*run, id=name, marks=() if name in FAST else pytest.mark.slow) for name, run in RUNS.items()],
)
def test_a_run_stopped_after_every_epoch_ends_with_the_same_bits(
    tmp_path: Path, stoppable: type[Interrupted], kind: str, command: str
) -> None:
    variant, *more = command.split()
    flags = [variant, *FILES[kind](tmp_path), *IRGAN_TINY[kind], *GAME, *more]
    run = whole(tmp_path / "whole", *flags)
    epochs = -Interrupted.left
    assert epochs >= 2 + 2 * (2 + 4 + 1)
    assert interrupted(irgan.main, tmp_path / "stopped", *flags) == epochs
    assert_equal(tmp_path / "stopped", run)


@pytest.mark.parametrize("at", [3, 9, 20])
def test_a_run_in_two_stages_stopped_once_ends_with_the_same_bits(
    tmp_path: Path, stoppable: type[Interrupted], at: int
) -> None:
    flags = ["irgan", *rating_files(tmp_path), *IRGAN_TINY["ratings"], *GAME, "--refit", "--select-by", "map"]
    run = whole(tmp_path / "whole", *flags)
    assert -Interrupted.left >= at
    assert interrupted(irgan.main, tmp_path / "stopped", *flags, at=at, again=0) == 1
    assert_equal(tmp_path / "stopped", run)


def test_the_states_that_are_kept_have_moved(tmp_path: Path, unmeasured: None) -> None:
    """So that a state which is not restored shows."""
    flags = [*rating_files(tmp_path), *IRGAN_TINY["ratings"], *GAME]
    run = whole(tmp_path / "run", "ar2", *flags, "--list", 5, "--pretraining", "mle", "--refit")
    state = checkpoints.load(checkpoints.newest(run))
    assert state["players.hand"]["ids"].numel() > 0
    assert state["players.d_optimizer"]["state"]
    assert state["players.g_optimizer"]["state"]
    assert state["players.starter"]["state"]
    assert state["plan"] == {"stage": 1} | {
        name: state["plan"][name] for name in ("pretrain_epochs", "rounds", "g_epochs")
    }
    assert any(name.startswith("held/") for name in state["found"])
    one = whole(tmp_path / "one", "irgan", *flags)
    state = checkpoints.load(checkpoints.newest(one))
    assert state["best"]["weights"].keys() == {
        f"{who}.{name}" for who in ("generator", "discriminator") for name in ("users", "items", "bias")
    }
    assert len(state["players.hand"]["drawn"]) > 0


def test_more_steps_continue_a_finished_run_as_if_it_had_been_asked_for_them(tmp_path: Path, unmeasured: None) -> None:
    flags = ["irgan-pairwise", *rating_files(tmp_path), *IRGAN_TINY["ratings"], *GAME]
    short = whole(tmp_path / "short", *flags)
    succeed(resume.main, short, "--steps", 4)
    assert_equal(short, whole(tmp_path / "long", *flags, "--steps", 4))
    assert json.loads((short / "config.json").read_text())["config"]["numbers"]["steps"] == 4


def test_fewer_steps_than_were_begun_are_refused(tmp_path: Path, stoppable: type[Interrupted]) -> None:
    run = tmp_path / "run"
    Interrupted.left = 2 + 7 + 3
    flags = ["irgan", *rating_files(tmp_path), *IRGAN_TINY["ratings"], *GAME]
    assert call(irgan.main, *flags, "--run-dir", run).code == 143
    ended = call(resume.main, run, "--steps", 1)
    assert (ended.code, ended.err) == (
        2, f"error: --steps 1: the run has come to 2 by {run}/checkpoints/step-11\n",
    )  # fmt: skip
    succeed(resume.main, run, "--steps", 2)


def test_a_finished_run_that_is_resumed_is_only_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(irgan_results.report, "write", lambda run_dir: run_dir)
    run = whole(tmp_path / "run", "irgan", *rating_files(tmp_path), *IRGAN_TINY["ratings"], *GAME, "--refit")
    summary = json.loads((run / "summary.json").read_text())
    before = fingerprint(run), rows(run)
    (run / "summary.json").unlink()
    monkeypatch.setattr(irgan_results, "measure_and_offer", None)  # nobody plays
    succeed(resume.main, run)
    assert (fingerprint(run), rows(run)) == before
    again = json.loads((run / "summary.json").read_text())
    del summary["cpu_seconds"], again["cpu_seconds"]
    assert again == summary


def test_a_run_that_died_before_it_saved_begins_anew(tmp_path: Path, unmeasured: None) -> None:
    run = whole(tmp_path / "run", "irgan", *rating_files(tmp_path), *IRGAN_TINY["ratings"], *GAME)
    assert_begins_anew(run, tmp_path / "dead")


@pytest.mark.parametrize("part", ["players.generator", "players.hand", "best"])
def test_a_damaged_checkpoint_is_passed_over_with_one_warning(tmp_path: Path, unmeasured: None, part: str) -> None:
    flags = ["irgan", *rating_files(tmp_path), *IRGAN_TINY["ratings"], *GAME]
    run = whole(tmp_path / "run", *flags, "--save-seconds", 0)
    assert_passed_over(run, part)


MOMENTS = [
    (irgan_results, "measure_and_offer", 1, signal.SIGINT, "while it is measured in pretraining"),
    (irgan_results, "keep_start", 1, signal.SIGTERM, "at the start"),
    (irgan_results, "measure_and_offer", 3, signal.SIGTERM, "while it is measured in the game"),
    (irgan_results, "choose", 1, signal.SIGTERM, "when the round is chosen"),
    (irgan_results, "keep_start", 2, signal.SIGINT, "in the second stage"),
    (irgan_results, "summarise", 1, signal.SIGTERM, "in the final measuring"),
    (irgan_results.report, "write", 1, signal.SIGINT, "while the report is written"),
]


@pytest.mark.parametrize(("where", "name", "at", "number", "when"), MOMENTS, ids=[moment[-1] for moment in MOMENTS])
def test_a_signal_ends_a_run_with_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, at: int, number: signal.Signals, when: str
) -> None:
    flags = ["irgan", *rating_files(tmp_path), *IRGAN_TINY["ratings"], *GAME, "--refit"]
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        strike(patched, where, name, number, at)
        ended = call(irgan.main, *flags, "--run-dir", run)
    assert_stopped(ended, number, run)
    assert (run / "summary.json").exists() == (name == "write")
    unmeasured_runs(monkeypatch, irgan_results)
    succeed(resume.main, run)
    assert_equal(run, whole(tmp_path / "whole", *flags))


def test_a_killed_process_goes_on_as_if_nothing_had_happened(tmp_path: Path, unmeasured: None) -> None:
    files = rating_files(tmp_path)
    flags = ["irgan", *files, *IRGAN_TINY["ratings"], *GAME, "--steps", 60, "--runtime.threads", 1]
    run = tmp_path / "run"
    killed_and_stopped(run, 2 + 60 * 6, "irgan", *flags)
    assert_equal(run, whole(tmp_path / "whole", *flags))
