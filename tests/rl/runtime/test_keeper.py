from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rl.runtime import InputError, Keeper, Stopped, checkpoints, keeper


class Part:
    """A state that counts how often it was taken."""

    taken = 0

    def state_dict(self) -> dict[str, Any]:
        self.taken += 1
        return {"weights": torch.arange(self.taken)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.taken = len(state["weights"])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(keeper.time, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def make(tmp_path: Path, clock: SimpleNamespace) -> Callable[..., tuple[Keeper, Part, SimpleNamespace]]:
    def made(seconds: float) -> tuple[Keeper, Part, SimpleNamespace]:
        part, stop = Part(), SimpleNamespace(requested=0)
        return Keeper(tmp_path, {"part": part}, stop, seconds=seconds), part, stop  # type: ignore[arg-type]

    return made


def test_it_saves_when_the_time_has_come_and_counts_anew(tmp_path: Path, clock: SimpleNamespace, make: Any) -> None:
    keep, _, _ = make(60.0)
    saved = []
    for step, seconds in enumerate([100, 159.9, 160, 170, 219.9, 220, 400, 459, 461]):
        clock.seconds = seconds
        keep(step)
        saved.append(checkpoints.steps(tmp_path)[-1:] == [step])
    assert saved == [False, False, True, False, False, True, True, False, True]


def test_zero_seconds_save_at_every_call(tmp_path: Path, make: Any) -> None:
    keep, part, _ = make(0.0)
    for step in range(5):
        keep(step)
    assert part.taken == 5
    assert checkpoints.steps(tmp_path) == [2, 3, 4]  # the last three are kept


def test_a_save_out_of_turn_puts_the_next_one_off(clock: SimpleNamespace, make: Any) -> None:
    keep, part, _ = make(60.0)
    clock.seconds = 150.0
    keep.save(1)
    clock.seconds = 209.0
    keep(2)
    assert part.taken == 1
    clock.seconds = 210.0
    keep(3)
    assert part.taken == 2


def test_a_signal_saves_and_stops(tmp_path: Path, make: Any) -> None:
    keep, part, stop = make(60.0)
    keep(3)
    stop.requested = 15
    with pytest.raises(Stopped, match=rf"step 4 stands; go on: python -m experiments.resume {tmp_path}$") as caught:
        keep(4)
    assert caught.value.signal == 15
    assert checkpoints.steps(tmp_path) == [4]
    assert part.taken == 1


def test_a_signal_does_not_stop_a_run_whose_checkpoint_failed(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, _, stop = make(60.0)
    stop.requested = 2
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(InputError, match="the disk is full"):  # and not Stopped, which would say that it stands
        keep(4)
    assert checkpoints.steps(tmp_path) == []
