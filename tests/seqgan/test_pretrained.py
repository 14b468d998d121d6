"""Chi-squared comparisons raise a false alarm with probability 1e-6; the seeds are fixed."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationConfig

from seqgan.causal_lm import CausalLM
from seqgan.generation import generate_exactly
from seqgan.generators import Generator, LSTMGenerator, TransformerGenerator
from seqgan.likelihood import token_log_probs
from seqgan.pretrained import GeneratorForCausalLM, GeneratorModel, pretrained, register
from tests.seqgan.test_sampling import ALARM, chi_squared, numbered

KINDS = ["lstm", "lstm2", "transformer"]
EQUAL = {"rtol": 1e-4, "atol": 1e-5}


def generator_of(kind: str, vocabulary: int = 7, *, end: int = 0, prompt: int = 0, seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    if kind == "transformer":
        return TransformerGenerator(vocabulary, length=24, width=8, heads=2, end=end, prompt=prompt).eval()
    layers = 2 if kind == "lstm2" else 1
    net = LSTMGenerator(
        vocabulary, embedding=5, hidden=6, layers=layers, end=end, prompt=prompt, deviation=0.7, dropout=0.25
    )
    return net.eval()


def rows(count: int, length: int, seed: int = 1) -> Tensor:
    return torch.randint(1, 7, (count, length), generator=torch.Generator().manual_seed(seed))


def started(tokens: Tensor) -> Tensor:
    """What a model of transformers reads: the start token first."""
    return F.pad(tokens, (1, 0), value=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_are_the_generators(kind: str) -> None:
    net, tokens = generator_of(kind), rows(3, 6)
    model = pretrained(net)
    read = started(tokens[:, :-1])
    expected = net.head(net.features(tokens))
    output = model(read, labels=read)
    torch.testing.assert_close(output.logits, expected, **EQUAL)
    by_hand = F.cross_entropy(expected[:, :-1].flatten(0, 1), read[:, 1:].flatten())
    torch.testing.assert_close(output.loss, by_hand, **EQUAL)
    torch.testing.assert_close(model(read, logits_to_keep=2).logits, expected[:, -2:], **EQUAL)
    torch.testing.assert_close(model(read, logits_to_keep=torch.tensor([0, 3])).logits, expected[:, [0, 3]], **EQUAL)
    embedded = model(inputs_embeds=net.embedding(read)).logits
    torch.testing.assert_close(embedded, expected, **EQUAL)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(pads=st.lists(st.integers(0, 4), min_size=1, max_size=4), seed=st.integers(0, 99), word=st.integers(0, 6))
def test_padding_changes_nothing(kind: str, pads: list[int], seed: int, word: int) -> None:
    """Rows of different lengths, filled up on the left by any token: each as if it were alone; steps the same."""
    model = MODELS[kind]
    read = torch.cat([torch.full((len(pads), 4), word), started(rows(len(pads), 5, seed))], 1)
    mask = torch.ones_like(read)
    for row, places, number in zip(read, mask, pads, strict=True):
        row[:] = row.roll(number - 4)
        row[:number], places[:number] = word, 0
    read, mask = read[:, :8], mask[:, :8]
    whole = model(read, attention_mask=mask).logits
    first = model(read[:, :6], attention_mask=mask[:, :6], use_cache=True)
    then = model(read[:, 6:7], attention_mask=mask[:, :7], past_key_values=first.past_key_values, use_cache=True)
    last = model(read[:, 7:], attention_mask=mask, past_key_values=then.past_key_values, use_cache=True)
    stepped = torch.cat([first.logits, then.logits, last.logits], 1)
    right = torch.cat([read, torch.full_like(read[:, :2], word)], 1)
    filled = model(right, attention_mask=F.pad(mask, (0, 2))).logits[:, :8]
    for row, number, *found in zip(read, pads, whole, stepped, filled, strict=True):
        alone = model(row[None, number:]).logits[0]
        for logits in found:
            torch.testing.assert_close(logits[number:], alone, **EQUAL)


MODELS = {kind: pretrained(generator_of(kind)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_to_the_last_bit(kind: str, tmp_path: Path) -> None:
    register()
    net = generator_of(kind, end=3, prompt=2)
    pretrained(net).save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "sparring"
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is GeneratorForCausalLM
    assert not loaded.training
    assert type(loaded.generator) is type(net)
    for (name, weight), (other, kept) in zip(
        net.state_dict().items(), loaded.generator.state_dict().items(), strict=True
    ):
        assert name == other
        assert weight.equal(kept)
    assert (loaded.generator.end, loaded.generator.prompt, loaded.generator.start) == (3, 2, 0)
    assert loaded.generator.dropout.p == net.dropout.p
    body = AutoModel.from_pretrained(tmp_path)
    assert type(body) is GeneratorModel
    assert body(rows(2, 4)).last_hidden_state.equal(loaded.model(rows(2, 4)).last_hidden_state)
    again = tmp_path / "again"
    loaded.save_pretrained(again)
    assert (again / "model.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_from_its_config_begins_as_the_generator_does(kind: str) -> None:
    """What the library would draw anew stays as the generator drew it."""
    register()
    config = AutoConfig.for_model(**MODELS[kind].config.to_dict())
    torch.manual_seed(4)
    drawn = config.build()
    torch.manual_seed(4)
    model = AutoModelForCausalLM.from_config(config)
    assert all(map(torch.equal, drawn.parameters(), model.generator.parameters()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_copy_is_a_copy_in_the_same_mode(kind: str) -> None:
    net = generator_of(kind).train()
    model = pretrained(net)
    assert model.training
    with torch.no_grad():
        net.head.bias.add_(1)
    assert not model.generator.head.bias.equal(net.head.bias)
    assert model.get_output_embeddings() is model.generator.head
    assert model.get_input_embeddings() is model.generator.embedding


PROMPTS = torch.tensor([[5, 5, 0, 3], [5, 0, 1, 2], [0, 4, 4, 1]])  # the start token, filled up with another one
MASK = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]])
WAYS = {
    "greedy": {"do_sample": False},
    "sample": {"do_sample": True, "top_k": 0},
    "several": {"do_sample": True, "top_k": 0, "num_return_sequences": 3},
    "beams": {"num_beams": 3, "num_return_sequences": 2, "do_sample": False},
    "sampled beams": {"num_beams": 2, "do_sample": True, "top_k": 0},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_generate_with_and_without_a_cache(kind: str, way: str) -> None:
    said = []
    for use_cache in (True, False):
        torch.manual_seed(2)
        how = GenerationConfig(**WAYS[way], use_cache=use_cache, max_new_tokens=6, pad_token_id=0, eos_token_id=0)
        said.append(MODELS[kind].generate(PROMPTS, attention_mask=MASK, generation_config=how))
    assert said[0].equal(said[1])
    many = WAYS[way].get("num_return_sequences", 1)
    assert said[0][:, :4].equal(PROMPTS.repeat_interleave(many, 0))


@pytest.mark.parametrize("kind", KINDS)
def test_enough_beams_find_the_likeliest_sentence(kind: str) -> None:
    net = generator_of(kind, 3, end=-1)
    everything = torch.tensor(list(itertools.product(range(3), repeat=4)))
    best = everything[token_log_probs(net, everything).sum(1).argmax()]
    how = GenerationConfig(num_beams=27, max_new_tokens=4, do_sample=False, pad_token_id=0)
    start = torch.zeros(1, 1, dtype=torch.long)
    found = pretrained(net).generate(start, attention_mask=torch.ones_like(start), generation_config=how)
    assert found[0, 1:].equal(best)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_generation_follows_the_generators_distribution(kind: str) -> None:
    net = generator_of(kind, 3)
    everything = torch.tensor([row for row in itertools.product(range(3), repeat=3) if closed(row)])
    p = torch.zeros(27, dtype=torch.double)
    p[numbered(everything, 3)] = token_log_probs(net, everything).double().sum(1).exp()
    torch.manual_seed(3)
    starts = torch.zeros(8_000, 1, dtype=torch.long)
    said = generate_exactly(pretrained(net), starts, 3, end=0, pad=2)
    assert chi_squared(numbered(said[:, 1:], 3).bincount(minlength=27), p) > ALARM


def closed(row: tuple[int, ...]) -> bool:
    return all(after == 0 for before, after in itertools.pairwise(row) if before == 0)


def test_it_begins_by_itself_where_nothing_is_given() -> None:
    assert MODELS["lstm"].generate(max_new_tokens=3, do_sample=False, pad_token_id=0, eos_token_id=6).shape[0] == 1


def test_a_sentence_that_never_ends_has_no_end_token() -> None:
    model = pretrained(generator_of("lstm", end=-1))
    assert model.config.eos_token_id is None
    assert MODELS["lstm"].config.eos_token_id == MODELS["lstm"].config.pad_token_id == 0


def test_more_tokens_than_positions_are_refused() -> None:
    model = MODELS["transformer"]
    with pytest.raises(ValueError, match="25 tokens, the transformer has 24 positions"):
        model(rows(1, 25))
    assert model(rows(1, 24)).logits.shape == (1, 24, 7)


def test_another_cache_is_refused() -> None:
    """So is another policy around the model: its own generator is one."""
    with pytest.raises(ValueError, match="keeps its state in a StateCache, not in a DynamicCache"):
        CausalLM(MODELS["lstm"], end=0, pad=0, prompt=1, start=0)


@pytest.mark.parametrize("name", ["reorder_cache", "batch_select_indices", "batch_repeat_interleave"])
def test_a_cache_moves_its_rows(name: str) -> None:
    model, read = MODELS["lstm2"], started(rows(3, 4))
    order: Any = {"batch_repeat_interleave": 2}.get(name, torch.tensor([2, 0, 0]))
    moved = read.repeat_interleave(2, 0) if name == "batch_repeat_interleave" else read[order]
    cache = model(read[:, :3], use_cache=True).past_key_values
    getattr(cache, name)(order)
    assert cache.get_seq_length() == 3
    found = model(moved[:, 3:], past_key_values=cache, use_cache=True).logits
    torch.testing.assert_close(found, model(moved).logits[:, 3:], **EQUAL)
