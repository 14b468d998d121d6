"""Runs whose policy or judge is a transformer out of a folder, and rows of columns."""

import json
from pathlib import Path

import pytest
import torch

from experiments import evaluate, lm_data, lm_gan, resume
from experiments.lm_gan import parse
from seqgan.prompts import word_tokenizer
from tests.experiments.helpers import call, fingerprint, rows, succeed
from tests.experiments.test_lm_gan import CAPTIONS, SMALL, write

# peft asks transformers by a name that is on its way out
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
FLAGS = [*SMALL, "--verifier", "red,blue", "--verifier-count", "1", "--valid", "4", "--demonstrations", "0"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions as text and as columns, and a GPT-2 of two tiny layers with a tokenizer of their words."""
    from transformers import AutoModelForCausalLM, GPT2Config

    folder = tmp_path_factory.mktemp("model")
    write(folder, "text.txt", CAPTIONS[:40])
    write(folder, "test.txt", CAPTIONS[40:])
    pairs = [{"ask": " ".join(line.split()[:1]), "say": " ".join(line.split()[1:]), "id": n}
             for n, line in enumerate(CAPTIONS)]  # fmt: skip
    write(folder, "rows.jsonl", [json.dumps(pair) for pair in pairs])
    tokenizer = word_tokenizer(CAPTIONS)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "gpt")
    tokenizer.save_pretrained(folder / "gpt")
    return folder


def test_columns_are_prompts_and_completions(home: Path) -> None:
    flags = [
        "--data",
        home / "rows.jsonl",
        "--prompt-column",
        "ask",
        "--completion-column",
        "say",
        "--verifier",
        "a,the",
    ]
    task = lm_data.load_task(parse(["sft", *map(str, flags), "--valid", "3", "--demonstrations", "0"]))
    assert all("the" in sentence for sentence in task.shown.sentences(task.shown.train))
    assert {len(prompt) for prompt in task.shown.given(task.shown.train)} == {1}
    missing = call(lm_gan.main, "sft", "--data", home / "rows.jsonl")
    assert missing.code == 2
    assert missing.err == f"error: {home}/rows.jsonl:1: no column 'prompt' (there: ask, say, id)\n"


@pytest.mark.parametrize(
    "flags",
    [
        ["varl", "--model", "gpt"],
        ["gad", "--model", "gpt", "--judge", "gpt", "--lora", "2"],
        ["airl-token", "--judge", "gpt"],
        ["spin", "--model", "gpt"],
    ],
)
def test_transformers_play_and_resume(home: Path, tmp_path: Path, flags: list[str]) -> None:
    own = [str(home / word) if word == "gpt" else word for word in flags[1:]]
    where = ["--data", home / "text.txt", "--test", home / "test.txt", "--prompt", "1", "--cache", tmp_path / "cache"]
    flags = [flags[0], *FLAGS, *map(str, where), "--evaluate-every", "1", *own]
    succeed(lm_gan.main, *flags, "--run-dir", tmp_path / "run", "--steps", "3")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert 0 <= summary["verified"] <= 1
    assert summary["nll_test"] > 0
    succeed(lm_gan.main, *flags, "--run-dir", tmp_path / "part", "--steps", "2")
    succeed(resume.main, tmp_path / "part", "--steps", "3")
    assert rows(tmp_path / "part") == rows(tmp_path / "run")
    assert fingerprint(tmp_path / "part") == fingerprint(tmp_path / "run")
    succeed(evaluate.main, tmp_path / "run")
    assert json.loads((tmp_path / "run/summary.json").read_text()) == summary


def test_with_adapters_nothing_else_learns(home: Path) -> None:
    where = ["--data", home / "text.txt", "--test", home / "test.txt", "--prompt", "1"]
    e = parse(["gad", *FLAGS, "--model", str(home / "gpt"), "--lora", "2", *map(str, where)])
    task = lm_data.load_task(e)
    policy = task.nets.policy(e.numbers, task.shown)
    learning = [name for name, weight in policy.named_parameters() if weight.requires_grad]
    assert learning
    assert all("lora" in name for name in learning)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--model {tmp}", "{tmp}: no tokenizer: "),
        ("--judge {tmp}/nowhere", "{tmp}/nowhere: no tokenizer: "),
        ("--model {home}/gpt --data grammar", "--model {home}/gpt: not with --data grammar"),
        ("--data {home}/rows.jsonl --prompt 2", "--prompt 2: the prompts of {home}/rows.jsonl are its own"),
    ],
)
def test_bad_folders_are_one_line(home: Path, tmp_path: Path, flags: str, message: str) -> None:
    places = {"tmp": str(tmp_path), "home": str(home)}
    data = [] if "--data" in flags else ["--data", home / "text.txt"]
    ended = call(lm_gan.main, "gad", *FLAGS, *data, *flags.format(**places).split(), "--run-dir", tmp_path / "run")
    assert ended.code == 2
    assert message.format(**places) in ended.err
    assert ended.err.count("\n") == 1
