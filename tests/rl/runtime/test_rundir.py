import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rl.runtime.errors import InputError
from rl.runtime.rundir import create, lock, read_config, write_json


def test_a_run_is_described_and_not_overwritten(tmp_path: Path) -> None:
    config = {"clip": math.inf, "low": -math.inf, "data": Path("a/b"), "sizes": (1, 2), "name": "é", "none": None}
    run = create(tmp_path / "deep" / "run", "text_gan", "seqgan", config, seed=7)
    assert run == tmp_path / "deep" / "run"
    described = read_config(run)
    assert described["config"] == config | {"data": "a/b", "sizes": [1, 2]}
    assert (described["family"], described["variant"], described["seed"]) == ("text_gan", "seqgan", 7)
    assert {"torch", "python", "numpy"} <= set(described["versions"])
    assert {"commit", "command", "platform", "threads"} <= set(described)
    assert [path.name for path in run.iterdir()] == ["config.json"]
    with pytest.raises(InputError, match=f"holds a run; continue it with: python -m experiments.resume {run}$"):
        create(run, "text_gan", "seqgan", {}, seed=7)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(InputError, match="full: is not empty"):
        create(tmp_path / "full", "text_gan", "seqgan", {}, seed=7)
    with pytest.raises(InputError, match="cannot make the run's folder: Not a directory"):
        create(tmp_path / "full" / "x" / "y", "text_gan", "seqgan", {}, seed=7)


def test_default_folders_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [create(None, "gail", "airl", {}, seed=0) for _ in range(5)]
    assert len(set(runs)) == 5
    assert all(re.fullmatch(r"runs/gail-airl-\d{8}-\d{6}(-\d)?", str(run)) for run in runs)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{\n "a": 1,,\n}', r"config\.json:2:9: not JSON"),
        ("", r"config\.json:1:1: not JSON"),
        ("[1]", "an object is expected, not list"),
        ('{"family": "a", "variant": "b", "seed": 1}', "'config' is missing"),
        ('{"family": "a", "variant": "b", "seed": 1, "config": 3}', "config: an object is expected, not int"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_broken_description_is_placed(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=problem) as caught:
        read_config(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "config.json"))


def test_bytes_and_missing_files_are_placed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: not a run's folder: No such file"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not JSON"):
        read_config(tmp_path)


def test_json_is_strict_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"a": math.nan, "b": [math.inf, 1.5]})
    assert json.loads(path.read_text()) == {"a": None, "b": ["inf", 1.5]}
    before = path.read_bytes()
    with pytest.raises(TypeError, match="JSON cannot hold object"):
        write_json(path, {"a": object()})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputError, match="cannot be written: No such file"):
        write_json(tmp_path / "no" / "x.json", {})


HOLD = """
import sys
from pathlib import Path
from rl.runtime.rundir import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time_and_death_lets_go(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {other.pid} is working on this run"), lock(tmp_path):
            pass
        other.kill()
    for _ in range(2):
        with lock(tmp_path):
            assert (tmp_path / ".lock").read_text() == str(os.getpid())
