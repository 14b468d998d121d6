"""A run that takes a second, how the scripts are called in process and as processes, and pages read back."""

import contextlib
import html.parser
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from experiments import resume
from rl.runtime import Keeper, Stopped, checkpoints, exit_codes

CHECKOUT = Path(__file__).parents[2]
TINY = (  # noqa: SIM905
    "--steps 3 --vocabulary 20 --length 6 --sentences 200 --valid 40 --test-sentences 50 --embedding 8 --hidden 8 "
    "--mle-epochs 2 --mle-batch 32 --batch 8 --rollouts 2 --d-embedding 8 --d-batch 16 --d-sentences 32 --d-pretrain 2 "
    "--d-pretrain-epochs 1 --d-rounds 1 --d-epochs 1 --evaluate-every 2 --evaluate-samples 20 --final-samples 20 "
    "--sweep-samples 10 --save-seconds 1000 --runtime.device cpu"
).split()
GAIL_TINY = (  # noqa: SIM905
    "--steps 64 --envs 2 --horizon 8 --subsample 3 --hidden 8 --d-hidden 8 --d-batch 8 --ppo.epochs 1 --ppo.minibatch "
    "8 --random-steps 16 --replay 48 --sac.batch 8 --td3.batch 8 --evaluate-every 32 --evaluate-episodes 2 "
    "--final-episodes 2 --no-film --save-seconds 1000 --runtime.device cpu"
).split()
IMAGE_TINY = (  # noqa: SIM905
    "--steps 4 --batch 8 --width 8 --latent 6 --labels 20 --log-every 3 --evaluate-every 2 --evaluate-samples 20 "
    "--final-samples 20 --save-seconds 1000 --runtime.device cpu"
).split()
IRGAN_TINY = {
    kind: (
        "--batch 4 --pretrain-epochs 2 --evaluate-every 2 --hold-out 0.25 --save-seconds 1000 --runtime.device cpu "
        + widths
    ).split()
    for kind, widths in (
        ("ratings", "--width 3 --d-width 2"),
        ("letor", "--width 4 --d-width 4"),
        ("qa", "--width 8 --d-width 8 --layers 1 --d-layers 1"),
    )
}
IRGAN_GAME = {"steps": 2, "d_epochs": 2, "g_epochs": 4}


@dataclass(frozen=True)
class Ended:
    """How a call of a script ended."""

    code: int
    out: str
    err: str


def call(main: Callable[[Sequence[str]], None], *arguments: object) -> Ended:
    """Call a script's main in this process, as its last line does."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with exit_codes():
                main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    return Ended(code, out.getvalue(), err.getvalue())


def succeed(main: Callable[[Sequence[str]], None], *arguments: object) -> str:
    """Call a script's main, which must end well; what it prints."""
    ended = call(main, *arguments)
    assert ended.code == 0, ended.err
    return ended.out


def start(script: str, *arguments: object, **settings: str) -> subprocess.Popen[str]:
    """Start a script as a process with one thread, so that it computes the same bits each time."""
    command = [sys.executable, "-m", f"experiments.{script}", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | settings
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str], seconds: float = 240) -> Ended:
    """Wait for a process."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        raise
    return Ended(process.returncode, out, err)


def wait_for(there: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> bool:
    """Wait until something is there; whether it came before the process ended."""
    until = time.monotonic() + seconds
    while not there():
        if process.poll() is not None or time.monotonic() > until:
            return there()
        time.sleep(0.002)
    return True


class Interrupted(Keeper):
    """A keeper to which a signal comes at its n-th call."""

    left = 0

    def __call__(self, step: int) -> None:
        Interrupted.left -= 1
        if Interrupted.left == 0:
            self.save(step)
            raise Stopped(15)
        super().__call__(step)


def interrupted(
    main: Callable[[Sequence[str]], None], folder: Path, *flags: object, at: int = 1, again: int = 1
) -> int:
    """Stop a run at a call of its `Interrupted` keeper, then after every `again` more, to the end; how often."""
    Interrupted.left, stops = at, 0
    ended = call(main, *flags, "--run-dir", folder)
    while ended.code == 143:
        stops += 1
        Interrupted.left = again
        ended = call(resume.main, folder)
    assert ended.code == 0, ended.err
    return stops


def stoppable_runs(script: Any, results: Any) -> Any:
    """Return a fixture: runs of a script end before the final measuring, and stop where `Interrupted.left` says."""

    @pytest.fixture
    def stoppable(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Interrupted]]:
        monkeypatch.setattr(script, "Keeper", Interrupted)
        unmeasured_runs(monkeypatch, results)
        yield Interrupted
        Interrupted.left = 0

    return stoppable


def unmeasured_runs(monkeypatch: pytest.MonkeyPatch, results: Any) -> None:
    """Let runs end before the final measuring."""
    monkeypatch.setattr(results, "finish", lambda *_, **__: None)


def whole_run(main: Callable[[Sequence[str]], None], folder: Path, *flags: object) -> Path:
    """Make a run that nothing stops; its folder."""
    Interrupted.left = 0
    succeed(main, *flags, "--run-dir", folder)
    return folder


def assert_same_run(one: Path, other: Path, *parts: str) -> None:
    """Compare the rows, all tensors of the last checkpoint, the samples, and what parts of it keep besides."""
    assert rows(one) == rows(other)
    assert fingerprint(one) == fingerprint(other)
    states = [checkpoints.load(checkpoints.newest(folder)) for folder in (one, other)]
    assert states[0].keys() == states[1].keys()
    for name in ("at", "meter", "origin", "engine", *parts):
        assert repr(states[0][name]) == repr(states[1][name]), name
    samples = [contents(folder / "samples") for folder in (one, other)]
    assert samples[0] == samples[1]


def assert_passed_over(run: Path, part: str) -> None:
    """Flip a bit of a part of the newest checkpoint: the run goes on from the one before, with one warning."""
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


def assert_begins_anew(run: Path, dead: Path, *left: int) -> None:
    """Take checkpoints from a copy of a run, all but those left: it goes on from there, whatever rows it has."""
    shutil.copytree(run, dead)
    for step in {*checkpoints.steps(dead)} - {*left}:
        shutil.rmtree(dead / f"checkpoints/step-{step}")
    succeed(resume.main, dead)
    assert_same_run(dead, run)


def assert_stopped(ended: Ended, number: int, run: Path) -> None:
    """A signal ended a run in one line, and its checkpoint is whole."""
    assert ended.code == 128 + number, ended.err
    assert ended.err.splitlines()[-1].startswith("stopped: ")
    checkpoints.verify(checkpoints.newest(run))


def killed_and_stopped(run: Path, last: int, script: str, *flags: object) -> None:
    """Kill a run, kill -9, soon after it first saved; stop it after it went on; then let it end."""
    process = start(script, *flags, "--save-seconds", 0.05, "--run-dir", run)
    assert wait_for(lambda: any(step > 0 for step in checkpoints.steps(run)), process)
    process.send_signal(signal.SIGKILL)
    assert finish(process).code == -signal.SIGKILL
    reached = int(checkpoints.newest(run).name.removeprefix("step-"))
    assert 0 < reached < last

    process = start("resume", run)
    assert wait_for(lambda: checkpoints.steps(run)[-1] > reached, process)
    process.send_signal(signal.SIGTERM)
    assert_stopped(finish(process), signal.SIGTERM, run)

    succeed(resume.main, run)
    assert not list((run / "checkpoints").glob(".*"))


def strike(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, number: signal.Signals, call_number: int) -> None:
    """Send this process a signal at the n-th call of a function."""
    real, left = getattr(where, name), [call_number]

    def struck(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    monkeypatch.setattr(where, name, struck)


def fingerprint(run_dir: Path) -> str:
    """Return the hash of all tensors of the last checkpoint."""
    return checkpoints.fingerprint(checkpoints.newest(run_dir))


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.jsonl without the seconds, which no two runs share."""
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    timed = {"seconds", "cpu_seconds"}
    return [{key: value for key, value in json.loads(line).items() if key not in timed} for line in lines]


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, to see that nothing changed."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Tags(html.parser.HTMLParser):
    """Collects tags with their attributes, and the text of table cells row by row; fails on tags that do not nest."""

    EMPTY = ("meta", "use", "path", "wbr", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data.strip()
