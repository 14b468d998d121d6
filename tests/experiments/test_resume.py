"""A run that was stopped anywhere ends with the same bits as one that was not."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments import resume, text_gan, text_results
from rl.runtime import checkpoints
from tests.experiments.helpers import TINY, Interrupted, call, fingerprint, interrupted, rows, succeed

# dropout and the memory of the best epoch too, so that all that has a state is used
FLAGS = ["seqgan-loo", *TINY, "--mle-best", "--dropout", "0.1", "--kl-weight", "0.1"]


@pytest.fixture
def stoppable(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Interrupted]]:
    """Runs end before the final measuring, and stop at the call that `Interrupted.left` counts down to."""
    monkeypatch.setattr(text_gan, "Keeper", Interrupted)
    monkeypatch.setattr(text_results, "finish", lambda *_, **__: None)
    yield Interrupted
    Interrupted.left = 0


def interrupted_run(folder: Path, at: int, again: int = 0) -> Path:
    """A run stopped at minibatch `at`, then after every `again` minibatches, to the end."""
    assert interrupted(text_gan.main, folder, *FLAGS, at=at, again=again) > 0
    return folder


@pytest.fixture
def whole(tmp_path: Path, stoppable: type[Interrupted]) -> tuple[Path, int]:
    """A run that was never stopped, and how many minibatches it has."""
    Interrupted.left = 0
    succeed(text_gan.main, *FLAGS, "--run-dir", tmp_path / "whole")
    return tmp_path / "whole", -Interrupted.left


def assert_equal(one: Path, other: Path) -> None:
    assert rows(one) == rows(other)
    assert fingerprint(one) == fingerprint(other)
    states = [checkpoints.load(checkpoints.newest(folder)) for folder in (one, other)]
    for name in ("at", "meter", "origin"):
        assert states[0][name] == states[1][name], name


def test_a_run_stopped_after_every_minibatch_ends_with_the_same_bits(tmp_path: Path, whole: tuple[Path, int]) -> None:
    run, minibatches = whole
    assert minibatches == 2 * 5 + 2 * (1 + 4) + 3 * (1 + 1 + 4)
    assert_equal(interrupted_run(tmp_path / "stopped", 1, again=1), run)


@pytest.mark.parametrize("at", [3, 10, 14, 21, 33, 38])
def test_a_run_stopped_once_ends_with_the_same_bits(tmp_path: Path, whole: tuple[Path, int], at: int) -> None:
    run, minibatches = whole
    assert at <= minibatches
    assert_equal(interrupted_run(tmp_path / "stopped", at), run)


@pytest.mark.slow
def test_a_run_stopped_at_any_minibatch_ends_with_the_same_bits(tmp_path: Path, whole: tuple[Path, int]) -> None:
    run, minibatches = whole
    for at in range(1, minibatches + 1):
        assert_equal(interrupted_run(tmp_path / f"at-{at}", at, again=7), run)


def test_more_steps_continue_a_finished_run_as_if_it_had_been_asked_for_them(
    tmp_path: Path, stoppable: type[Interrupted]
) -> None:
    # measured every round, so that the rows are the same whichever round was once the last
    flags = [*FLAGS, "--evaluate-every", "1"]
    succeed(text_gan.main, *flags, "--run-dir", tmp_path / "short")
    succeed(resume.main, tmp_path / "short", "--steps", 5)
    succeed(text_gan.main, *flags, "--steps", 5, "--run-dir", tmp_path / "long")
    assert_equal(tmp_path / "short", tmp_path / "long")
    assert json.loads((tmp_path / "short/config.json").read_text())["config"]["numbers"]["steps"] == 5


def test_more_steps_continue_a_stopped_run(tmp_path: Path, stoppable: type[Interrupted]) -> None:
    flags = [*FLAGS, "--evaluate-every", "1"]
    Interrupted.left = 29
    assert call(text_gan.main, *flags, "--run-dir", tmp_path / "short").code == 143
    succeed(resume.main, tmp_path / "short", "--steps", 4)
    succeed(text_gan.main, *flags, "--steps", 4, "--run-dir", tmp_path / "long")
    assert_equal(tmp_path / "short", tmp_path / "long")


def test_a_finished_run_can_be_resumed_and_stays_what_it_is(tmp_path: Path, whole: tuple[Path, int]) -> None:
    run, _ = whole
    before = fingerprint(run), rows(run)
    succeed(resume.main, run)
    assert (fingerprint(run), rows(run)) == before


def test_a_run_that_died_before_its_first_checkpoint_begins_anew(tmp_path: Path, whole: tuple[Path, int]) -> None:
    run, _ = whole
    dead = tmp_path / "dead"
    shutil.copytree(run, dead)
    shutil.rmtree(dead / "checkpoints")  # the rows that it had written stand
    succeed(resume.main, dead)
    assert_equal(dead, run)


def test_a_damaged_checkpoint_is_passed_over_with_one_warning(tmp_path: Path, whole: tuple[Path, int]) -> None:
    run, _ = whole
    hurt = tmp_path / "hurt"
    shutil.copytree(run, hurt)
    weights = checkpoints.newest(hurt) / "generator.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    ended = call(resume.main, hurt)
    assert ended.code == 0, ended.err
    assert ended.err.count("\n") == 1
    assert ended.err.startswith(f"warning: {weights}: ")
    assert_equal(hurt, run)


@pytest.mark.parametrize("at", [25, 38])
def test_fewer_steps_than_were_begun_are_refused(tmp_path: Path, stoppable: type[Interrupted], at: int) -> None:
    Interrupted.left = at  # in the first round of three, and at the end of the last
    assert call(text_gan.main, *FLAGS, "--run-dir", tmp_path / "run").code == 143
    begun = 1 if at == 25 else 3
    ended = call(resume.main, tmp_path / "run", "--steps", begun - 1)
    assert ended.code == 2
    assert ended.err.startswith(f"error: --steps {begun - 1}: the run has begun round {begun} ")
    assert json.loads((tmp_path / "run/config.json").read_text())["config"]["numbers"]["steps"] == 3
    succeed(resume.main, tmp_path / "run", "--steps", begun)
