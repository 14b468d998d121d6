"""Every snippet of the page "Bring our reward into your trainer" is run, in its order, beside the files it names."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch

from experiments.serve_reward import TOKEN
from rl.runtime import steps
from tests.rl.adapters.bags import END
from tests.rl.adapters.corridor import learned
from tests.rl.adapters.tiny_lm import QUESTIONS, saved_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/bring_our_reward.md").read_text(encoding="utf-8")
SNIPPET = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTIONS = {part.split("\n", 1)[0]: SNIPPET.findall(part) for part in PAGE.split("\n## ")}
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of TRL and transformers to each other
    pytest.mark.filterwarnings("ignore:.*bf16.*:UserWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's reader has: a policy, its data, the reward of a run."""
    made = tmp_path_factory.mktemp("page")
    saved_model(made / "my-model")
    (made / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    learned(gymnasium.make("CartPole-v1")).save(made / "runs/my-gail/reward")
    return made


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(folder / "hub"))
    torch.manual_seed(0)


def run(section: str) -> dict[str, Any]:
    """Run all of a section's Python, one snippet after the other, and return its names."""
    names: dict[str, Any] = {"__name__": "page"}
    for language, code in SECTIONS[section]:
        assert language == "python"
        exec(compile(code, section, "exec"), names)
    return names


def test_gymnasium() -> None:
    page = run("gymnasium")
    assert page["paid"] != 1.0
    assert page["info"]["env_reward"] == 1.0
    assert page["envs"].num_envs == 4


def test_stable_baselines3() -> None:
    assert run("Stable-Baselines3")["agent"].num_timesteps >= 128


def test_torchrl() -> None:
    data = run("TorchRL")["rollout"]
    assert (data["next", "env_reward"] == 1).all()
    assert (data["next", "reward"] != 1).all()


def test_trl_and_what_is_left_after_training(folder: Path) -> None:
    page = run("TRL: GRPO and RLOO")
    assert page["reward"].generations == 2
    columns = {
        "prompts": ["a e"] * 2, "completions": ["e a", "b"], "completion_ids": [[7, 3, 1], [4] * 9],
        "answer": ["e a"] * 2,
    }  # fmt: skip
    assert page["gad"].score(columns).max() < 0
    gated = page["gated"].score(columns)
    assert gated[0] > 0
    assert gated[1] == 0
    for name in ("unpaired", "tokens", "smooth", "small"):
        rewards, metrics = page[name].score_and_update(columns)
        assert rewards.isfinite().all()
        assert metrics["d/fake"] != metrics["d/real"]
    after = run("After training")
    assert after["candidates"] == [[7, 3, END], [3, 7, END], [4, 4, END]]  # without the tokenizer's first token
    assert after["page"].count("<span") == len(after["candidates"][after["best"]])


def test_past_one_machine(folder: Path) -> None:
    (language, command), code = SECTIONS["Past one machine"][0], SECTIONS["TRL: GRPO and RLOO"][0][1]
    assert language == "bash"
    (folder / "train.py").write_text(code)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[int]:
    """Start the service by the page's own lines, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    language, command = SECTIONS["Over HTTP"][0]
    assert language == "bash"
    command = command.replace("8300", str(port)).replace("\npython -m", "\necho $SPARRING_TOKEN\nexec python -m")
    assert "--generation 256" in command
    command = command.replace("256", "3")  # the snippets pay three completions that may teach
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    process = subprocess.Popen(
        command, shell=True, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    os.environ[TOKEN] = process.stdout.readline().strip()
    try:
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.1)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        del os.environ[TOKEN]
    assert process.returncode == 143
    assert steps(folder / "kept-reward") == [1]


def asked(section: str, number: int, port: int) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(SECTIONS[section][number][1].replace("8300", str(port)), section, "exec"), names)
    return names


def test_over_http_and_from_openrlhf_and_verl(service: int) -> None:
    page = asked("Over HTTP", 1, service)
    assert len(page["paid"]) == 1
    told = asked("OpenRLHF", 0, service)["reward_func"](["2 + 2 = 5"], ["2 + 2 ="], [" 4"])
    assert 0 < told["rewards"].item() < 1
    compute_score = asked("verl", 0, service)["compute_score"]
    assert 0 < compute_score(["sums"], [" 5"], [" 4"], [{"prompt": "2 + 2 ="}])[0]["score"] < 1


def test_no_snippet_is_left_out() -> None:
    """The tests above run all of these."""
    assert {section: len(held) for section, held in SECTIONS.items() if held} == {
        "gymnasium": 1, "Stable-Baselines3": 1, "TorchRL": 1, "TRL: GRPO and RLOO": 5, "After training": 1,
        "Past one machine": 1, "Over HTTP": 2, "OpenRLHF": 1, "verl": 1,
    }  # fmt: skip


def test_the_page_names_files_that_are_there_and_links_to_its_own_sections() -> None:
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in SECTIONS}
    assert set(re.findall(r"\(#([\w-]+)\)", PAGE)) <= anchors
    assert all((ROOT / path).exists() for path in re.findall(r"`(tests/[\w/.]+)`", PAGE))
