import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, T5Config, T5Model

from rl import R1, GradientPenalty, WeightClipping
from rl.runtime import InputError
from seqgan.judge_files import load_judge, of_classifier
from seqgan.judge_penalties import EmbeddedRows, OnEmbeddings, _Reading
from seqgan.judges import ConvJudge, SequenceJudge, TokenJudge
from seqgan.packed import POOLING, Packing, padded
from seqgan.pretrained import GeneratorConfig, GeneratorModel
from seqgan.reranking import heat_html, heat_map, rerank, token_logits, verdicts
from tests.seqgan.tiny import COMMON, CONFIGS, VOCABULARY, body

END = 2
ROWS = [[5, 6, 7, 8, END], [9, 10, END], [11, 12, 13, 14, 15, 16]]


def judges() -> list:
    torch.manual_seed(1)
    conv = ConvJudge(VOCABULARY, 9, embedding=8, filters=((1, 6), (2, 6), (3, 6))).eval()
    made = [(name, SequenceJudge(body(name), pooling=pooling).eval()) for name in CONFIGS for pooling in POOLING]
    made += [(name, TokenJudge(body(name)).eval()) for name in CONFIGS]
    return [pytest.param(judge, id=f"{name}-{type(judge).__name__}-{n}") for n, (name, judge) in enumerate(made)] + [
        pytest.param(conv, id="conv")
    ]


def scattered(rows: list[list[int]], time: int, seed: int) -> tuple[Tensor, Tensor]:
    """Put rows anywhere, in their order, with rubbish in the holes."""
    random = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCABULARY, (len(rows), time), generator=random)
    mask = torch.zeros(len(rows), time, dtype=torch.bool)
    for number, row in enumerate(rows):
        places = torch.randperm(time, generator=random)[: len(row)].sort().values
        tokens[number, places], mask[number, places] = torch.tensor(row), True
    return tokens, mask


@pytest.mark.parametrize("judge", judges())
@torch.no_grad()
def test_where_padding_stands_and_what_it_says_change_nothing(judge: torch.nn.Module) -> None:
    plain = judge(*padded(ROWS))
    assert plain.std() > 1e-3
    for seed in range(3):
        tokens, mask = scattered(ROWS, 9, seed)
        logits = judge(tokens, mask)
        if logits.dim() == 1:
            torch.testing.assert_close(logits, plain, atol=1e-5, rtol=1e-4)
            continue
        assert (logits[~mask] == 0).all()
        for row, there, expected, words in zip(logits, mask, plain, ROWS, strict=True):
            torch.testing.assert_close(row[there], expected[: len(words)], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("judge", judges())
@torch.no_grad()
def test_a_batch_equals_its_rows(judge: torch.nn.Module) -> None:
    together = judge(*padded(ROWS))
    for number, row in enumerate(ROWS):
        alone = judge(*padded([row]))[0]
        torch.testing.assert_close(together[number][..., : len(row)] if alone.dim() else together[number], alone)


@pytest.mark.parametrize("judge", judges())
@torch.no_grad()
def test_the_end_is_seen(judge: torch.nn.Module) -> None:
    if getattr(judge, "pooling", "") == "first" and "Bert" not in type(judge.body).__name__:
        return  # the first token of a decoder has read nothing but itself
    finished, cut = judge(*padded([[5, 6, 7, END], [5, 6, 7]]))
    if finished.dim() == 0:
        assert (finished - cut).abs() > 1e-4
    else:
        assert finished[3] != 0
        assert cut[3] == 0


@pytest.mark.parametrize("judge", judges())
@torch.no_grad()
def test_embedding_first_is_the_same_call(judge: torch.nn.Module) -> None:
    tokens, mask = scattered(ROWS, 8, 5)
    torch.testing.assert_close(judge.judge_embedded(judge.embed(tokens), mask), judge(tokens, mask))


@torch.no_grad()
def test_each_pooling_takes_its_state_by_the_mask() -> None:
    states = torch.arange(24.0).view(2, 3, 4)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert torch.equal(POOLING["first"](states, mask), states[:, 0])
    assert torch.equal(POOLING["last"](states, mask), torch.stack([states[0, 1], states[1, 2]]))
    assert torch.equal(POOLING["mean"](states, mask), torch.stack([states[0, :2].mean(0), states[1].mean(0)]))


def test_packing_and_back() -> None:
    mask = torch.tensor([[False, True, False, True], [False, False, False, False]])
    packing = Packing.of(mask)
    assert packing.mask.tolist() == [[True, True], [False, False]]
    x = torch.arange(8.0).view(2, 4, 1)
    assert packing.pack(x)[0, :, 0].tolist() == [1, 3]
    assert packing.unpack(packing.pack(x)[..., 0], 4).tolist() == [[0, 1, 0, 3], [0, 0, 0, 0]]


def test_a_decoder_with_a_head_is_judged_below_it() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS["llama"]).eval()
    judge = SequenceJudge(model)
    assert judge.body is model.model
    assert judge(*padded(ROWS)).shape == (3,)


def test_what_cannot_be_judged_with_is_refused() -> None:
    with pytest.raises(ValueError, match="pooling 'middle' is none of first, last, mean"):
        SequenceJudge(body("gpt2"), pooling="middle")
    both = T5Model(T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2))
    with pytest.raises(ValueError, match="T5Model: judge with an encoder or a decoder, not with both"):
        TokenJudge(both)
    with pytest.raises(ValueError, match="a row of 4 tokens, the net reads 3"):
        ConvJudge(VOCABULARY, 3)(*padded([[5, 6, 7, 8]]))


def test_a_body_in_half_precision_gives_float32_logits() -> None:
    judge = SequenceJudge(body("llama").bfloat16()).eval()
    logits = judge(*padded(ROWS))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, SequenceJudge(body("llama")).eval()(*padded(ROWS)) * 0 + logits)
    assert judge.head.weight.dtype == torch.float32


@pytest.mark.parametrize("judge", judges())
@torch.no_grad()
def test_a_folder_brings_the_judge_back_bit_by_bit(judge, tmp_path) -> None:
    judge.save_pretrained(tmp_path / "judge")
    loaded = load_judge(tmp_path / "judge")
    assert type(loaded) is type(judge)
    assert not loaded.training
    assert torch.equal(loaded(*padded(ROWS)), judge(*padded(ROWS)))
    assert not list((tmp_path / "judge").rglob("*.bin"))


READ = """
import json, sys
from seqgan.judge_files import load_judge
from seqgan.packed import padded
print(json.dumps(load_judge(sys.argv[1])(*padded(json.loads(sys.argv[2]))).tolist()))
"""


@torch.no_grad()
def test_a_process_that_never_met_our_generators_reads_a_judge_on_one(tmp_path) -> None:
    torch.manual_seed(0)
    judge = SequenceJudge(GeneratorModel(GeneratorConfig(vocab_size=VOCABULARY))).eval()
    judge.save_pretrained(tmp_path)
    command = [sys.executable, "-c", READ, str(tmp_path), json.dumps(ROWS)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == pytest.approx(judge(*padded(ROWS)).tolist(), abs=1e-6)


def test_bad_folders_are_named_in_one_line(tmp_path) -> None:
    with pytest.raises(InputError, match=r"judge\.json: not what a judge was saved as"):
        load_judge(tmp_path)
    judge = SequenceJudge(body("gpt2"))
    judge.save_pretrained(tmp_path)
    told = json.loads((tmp_path / "judge.json").read_text())
    (tmp_path / "judge.json").write_text(json.dumps({**told, "kind": "sequences"}))
    with pytest.raises(InputError, match="kind 'sequences' is not known; did you mean 'sequence'"):
        load_judge(tmp_path)
    (tmp_path / "judge.json").write_text(json.dumps({**told, "pooling": "middle"}))
    with pytest.raises(InputError, match="does not fit its weights"):
        load_judge(tmp_path)
    (tmp_path / "judge.json").write_text(json.dumps(told))
    weights = tmp_path / "judge.safetensors"
    bad = bytearray(weights.read_bytes())
    bad[-1] ^= 1
    weights.write_bytes(bad)
    with pytest.raises(InputError, match=r"judge\.safetensors: missing, or not what was written"):
        load_judge(tmp_path)
    judge.save_pretrained(tmp_path)
    body_weights = tmp_path / "body" / "model.safetensors"
    body_weights.write_bytes(body_weights.read_bytes()[: body_weights.stat().st_size // 2])
    with pytest.raises(InputError, match="body: transformers cannot load it"):
        load_judge(tmp_path)
    judge.save_pretrained(tmp_path)
    (tmp_path / "body" / "config.json").unlink()
    with pytest.raises(InputError, match="body: transformers cannot load it"):
        load_judge(tmp_path)


@torch.no_grad()
def test_a_reward_model_becomes_a_judge_with_the_same_answers() -> None:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(LlamaConfig(**COMMON, num_labels=1)).eval()
    tokens, mask = padded(ROWS)
    theirs = model(input_ids=tokens, attention_mask=mask.long()).logits[:, 0]
    torch.testing.assert_close(of_classifier(model).eval()(tokens, mask), theirs)
    with pytest.raises(InputError, match="one linear head `score` with one label"):
        of_classifier(AutoModelForSequenceClassification.from_config(LlamaConfig(**COMMON, num_labels=2)))


@pytest.mark.parametrize(
    ("name", "step", "tolerance"), [("gpt2", 1e-5, 1e-5), ("bert", 1e-5, 1e-5), ("llama", 1e-3, 1e-2)]
)
def test_the_gradient_of_a_transformer_is_that_of_finite_differences(name: str, step: float, tolerance: float) -> None:
    """Attention takes its mathematical path. Llama's norms are in float32 whatever the weights: a wide bound."""
    judge = SequenceJudge(body(name).double(), pooling="mean").double().eval()
    assert judge.body.config._attn_implementation == "sdpa"
    (tokens, mask), fakes = padded(ROWS), padded([row[::-1] for row in ROWS])
    penalty = OnEmbeddings(R1(2.0))
    value = penalty(judge, (tokens, mask), fakes)

    embedded = judge.embed(tokens).detach()
    with torch.no_grad():  # weight / 2 * the mean over rows of the squared norm
        squares = torch.zeros(len(ROWS), dtype=torch.double)
        for place in range(embedded[0].numel()):
            there, back = embedded.clone(), embedded.clone()
            there.view(len(ROWS), -1)[:, place] += step
            back.view(len(ROWS), -1)[:, place] -= step
            squares += ((judge.judge_embedded(there, mask) - judge.judge_embedded(back, mask)) / (2 * step)).square()
    torch.testing.assert_close(value, squares.mean(), rtol=tolerance, atol=0)

    weight = next(w for n, w in judge.named_parameters() if w.dim() == 2 and "att" in n)
    (found,) = torch.autograd.grad(value, weight)
    for place in [(0, 1), (3, 2), (7, 5)]:
        ends = []
        for moved in (step, -step):
            with torch.no_grad():
                weight[place] += moved
            ends.append(penalty(judge, (tokens, mask), fakes).item())
            with torch.no_grad():
                weight[place] -= moved
        assert found[place].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=10 * tolerance)


def test_penalties_reach_every_judge_and_clip_its_weights() -> None:
    for judge in (
        SequenceJudge(body("gpt2")), TokenJudge(body("llama")), ConvJudge(VOCABULARY, 6, filters=((2, 4),)),
    ):  # fmt: skip
        rows = padded([row[:5] for row in ROWS]), padded([row[:5] for row in reversed(ROWS)])
        value = OnEmbeddings(GradientPenalty(3.0))(judge, *rows)
        assert value > 0
        value.backward()
        assert any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in judge.parameters())
        OnEmbeddings(WeightClipping(0.01))(judge, *rows)
        assert max(weight.abs().max() for weight in judge.parameters()) <= 0.01


def test_padding_has_no_gradient() -> None:
    judge = SequenceJudge(body("gpt2")).eval()
    tokens, mask = scattered(ROWS, 9, 2)
    embedded = judge.embed(tokens).detach().requires_grad_()
    (found,) = torch.autograd.grad(_Reading(judge)(EmbeddedRows(embedded, mask)).sum(), embedded)
    assert (found[~mask] == 0).all()
    assert (found[mask].abs().amax(1) > 0).all()


def test_reranking_puts_the_highest_logit_first_and_never_trains() -> None:
    judge = SequenceJudge(body("gpt2"), dropout=0.9).train()
    candidates = [[5, 6, END], [7, END], [8, 9, 10], [5, 6, END]]
    ranked = rerank(judge, [20, 21], candidates)
    assert judge.training
    told = judge.eval()(*padded([[20, 21, *candidate] for candidate in candidates])).tolist()
    assert sorted(told, reverse=True) == pytest.approx([one.logit for one in ranked], abs=1e-6)
    assert [told[one.candidate] for one in ranked] == pytest.approx([one.logit for one in ranked], abs=1e-6)
    places = [one.candidate for one in ranked]
    assert places.index(0) + 1 == places.index(3)
    assert verdicts(judge, [20], candidates, chunk=1) == pytest.approx(verdicts(judge, [20], candidates), abs=1e-5)


@torch.no_grad()
def test_token_numbers_sum_to_the_verdict_or_are_the_judges_own() -> None:
    said, prompt = [5, 6, 7, END], [20, 21]
    for judge in (SequenceJudge(body("bert"), pooling="mean").eval(), ConvJudge(VOCABULARY, 9).eval()):
        numbers = token_logits(judge, prompt, said)
        empty, whole = verdicts(judge, prompt, [[], said])
        assert sum(numbers) == pytest.approx(whole - empty, abs=1e-5)
        assert len(numbers) == 4
        steps = verdicts(judge, prompt, [said[:n] for n in range(5)])
        assert numbers == pytest.approx([b - a for a, b in pairwise(steps)], abs=1e-5)
    judge = TokenJudge(body("gpt2")).eval()
    numbers = token_logits(judge, prompt, said)
    assert numbers == pytest.approx(judge(*padded([[*prompt, *said]]))[0, 2:].tolist())
    assert verdicts(judge, prompt, [said]) == pytest.approx([sum(numbers) / 4], abs=1e-6)


def test_a_heat_map_is_a_fragment_of_html() -> None:
    heat = heat_map(["<b>", "cat"], [-2.0, 1.0])
    assert heat == [("<b>", -2.0), ("cat", 1.0)]
    html = heat_html(heat)
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "rgba(218,54,51,1.00)" in html
    assert "rgba(46,160,67,0.50)" in html
    assert heat_html([]) == '<p class="heat"></p>'
    assert "nan" not in heat_html([("a", 0.0)])
    with pytest.raises(ValueError, match="zip"):
        heat_map(["a"], [])
