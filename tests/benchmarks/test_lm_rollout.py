"""All three speak by the same model: shapes, prefixes, distribution; the bytes of the floor by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import lm_rollout
from benchmarks.lm_rollout import Config, Setting, generated, least_bytes, main, model_and_sentences, naive, works
from seqgan import kv_sweep
from seqgan.causal_lm import CausalLM
from seqgan.likelihood import token_log_probs
from tests.seqgan.test_sampling import ALARM, chi_squared

TINY = Setting(sentences=3, rollouts=2, length=5, vocabulary=7, width=8, layers=2, heads=2)


@pytest.mark.parametrize("work", [naive, generated])
def test_every_prefix_is_kept_and_gone_on_from(work: object) -> None:
    model, tokens = model_and_sentences(TINY, "cpu")
    said = work(model, tokens)
    assert said.shape == (4, 3, 5)
    for prefix, rows in enumerate(said):
        assert rows[:, : prefix + 1].equal(tokens[:, : prefix + 1])
    assert said.unique().numel() == 7


@pytest.mark.parametrize("work", [naive, generated])
def test_they_draw_from_the_whole_distribution(work: object) -> None:
    model, tokens = model_and_sentences(replace(TINY, sentences=4_000, length=3, vocabulary=60), "cpu")
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    tokens[:] = torch.tensor([5, 9, 9])
    policy = CausalLM(model, end=-1, pad=0, prompt=0, start=0)
    rows = torch.tensor([[5, 9, word] for word in range(60)])
    said = work(model, tokens)[1]
    assert chi_squared(said[:, 2].bincount(minlength=60), token_log_probs(policy, rows)[:, 2].exp()) > ALARM


def test_the_factors_make_a_part_the_whole() -> None:
    factors = {name: factor for name, (factor, _) in works(replace(TINY, sentences=10), "cpu").items()}
    assert factors == {"naive": 2, "generate": 2, "ours": 10 / 3}


def test_the_bytes_that_must_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, one rollout, three tokens: one step, of the first prefix, behind two shared columns."""
    monkeypatch.setattr(lm_rollout, "ROWS", {"cpu": 1})
    setting = Setting(sentences=1, rollouts=1, length=3, vocabulary=5, width=4, layers=1)
    column = 2 * 4 * 4
    assert least_bytes(setting, "cpu") == 4 * (12 * 4 * 4 + 5 * 4) + column * (1 + 2)
    counted = []
    monkeypatch.setattr(kv_sweep, "step", counting(counted, kv_sweep.step))
    wide = replace(TINY, sentences=4, length=9)
    works(replace(wide, sentences=1), "cpu")["ours"][1]()
    weights = 4 * (12 * 8 * 8 * 2 + 7 * 8)
    monkeypatch.setattr(lm_rollout, "ROWS", {"cpu": 1024})
    assert least_bytes(replace(wide, sentences=1), "cpu") == len(counted) * weights + sum(counted) * 2 * 4 * 8 * 2


def counting(counted: list[int], step: object) -> object:
    def observed(policy: CausalLM, columns: kv_sweep.Columns, *rest: torch.Tensor) -> torch.Tensor:
        counted.append(columns.active * (columns.filled + 1) + columns.seen.numel())
        return step(policy, columns, *rest)

    return observed


def test_the_table_and_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_rollout, "MEMORY", {})
    monkeypatch.setattr(lm_rollout, "bandwidth", lambda device: 1e10)
    main(Config(setting=TINY, json=tmp_path / "out.json", repeats=1))
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert {"speedup/rollout", "speedup/rollout_vs_generate", "bandwidth_share/rollout"} < numbers.keys()
    assert all(numbers[name] > 0 for name in numbers if "/" in name)
