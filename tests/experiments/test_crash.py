"""Runs that are killed, at random moments and inside a save, lose nothing; signals end a run with its checkpoint."""

import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments import resume, text_gan, text_results
from rl.runtime import checkpoints
from seqgan.players import PolicyPlayers
from tests.experiments.helpers import TINY, call, fingerprint, finish, rows, start, strike, succeed, wait_for

ONE_THREAD = [*TINY, "--runtime.threads", "1"]  # the same bits in this process and in others
FLAGS = ["seqgan", *ONE_THREAD, "--dropout", "0.1", "--steps", "8", "--save-seconds", "0"]


def killed(process: subprocess.Popen[str], run_dir: Path, chance: random.Random, seconds: float) -> str:
    """Kill the process, one time in six before it has saved, every second time inside a save; what it was doing."""
    early, inside = chance.random() < 1 / 6, chance.random() < 1 / 2

    def holds() -> bool:
        lock = run_dir / ".lock"
        return lock.exists() and lock.read_text() == str(process.pid)

    assert wait_for(holds, process), finish(process).err
    taken = (run_dir / ".lock").stat().st_mtime

    def has_saved() -> bool:
        return any(path.stat().st_mtime > taken for path in run_dir.glob("checkpoints/step-*"))

    if not early:
        wait_for(has_saved, process)
    time.sleep(chance.uniform(0, seconds))
    while inside and process.poll() is None and not any(run_dir.glob("checkpoints/.*")):
        pass
    process.send_signal(signal.SIGKILL)
    ended = finish(process)
    if ended.code == 0:
        return "had finished"
    assert ended.code == -signal.SIGKILL, ended.err
    names = [path.name for path in (run_dir / "checkpoints").glob("*")] if (run_dir / "checkpoints").exists() else []
    good = [name for name in names if re.fullmatch(r"step-\d+", name)]
    if good:
        checkpoints.verify(checkpoints.newest(run_dir))
    doing = "inside a save" if any(name.startswith(".") or name.endswith(".old") for name in names) else "between saves"
    return doing if good else f"{doing}, before the first checkpoint"


def endure(folder: Path, kills: int, say: Callable[[str], None]) -> Counter[str]:
    """Kill runs `kills` times, each some times over, and let each end; all must end like the run never stopped."""
    chance, found, run = random.Random(5), Counter[str](), 0
    succeed(text_gan.main, *FLAGS, "--run-dir", folder / "whole")
    seconds = checkpoints.load(checkpoints.newest(folder / "whole"))["log"]["seconds"]
    while found.total() - found["had finished"] < kills:
        run_dir, run = folder / f"run-{run}", run + 1
        again = start("text_gan", *FLAGS, "--run-dir", run_dir)
        while True:
            found[doing := killed(again, run_dir, chance, seconds)] += 1
            say(f"{run_dir.name}: killed {found.total() - found['had finished']}: {doing}")
            if chance.random() < 0.25 or found.total() - found["had finished"] >= kills:
                break
            again = start("resume", run_dir)
        last = finish(start("resume", run_dir))
        assert (last.code, last.err) == (0, ""), last.err
        assert fingerprint(run_dir) == fingerprint(folder / "whole"), run_dir
        assert rows(run_dir) == rows(folder / "whole"), run_dir
        assert not list((run_dir / "checkpoints").glob(".*"))
        assert {path.name for path in run_dir.iterdir()} >= {"summary.json", "curves.json", "report.html"}
        say(f"{run_dir.name}: ended with the bits of the run never stopped")
    say(f"{run} runs, {dict(found)}")
    return found


def test_a_run_killed_three_times_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    endure(tmp_path, 3, print)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_no_run_is_lost_by_a_hundred_kills(tmp_path: Path) -> None:
    found = endure(tmp_path, 100, lambda line: print(line, flush=True))
    assert sum(count for doing, count in found.items() if doing.startswith("inside")) >= 10


MOMENTS = [
    (PolicyPlayers, "imitate", 1, "before the first checkpoint"),
    (PolicyPlayers, "imitate", 7, "while it learns to speak"),
    (PolicyPlayers, "say", 1, "while it speaks for the discriminator"),
    (PolicyPlayers, "judge", 3, "while it learns to judge"),
    (PolicyPlayers, "improve", 2, "in an adversarial round"),
    (text_gan, "glance", 1, "while it is measured between rounds"),
    (text_gan, "glance", 2, "while it is measured after the last minibatch"),
    (text_results, "summarise", 1, "in the final measuring"),
    (text_results.report, "write", 1, "while the report is written"),
]


STRIKES = [
    pytest.param(*moment[:3], number, id=f"{number.name} {moment[3]}", marks=[pytest.mark.slow] if other else [])
    for place, moment in enumerate(MOMENTS)
    for other, number in enumerate([signal.SIGTERM, signal.SIGINT][:: 1 if place % 2 else -1])
]


@pytest.mark.parametrize(("where", "name", "call_number", "number"), STRIKES)
def test_a_signal_ends_a_run_with_its_checkpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    call_number: int,
    number: signal.Signals,
    reference: tuple[str, list[dict[str, Any]]],
) -> None:
    with monkeypatch.context() as patched:
        strike(patched, where, name, number, call_number)
        ended = call(text_gan.main, "seqgan", *ONE_THREAD, "--run-dir", tmp_path / "run")
    assert ended.code == 128 + number
    assert ended.err.startswith("stopped: ")
    assert ended.err.count("\n") == 1
    checkpoints.verify(checkpoints.newest(tmp_path / "run"))
    assert not (tmp_path / "run/summary.json").exists() or name == "write"
    final = where is not text_gan
    if not final:
        monkeypatch.setattr(text_results, "finish", lambda *_, **__: None)
    succeed(resume.main, tmp_path / "run")
    assert (fingerprint(tmp_path / "run"), rows(tmp_path / "run")) == reference
    assert (tmp_path / "run/report.html").exists() == final


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """Fingerprint and rows of a run that no signal met."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    succeed(text_gan.main, "seqgan", *ONE_THREAD, "--run-dir", folder)
    return fingerprint(folder), rows(folder)


ENDLESS = {
    "maximum likelihood": (["--mle-epochs", 10**6], "mle"),
    "discriminator": (["--d-pretrain", 10**6], "pretrain"),
    "adversarial": (["--steps", 10**6], "adversarial"),
    "measuring": (["--final-samples", 10**6], None),
}
PROCESSES = [("maximum likelihood", signal.SIGTERM), ("adversarial", signal.SIGINT), ("measuring", signal.SIGTERM)]
OTHERS = [(phase, number) for phase in ENDLESS for number in (signal.SIGTERM, signal.SIGINT)]
OTHERS = [pytest.param(*pair, marks=pytest.mark.slow) for pair in OTHERS if pair not in PROCESSES]


@pytest.mark.parametrize(("phase", "number"), [*PROCESSES, *OTHERS])
def test_a_process_leaves_on_a_signal_in_every_phase(tmp_path: Path, phase: str, number: signal.Signals) -> None:
    flags, loop = ENDLESS[phase]
    process = start("text_gan", "seqgan", *ONE_THREAD, *flags, "--run-dir", tmp_path / "run")
    assert process.stdout is not None
    for line in process.stdout:  # a phase is named when it begins
        if line.startswith(phase):
            break
    process.send_signal(number)
    ended = finish(process, seconds=60)
    assert ended.code == 128 + number, ended.err
    lines = ended.err.splitlines()
    assert lines[-1].startswith("stopped: ")
    assert lines[:-1] in ([], ["stopping after this step; Ctrl-C again quits at once"])
    path = checkpoints.load(checkpoints.newest(tmp_path / "run"))["at"]["path"]
    assert path[0]["loop"] == loop
