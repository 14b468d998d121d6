"""An image run that was stopped or killed anywhere ends with the same bits as one that was not."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import image_gan, image_results, resume
from rl.runtime import checkpoints
from tests.experiments.helpers import (
    IMAGE_TINY,
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


@pytest.fixture(scope="module", autouse=True)
def _few_batches() -> Iterator[None]:
    """Statistics of batch norms are taken from few pictures."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(image_results, "REFRESHED", (3, 20))
        yield


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end before the final measuring."""
    unmeasured_runs(monkeypatch, image_results)


stoppable = stoppable_runs(image_gan, image_results)


@pytest.fixture
def tiny(cache: Path) -> list[str]:
    return [*IMAGE_TINY, "--cache", str(cache)]


def whole(folder: Path, *flags: object) -> Path:
    return whole_run(image_gan.main, folder, *flags)


def assert_equal(one: Path, other: Path) -> None:
    assert_same_run(one, other, "order", "rules")


# each has a state that the others lack
RUNS = {
    "batch norm, several steps of the discriminator, an order that begins anew": "dcgan --d-steps 3 --batch 300",
    "changes that follow the overfitting": "dcgan --augmentation ada",
    "an equilibrium": "began",
    "pairs, two penalties": "r3gan",
    "labelled pictures": "ssgan",
    "nets that grow": "progan",
    "a lazy penalty, a running style": "stylegan --penalty-every 3",
    "clipped weights, RMSProp": "wgan --d-steps 2",
    "spectral norms": "sngan",
    "classes, spectral norms of both": "biggan --attention",
    "points": "gan --data ring --net mlp",
}


@pytest.mark.parametrize("command", RUNS.values(), ids=RUNS)
def test_a_run_stopped_after_every_step_ends_with_the_same_bits(
    tmp_path: Path, stoppable: type[Interrupted], tiny: list[str], command: str
) -> None:
    variant, *more = command.split()
    run = whole(tmp_path / "whole", variant, *tiny, *more)
    assert [row["step"] for row in rows(run)] == [2, 3, 4]
    assert interrupted(image_gan.main, tmp_path / "stopped", variant, *tiny, *more) == 4
    assert_equal(tmp_path / "stopped", run)


def remembered(run: Path, part: str) -> dict[str, float]:
    state = checkpoints.load(checkpoints.newest(run))[part]
    return {name: float(value) for name, value in state.items() if value.dim() == 0}


def test_what_is_remembered_has_moved(tmp_path: Path, unmeasured: None, tiny: list[str]) -> None:
    """So that a state which is not restored shows."""
    runs = {name: whole(tmp_path / name, name, *tiny) for name in ("began", "progan")}
    assert 0 < remembered(runs["began"], "rules")["0.balance"] < 1
    assert rows(runs["began"])[-1]["d/balance"] == remembered(runs["began"], "rules")["0.balance"]
    depths = remembered(runs["progan"], "generator")
    assert depths == remembered(runs["progan"], "average")
    assert any(value > 0 for value in depths.values())
    ada = whole(tmp_path / "ada", "dcgan", *tiny, "--augmentation", "ada")
    assert remembered(ada, "rules")["0.signs"] != pytest.approx(0.6)
    assert {"d/strength", "d/signs"} <= rows(ada)[-1].keys()


def test_more_steps_continue_a_finished_run_as_if_it_had_been_asked_for_them(
    tmp_path: Path, unmeasured: None, tiny: list[str]
) -> None:
    # a rate that falls to zero at the last step cannot be the same
    flags = ["dcgan", *tiny, "--lr-decay", 0]
    short = whole(tmp_path / "short", *flags)
    succeed(resume.main, short, "--steps", 6)
    assert_equal(short, whole(tmp_path / "long", *flags, "--steps", 6))
    assert json.loads((short / "config.json").read_text())["config"]["numbers"]["steps"] == 6
    decaying = whole(tmp_path / "decaying", "dcgan", *tiny, "--steps", 6)
    assert fingerprint(decaying) != fingerprint(short)


def test_rates_fall_to_zero_over_the_end_of_a_run(
    tmp_path: Path, unmeasured: None, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = image_gan.set_rates, []

    def watched(cast: Any, n: Any, step: int) -> None:
        real(cast, n, step)
        seen.append([cast.g_optimizer.param_groups[0]["lr"], cast.d_optimizer.param_groups[0]["lr"]])

    monkeypatch.setattr(image_gan, "set_rates", watched)
    whole(tmp_path / "run", "dcgan", *tiny, "--lr-decay", 0.5, "--g-lr", 0.1, "--d-lr", 0.4)
    assert np.array(seen) == pytest.approx(np.outer([1, 1, 1, 0.5], [0.1, 0.4]))


def test_fewer_steps_than_were_made_are_refused(tmp_path: Path, stoppable: type[Interrupted], tiny: list[str]) -> None:
    run = tmp_path / "run"
    Interrupted.left = 3
    assert call(image_gan.main, "dcgan", *tiny, "--run-dir", run).code == 143
    ended = call(resume.main, run, "--steps", 2)
    assert (ended.code, ended.err) == (
        2, f"error: --steps 2: the run has come to 3 by {run}/checkpoints/step-3\n",
    )  # fmt: skip
    assert json.loads((run / "config.json").read_text())["config"]["numbers"]["steps"] == 4
    succeed(resume.main, run, "--steps", 3)
    assert checkpoints.steps(run) == [3]
    assert call(resume.main, run, "--steps", 2).code == 2


def test_a_finished_run_that_is_resumed_is_only_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: list[str]
) -> None:
    monkeypatch.setattr(image_results.report, "write", lambda run_dir: run_dir)
    run = whole(tmp_path / "run", "cgan", *tiny)
    summary = json.loads((run / "summary.json").read_text())
    before = fingerprint(run), rows(run)
    (run / "summary.json").unlink()
    monkeypatch.setattr(image_gan, "generator_round", None)  # nobody plays
    succeed(resume.main, run)
    assert (fingerprint(run), rows(run)) == before
    again = json.loads((run / "summary.json").read_text())
    for timed in ("cpu_seconds", "images_per_second"):
        del summary[timed], again[timed]
    assert again == summary


def test_a_run_that_died_before_it_saved_begins_anew(tmp_path: Path, unmeasured: None, tiny: list[str]) -> None:
    run = whole(tmp_path / "run", "dcgan", *tiny)
    assert_begins_anew(run, tmp_path / "dead")


@pytest.mark.parametrize("part", ["average", "g_optimizer"])
def test_a_damaged_checkpoint_is_passed_over_with_one_warning(
    tmp_path: Path, unmeasured: None, tiny: list[str], part: str
) -> None:
    run = whole(tmp_path / "run", "dcgan", *tiny, "--save-seconds", 0)
    assert checkpoints.steps(run) == [2, 3, 4]
    assert_passed_over(run, part)


MOMENTS = [
    (image_gan, "reference_of", 1, signal.SIGTERM, "before the first step"),
    (image_gan, "discriminator_round", 1, signal.SIGINT, "in the first step"),
    (image_gan, "generator_round", 3, signal.SIGTERM, "in a later step"),
    (image_results, "measure", 1, signal.SIGINT, "while it is measured between steps"),
    (image_results, "measure", 2, signal.SIGTERM, "while it is measured after the last step"),
    (image_results, "summarise", 1, signal.SIGTERM, "in the final measuring"),
    (image_results.report, "write", 1, signal.SIGINT, "while the report is written"),
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run that no signal met."""
    with pytest.MonkeyPatch.context() as patched:
        unmeasured_runs(patched, image_results)
        return whole(tmp_path_factory.mktemp("reference") / "run", "dcgan", *IMAGE_TINY, "--cache", cache)


@pytest.mark.parametrize(("where", "name", "at", "number", "when"), MOMENTS, ids=[moment[-1] for moment in MOMENTS])
def test_a_signal_ends_a_run_with_its_checkpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny: list[str],
    where: Any,
    name: str,
    at: int,
    number: signal.Signals,
    when: str,
    reference: Path,
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patched:
        strike(patched, where, name, number, at)
        ended = call(image_gan.main, "dcgan", *tiny, "--run-dir", run)
    assert_stopped(ended, number, run)
    assert (run / "summary.json").exists() == (name == "write")
    unmeasured_runs(monkeypatch, image_results)
    succeed(resume.main, run)
    assert_equal(run, reference)


def test_a_killed_process_goes_on_as_if_nothing_had_happened(tmp_path: Path, unmeasured: None, tiny: list[str]) -> None:
    more = ["--data", "ring", "--d-norm", "spectral", "--steps", 400, "--evaluate-every", 200, "--runtime.threads", 1]
    flags = ["gan", *tiny, *more]
    run = tmp_path / "run"
    killed_and_stopped(run, 400, "image_gan", *flags)
    assert_equal(run, whole(tmp_path / "whole", *flags))
