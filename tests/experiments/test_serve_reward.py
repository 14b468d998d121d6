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

import pytest
import torch

from experiments.serve_reward import BYTES, TOKEN, Arguments, Bytes, examples, main, reward_of
from rl.adapters.client import Client
from rl.adapters.rows import Reader, Row
from rl.runtime import InputError, steps
from seqgan.judges import ConvJudge

SECRET = "correct horse battery"


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
    process, url = started(tmp_path, "--keep", str(tmp_path / "kept"))
    try:
        client = Client(url, SECRET)
        first = client.score(*asked)
        for _ in range(3):
            client.score_and_update(*asked)
        second = client.score(*asked)
        assert first != second
    finally:
        process.send_signal(signal.SIGTERM)
        error = process.communicate(timeout=60)[1]
    assert (process.returncode, error) == (143, "stopped: by SIGTERM\n")
    assert steps(tmp_path / "kept") == [3]
    again, _ = reward_of(Arguments(keep=tmp_path / "kept", length=32))
    assert again.generations == 3
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
    with pytest.raises(InputError, match=r"told\.jsonl:1: needs an object with prompt and completion"):
        examples(file)


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
        (["--keep-every", "0"], "must be above zero"),
        (["--ports", "1"], "--ports: no such flag"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    flags: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TOKEN, SECRET if flags else "short")
    with pytest.raises(InputError, match=message) as told:
        main(flags)
    assert "\n" not in str(told.value)
