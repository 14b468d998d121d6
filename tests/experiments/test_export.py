"""A run's generator as a model of transformers, to the last bit, with the words that it speaks."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from experiments import export, text_gan, text_results
from rl.runtime import checkpoints
from seqgan.pretrained import register
from tests.experiments.helpers import TINY, call, succeed

LINES = "a b c\nb c\nc c a\nd a b a\n" * 30
NETS = [("lstm", "2"), ("transformer", "1")]


def run_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> Path:
    monkeypatch.setattr(text_results, "finish", lambda *_, **__: None)
    succeed(text_gan.main, *flags, "--run-dir", tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(("net", "layers"), NETS)
def test_a_text_runs_generator_speaks_by_itself(
    net: str, layers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, out = tmp_path / "words.txt", tmp_path / "out"
    corpus.write_text(LINES + "a a a a\n")
    flags = ("--corpus", str(corpus), "--length", "0", "--generator", net, "--layers", layers, "--dropout", "0.25")
    run = run_of(tmp_path, monkeypatch, "seqgan", *TINY, "--valid", "0", *flags)
    said = succeed(export.main, run, out)
    newest = checkpoints.newest(run)
    assert said.strip().endswith(str(newest))
    register()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    state = checkpoints.load(newest)["generator"]
    assert state.keys() == model.generator.state_dict().keys()
    assert all(weight.equal(state[name]) for name, weight in model.generator.state_dict().items())
    assert (model.generator.end, model.generator.dropout.p) == (0, 0.25)
    words = json.loads((run / "vocabulary.json").read_text())["words"]
    assert tokenizer.convert_ids_to_tokens(range(len(words))) == words
    read = tokenizer("a b", return_tensors="pt")
    text = tokenizer.decode(model.generate(**read, do_sample=False, max_new_tokens=2)[0], skip_special_tokens=True)
    assert text.startswith("a b")


def test_an_oracles_pupil_has_no_words_and_a_named_step_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = run_of(tmp_path, monkeypatch, "seqgan", *TINY), tmp_path / "out"
    steps = checkpoints.steps(run)
    assert len(steps) > 1
    succeed(export.main, run, out, "--step", steps[0])
    register()
    model = AutoModelForCausalLM.from_pretrained(out)
    first, last = (checkpoints.load(run / f"checkpoints/step-{step}")["generator"] for step in (steps[0], steps[-1]))
    assert model.generator.head.weight.equal(first["head.weight"])
    assert not model.generator.head.weight.equal(last["head.weight"])
    assert model.generator.end == -1
    assert not (out / "tokenizer.json").exists()
    assert torch.isfinite(model(torch.zeros(1, 3, dtype=torch.long)).logits).all()


def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path, monkeypatch, "leakgan", *TINY)
    newest = checkpoints.newest(run)
    refused = {
        (run, tmp_path / "a"): f"error: {newest}/generator.json: neither an LSTM nor a transformer",
        (run, run): f"error: {run}: there is something in it",
        (run, tmp_path / "a", "--step", 99): f"error: {run}/checkpoints/step-99: no such checkpoint",
        (tmp_path / "none", tmp_path / "a"): f"error: {tmp_path}/none",
    }
    for arguments, message in refused.items():
        ended = call(export.main, *arguments)
        assert ended.code == 2
        assert ended.err.startswith(message)
        assert ended.err.count("\n") == 1
    saved = json.loads((run / "config.json").read_text())
    pairs = saved | {"config": saved["config"] | {"corpus": "pairs.tsv", "before_tab": "prompt"}}
    (run / "config.json").write_text(json.dumps(pairs))
    assert "its prompts are filled up on the left" in call(export.main, run, tmp_path / "a").err
    (run / "config.json").write_text(json.dumps(saved))
    (run / "vocabulary.json").write_text("{}")
    assert call(export.main, run, tmp_path / "a").err == f"error: {run}/vocabulary.json: not a vocabulary\n"
    saved = json.loads((run / "config.json").read_text()) | {"family": "gail"}
    (run / "config.json").write_text(json.dumps(saved))
    assert "a run of gail, expected one of text_gan" in call(export.main, run, tmp_path / "a").err
