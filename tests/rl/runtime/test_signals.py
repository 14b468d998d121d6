import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rl.runtime.checkpoints import load, newest
from rl.runtime.signals import Stop


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_remembered_and_the_handlers_put_back(number: int) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Stop() as stop:
        assert stop.requested == 0
        send(number)
        assert stop.requested == number
        send(signal.SIGTERM)  # one more SIGTERM changes nothing
        assert stop.requested == number
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_quits_at_once(first: int) -> None:
    with Stop():
        send(first)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


RUN = """
import signal, sys
from pathlib import Path
from rl.runtime import Position, Stop, Stopped, exit_codes, save
with exit_codes(), Stop() as stop:
    at = Position()
    for step in at.loop("steps", 10**9):
        if step == 3:
            print("ready", flush=True)
        if stop.requested:
            save(Path(sys.argv[1]), step + 1, {"at": at})
            raise Stopped(stop.requested)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_script_saves_and_leaves_with_its_code(tmp_path: Path, number: int, code: int) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.splitlines()[-1] == f"stopped: by {signal.Signals(number).name}"
    assert "Traceback" not in errors
    folder = newest(tmp_path)
    assert load(folder)["at"]["path"][0]["turn"] == int(folder.name.removeprefix("step-")) > 3
