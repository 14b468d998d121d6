"""The command that serves a reward: a request, a stop, and going on from what it kept."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from experiments.serve_reward import BYTES, TOKEN, Arguments, Bytes, examples, main, reward_of
from rl.adapters.client import Client
from rl.adapters.rows import Reader, Row
from rl.runtime import InputError, steps
from seqgan.judges import ConvJudge

SECRET = "correct horse battery"
pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning")


def started(folder: Path, *flags: str) -> tuple[subprocess.Popen[str], str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "experiments.serve_reward", "--port", str(port), "--length", "32", *flags]
    process = subprocess.Popen(
        command, env=os.environ | {TOKEN: SECRET, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    for _ in range(1200):
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                assert json.load(answer)["status"] == "ok"
                return process, url
        except OSError:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.1)
    raise AssertionError("no answer")


def test_it_serves_keeps_and_goes_on(tmp_path: Path) -> None:
    asked = (["say: "], ["hello"], ["good day"])
    process, url = started(tmp_path, "--keep", str(tmp_path / "kept"), "--generation", "3", "--keep-every", "1")
    try:
        client = Client(url, SECRET)
        first = client.score(*asked)
        assert [client.score_and_update(*asked) for _ in range(3)] == [first] * 3
        second = client.score(*asked)
        assert first != second
        assert steps(tmp_path / "kept") == [1]
        client.score_and_update(*asked)
    finally:
        process.send_signal(signal.SIGTERM)
        error = process.communicate(timeout=60)[1]
    assert (process.returncode, error) == (143, "stopped: by SIGTERM\n")
    assert steps(tmp_path / "kept") == [1]
    again, _ = reward_of(Arguments(keep=tmp_path / "kept", length=32))
    assert again.generations == 1
    columns = {"prompts": asked[0], "completions": asked[1], "demonstrations": asked[2]}
    assert again.score(columns).tolist() == pytest.approx(second, abs=1e-6)


def test_demonstrations_are_lines_of_json(tmp_path: Path) -> None:
    file = tmp_path / "told.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": "ü", "more": 1}\n')
    assert [example["completion"] for example in examples(file)] == ["b", "ü"]
    reward, vocabulary = reward_of(Arguments(demonstrations=file, length=16))
    assert vocabulary == BYTES
    assert reward.score({"prompts": ["a"], "completions": ["c"]}).shape == (1,)
    file.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"\n')
    with pytest.raises(InputError, match=r"told\.jsonl:2: not JSON"):
        examples(file)
    file.write_text('["prompt", "completion"]\n')
    with pytest.raises(InputError, match=r"told\.jsonl:1: list, expected an object"):
        examples(file)
    file.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "said": "b"}\n')
    with pytest.raises(InputError, match=r"told\.jsonl:2: needs prompt and completion"):
        examples(file)
    file.write_text('{"prompt": [{"role": "user", "content": "a"}], "completion": [98, 256]}\n')
    reward, _ = reward_of(Arguments(demonstrations=file, length=32))
    assert reward.score({"prompts": ["a"], "completions": ["c"]}).shape == (1,)
    file.write_text('{"prompt": "a", "completion": 1}\n')
    with pytest.raises(InputError, match="demonstrations: number 0: int is neither text, a chat nor ids"):
        reward_of(Arguments(demonstrations=file, length=32))


def test_bytes_are_a_tokenizer() -> None:
    reader = Reader(Bytes())
    assert reader.finished("a", "é") == Row((97,), (0xC3, 0xA9, 256))
    chat = [{"role": "user", "content": "hi"}]
    row = reader.finished(chat, "yes")
    assert bytes(row.prompt) == b"user: hi\nassistant: "
    assert bytes(row.said[:-1]) == b"yes"


def test_a_saved_judge_is_served(tmp_path: Path) -> None:
    torch.manual_seed(3)
    judge = ConvJudge(BYTES, 20)
    judge.save_pretrained(tmp_path / "judge")
    reward, _ = reward_of(Arguments(judge=tmp_path / "judge"))
    assert torch.equal(reward.discriminator.net.output.weight, judge.net.output.weight)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "SPARRING_TOKEN: the environment holds no token"),
        (["--judge", "nowhere"], r"nowhere/judge\.json: not what a judge was saved as"),
        (["--tokenizer", "nowhere"], "--tokenizer nowhere: transformers cannot load it"),
        (["--demonstrations", "nowhere"], "nowhere: no such file"),
        (["--objective", "gan"], "--objective gan: expected one of"),
        (["--keep-every", "0"], "--keep-every 0: must be above zero"),
        (["--length", "0"], "--length 0: must be above zero"),
        (["--generation", "-1"], "--generation -1: must be zero or more"),
        (["--port", "65536"], "--port 65536: must be at most 65535"),
        (["--device", "nonsense"], "--device nonsense: "),
        (["--device", "cuda:99"], "--device cuda:99: "),
        (["--learning.rate", "-1"], r"--learning\.rate -1\.0: must be above zero"),
        (["--learning.rate", "nan"], r"--learning\.rate nan: no number"),
        (["--learning.batch", "0"], r"--learning\.batch 0: must be above zero"),
        (["--learning.passes", "0"], r"--learning\.passes 0: must be above zero"),
        (["--learning.warm-up", "-1"], r"--learning\.warm-up -1: must be zero or more"),
        (["--learning.memory", "-1"], r"--learning\.memory -1: must be zero or more"),
        (["--learning.held-out", "7"], r"--learning\.held-out 7\.0: must be at least 0 and below 1"),
        (["--ports", "1"], "--ports: no such flag"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    flags: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TOKEN, SECRET if flags else "short")
    monkeypatch.setattr("uvicorn.run", lambda app, **options: None)
    with pytest.raises(InputError, match=message) as told:
        main(flags)
    assert "\n" not in str(told.value)


def test_numbers_at_the_edge_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setenv(TOKEN, SECRET)
    monkeypatch.setattr("uvicorn.run", lambda app, **options: served.append(app))
    edges = {"replay": "0", "memory": "0", "held-out": "0", "clip": "inf", "warm-up": "0", "seed": str(-(2**61))}
    flags = [part for name, value in edges.items() for part in (f"--learning.{name}", value)]
    main(["--generation", "0", "--port", "0", "--seed", "-1", "--length", "8", *flags])
    asked = {"prompts": ["a"], "completions": ["b"], "demonstrations": ["c"]}
    answer = TestClient(served[0]).post("/score_and_update", json=asked, headers={"Authorization": f"Bearer {SECRET}"})
    assert answer.status_code == 200
    assert answer.json()["metrics"]["d/loss"] > 0
