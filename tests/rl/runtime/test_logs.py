import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rl.runtime import logs
from rl.runtime.checkpoints import restore, save
from rl.runtime.logs import Log


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Log, "_add_events", lambda *_: None)


@pytest.mark.usefixtures("no_events")
def test_rows_are_strict_json(tmp_path: Path) -> None:
    with Log(tmp_path, 10, quiet=True) as log:
        log.log(1, {"d/loss": 0.5, "g/loss": torch.tensor(2.0, requires_grad=True), "é": math.nan, "inf": -math.inf})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    (row,) = rows(tmp_path)
    assert list(row) == ["step", "seconds", "d/loss", "g/loss", "é", "inf"]
    assert row | {"seconds": 0} == {"step": 1, "seconds": 0, "d/loss": 0.5, "g/loss": 2.0, "é": None, "inf": None}


@pytest.mark.usefixtures("no_events")
@pytest.mark.parametrize("torn", [b"", b'{"step": 4, "sec', b'{"step": 4}\n{"st'])
def test_a_resume_cuts_off_what_came_after_the_checkpoint(tmp_path: Path, torn: bytes) -> None:
    log = Log(tmp_path, 10, quiet=True)
    log.log(1, {"a": 1.0})
    log.log(2, {"a": 2.0})
    log._begun -= 100
    folder = save(tmp_path, 2, {"log": log})
    log.log(3, {"a": 3.0})
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    again = Log(tmp_path, 10, quiet=True)
    restore(folder, {"log": again})
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]
    assert 100 <= again.seconds < 160
    again.log(3, {"a": 30.0})
    assert [row["a"] for row in rows(tmp_path)] == [1.0, 2.0, 30.0]
    assert rows(tmp_path)[-1]["seconds"] >= 100
    assert again.state_dict()["offset"] == (tmp_path / "metrics.jsonl").stat().st_size


@pytest.mark.usefixtures("no_events")
def test_rows_lost_before_the_checkpoint_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(tmp_path, 10, quiet=True)
    log.log(1, {"a": 1.0})
    log.log(2, {"a": 2.0})
    state, path = log.state_dict(), tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    again = Log(tmp_path, 10, quiet=True)
    again.load_state_dict(state)
    assert "rows before the checkpoint are missing" in capsys.readouterr().err
    again.log(3, {"a": 3.0})
    assert [row["step"] for row in rows(tmp_path)] == [1, 3]


@pytest.mark.usefixtures("no_events")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_warns_once_and_training_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with Log(tmp_path, 10, quiet=True) as log:
        for step in range(5):
            log.log(step, {"a": 1.0})
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert "metrics.jsonl: cannot be written, training goes on: [Errno 28] No space left on device" in errors


def test_events_carry_the_same_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Log(tmp_path, 10, quiet=True) as log:
        for step in (1, 2, 3):
            log.log(step, {"d/loss": step / 4})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("d/loss")] == [(1, 0.25), (2, 0.5), (3, 0.75)]


def test_events_that_cannot_be_written_warn_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    with Log(tmp_path, 10, quiet=True) as log:
        log.log(1, {"a": 1.0})
        log.log(2, {"a": 2.0})
    assert capsys.readouterr().err.count("warning: tensorboard: cannot be written, training goes on") == 1
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]


@pytest.mark.usefixtures("no_events")
def test_plain_lines_come_at_a_new_phase_and_every_ten_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(logs.time, "monotonic", lambda: now)
    log = Log(tmp_path, 60)
    for done in range(1, 61):  # one turn a second
        log.progress("pretrain", done, 60)
        if done == 5:
            log.progress("judge", 1, 3, note="loss 0.5")
        now += 1.0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "pretrain  1/60  step 0/60",
        "judge  1/3  step 0/60  loss 0.5",
        "pretrain  15/60  1/s  0:00:45 left  step 0/60",
    ]
    assert len(lines) == 2 + 5  # turns 15, 25, 35, 45, 55


@pytest.mark.usefixtures("no_events")
def test_a_terminal_gets_a_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with Log(tmp_path, 5) as log:
        log.progress("judge", 1, 5, note="[a] loss")
        log.progress("speak", 2, 5)
    assert "speak" in capsys.readouterr().out
    with Log(tmp_path, 5, quiet=True) as log:
        log.progress("judge", 1, 5)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("no_events")
def test_a_reader_that_went_away_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        monkeypatch.setattr(logs, "drop_stdout", lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), writing))
        log = Log(tmp_path, 5)
        log.progress("judge", 1, 5)
        log.progress("speak", 1, 5)
