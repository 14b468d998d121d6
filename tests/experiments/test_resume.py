"""A run that was stopped anywhere ends with the same bits as one that was not."""

import json
import shutil
from pathlib import Path

import pytest

from experiments import resume, text_gan, text_results
from tests.experiments.helpers import (
    TINY,
    Interrupted,
    assert_begins_anew,
    assert_passed_over,
    assert_same_run,
    call,
    fingerprint,
    interrupted,
    rows,
    stoppable_runs,
    succeed,
    whole_run,
)

# dropout and the memory of the best epoch too, so that all that has a state is used
FLAGS = ["seqgan-loo", *TINY, "--mle-best", "--dropout", "0.1", "--kl-weight", "0.1"]


stoppable = stoppable_runs(text_gan, text_results)


def interrupted_run(folder: Path, at: int, again: int = 0) -> Path:
    """A run stopped at minibatch `at`, then after every `again` minibatches, to the end."""
    assert interrupted(text_gan.main, folder, *FLAGS, at=at, again=again) > 0
    return folder


@pytest.fixture
def whole(tmp_path: Path, stoppable: type[Interrupted]) -> tuple[Path, int]:
    """A run that was never stopped, and how many minibatches it has."""
    return whole_run(text_gan.main, tmp_path / "whole", *FLAGS), -Interrupted.left


def test_a_run_stopped_after_every_minibatch_ends_with_the_same_bits(tmp_path: Path, whole: tuple[Path, int]) -> None:
    run, minibatches = whole
    assert minibatches == 2 * 5 + 2 * (1 + 4) + 3 * (1 + 1 + 4)
    assert_same_run(interrupted_run(tmp_path / "stopped", 1, again=1), run)


@pytest.mark.parametrize("at", [3, 10, 14, 21, 33, 38])
def test_a_run_stopped_once_ends_with_the_same_bits(tmp_path: Path, whole: tuple[Path, int], at: int) -> None:
    run, minibatches = whole
    assert at <= minibatches
    assert_same_run(interrupted_run(tmp_path / "stopped", at), run)


@pytest.mark.slow
def test_a_run_stopped_at_any_minibatch_ends_with_the_same_bits(tmp_path: Path, whole: tuple[Path, int]) -> None:
    run, minibatches = whole
    for at in range(1, minibatches + 1):
        assert_same_run(interrupted_run(tmp_path / f"at-{at}", at, again=7), run)


def test_more_steps_continue_a_finished_run_as_if_it_had_been_asked_for_them(
    tmp_path: Path, stoppable: type[Interrupted]
) -> None:
    # measured every round, so that the rows are the same whichever round was once the last
    flags = [*FLAGS, "--evaluate-every", "1"]
    succeed(text_gan.main, *flags, "--run-dir", tmp_path / "short")
    succeed(resume.main, tmp_path / "short", "--steps", 5)
    succeed(text_gan.main, *flags, "--steps", 5, "--run-dir", tmp_path / "long")
    assert_same_run(tmp_path / "short", tmp_path / "long")
    assert json.loads((tmp_path / "short/config.json").read_text())["config"]["numbers"]["steps"] == 5


def test_more_steps_continue_a_stopped_run(tmp_path: Path, stoppable: type[Interrupted]) -> None:
    flags = [*FLAGS, "--evaluate-every", "1"]
    Interrupted.left = 29
    assert call(text_gan.main, *flags, "--run-dir", tmp_path / "short").code == 143
    succeed(resume.main, tmp_path / "short", "--steps", 4)
    succeed(text_gan.main, *flags, "--steps", 4, "--run-dir", tmp_path / "long")
    assert_same_run(tmp_path / "short", tmp_path / "long")


def test_a_finished_run_can_be_resumed_and_stays_what_it_is(tmp_path: Path, whole: tuple[Path, int]) -> None:
    run, _ = whole
    before = fingerprint(run), rows(run)
    succeed(resume.main, run)
    assert (fingerprint(run), rows(run)) == before


def test_a_run_that_died_before_its_first_checkpoint_begins_anew(tmp_path: Path, whole: tuple[Path, int]) -> None:
    run, _ = whole
    assert_begins_anew(run, tmp_path / "dead")


def test_a_damaged_checkpoint_is_passed_over_with_one_warning(tmp_path: Path, whole: tuple[Path, int]) -> None:
    run, _ = whole
    hurt = tmp_path / "hurt"
    shutil.copytree(run, hurt)
    assert_passed_over(hurt, "generator")


@pytest.mark.parametrize("at", [25, 38])
def test_fewer_steps_than_were_begun_are_refused(tmp_path: Path, stoppable: type[Interrupted], at: int) -> None:
    Interrupted.left = at  # in the first round of three, and at the end of the last
    assert call(text_gan.main, *FLAGS, "--run-dir", tmp_path / "run").code == 143
    begun = 1 if at == 25 else 3
    ended = call(resume.main, tmp_path / "run", "--steps", begun - 1)
    assert ended.code == 2
    assert ended.err.startswith(f"error: --steps {begun - 1}: the run has come to {begun} ")
    assert json.loads((tmp_path / "run/config.json").read_text())["config"]["numbers"]["steps"] == 3
    succeed(resume.main, tmp_path / "run", "--steps", begun)
