"""Chi-squared comparisons raise a false alarm with probability 1e-6; the seeds are fixed."""

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BloomConfig, BloomForCausalLM, Gemma2Config, Gemma2ForCausalLM, MambaConfig, MambaForCausalLM

from rl.policies import SequencePolicy
from seqgan.causal_lm import NOTHING, CausalLM
from seqgan.likelihood import counted, mle_loss, nll, token_log_probs
from seqgan.sampling import blank_rows, speak
from seqgan.speakers import PolicySpeaker, tempered
from tests.seqgan.test_sampling import ALARM, chi_squared, numbered
from tests.seqgan.tiny_lms import tiny_lm

KINDS = ["gpt2", "llama", "qwen3", "neox", "opt"]
WORDS = torch.tensor([[0, 0, 3, 1, 2, 0, 0], [0, 4, 1, 2, 2, 2, 2], [1, 2, 3, 3, 0, 0, 0], [0, 0, 1, 4, 4, 1, 3]])
EQUAL = {"rtol": 1e-4, "atol": 1e-5}


def policy_of(kind: str = "gpt2", *, prompt: int = 3, start: int = 0, pad: int = 0, **changes: int) -> CausalLM:
    return CausalLM(tiny_lm(kind, **changes), end=0, pad=pad, prompt=prompt, start=start)


def stepped(policy: CausalLM, tokens: Tensor) -> Tensor:
    """Features by one step after another, from the cache."""
    state, said, found = policy.init(len(tokens)), tokens.new_full((len(tokens),), policy.start), []
    with torch.no_grad():
        for time in range(tokens.shape[1]):
            features, state = policy.step(state, said)
            found.append(features)
            said = tokens[:, time]
    return torch.stack(found, 1)


def said_features(policy: CausalLM, tokens: Tensor) -> Tensor:
    return policy.features(tokens)[counted(tokens, policy.end, policy.prompt)].detach()


@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_are_the_models(kind: str) -> None:
    policy, tokens = policy_of(kind, prompt=0), torch.randint(5, (3, 6), generator=torch.Generator().manual_seed(1))
    read = F.pad(tokens[:, :-1], (1, 0), value=0)
    torch.testing.assert_close(policy.head(policy.features(tokens)), policy.model(read).logits, **EQUAL)
    assert isinstance(policy, SequencePolicy)


@pytest.mark.parametrize("start", [0, 2, NOTHING])
@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_changes_nothing(kind: str, start: int) -> None:
    policy = policy_of(kind, start=start)
    said = counted(WORDS, 0, 3)
    torch.testing.assert_close(stepped(policy, WORDS)[said], said_features(policy, WORDS), **EQUAL)


@pytest.mark.parametrize("start", [2, NOTHING])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pad", [0, 4])
def test_left_padding_changes_nothing(kind: str, start: int, pad: int) -> None:
    """The same words in a narrower and in a wider prompt, in one pass and step by step; any token may fill it up."""
    words, model = torch.tensor([[3, 1, 2, 2, 1], [2, 1, 2, 3, 0]]), tiny_lm(kind)
    narrow = CausalLM(model, end=0, pad=pad, prompt=2, start=start)
    wide = CausalLM(model, end=0, pad=pad, prompt=5, start=start)
    padded = F.pad(words, (3, 0), value=pad)
    expected = said_features(narrow, words)
    torch.testing.assert_close(said_features(wide, padded), expected, **EQUAL)
    torch.testing.assert_close(stepped(wide, padded)[counted(padded, 0, 5)], expected, **EQUAL)
    torch.testing.assert_close(token_log_probs(wide, padded)[:, 3:], token_log_probs(narrow, words), **EQUAL)


MODEL = tiny_lm("llama")
BY_PROMPT = {prompt: CausalLM(MODEL, end=0, pad=0, prompt=prompt, start=2) for prompt in range(7)}


@settings(max_examples=30)
@given(pads=st.lists(st.integers(0, 6), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_a_batch_equals_its_rows(pads: list[int], seed: int) -> None:
    """Rows of different padding beside each other, each against itself alone and unpadded; down to empty prompts."""
    rows = torch.randint(1, 5, (len(pads), 9), generator=torch.Generator().manual_seed(seed))
    for row, number in zip(rows, pads, strict=True):
        row[:number] = 0
    together, one_by_one = BY_PROMPT[6].features(rows)[:, 6:], stepped(BY_PROMPT[6], rows)[:, 6:]
    for row, number, mine, mine_too in zip(rows, pads, together, one_by_one, strict=True):
        alone = BY_PROMPT[6 - number].features(row[None, number:])[0, 6 - number :]
        torch.testing.assert_close(alone, mine, **EQUAL)
        torch.testing.assert_close(alone, mine_too, **EQUAL)


def test_a_prompt_of_pads_alone_is_an_empty_prompt() -> None:
    model = tiny_lm("gpt2")
    empty, none = (CausalLM(model, end=0, pad=0, prompt=prompt, start=2) for prompt in (3, 0))
    tokens = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(empty.features(F.pad(tokens, (3, 0)))[:, 3:], none.features(tokens), **EQUAL)


def test_a_pad_inside_the_sentence_is_a_word() -> None:
    policy = policy_of(pad=4)
    features = [policy.features(torch.tensor([[1, 2, 3, word, 1]]))[:, -1] for word in (4, 3)]
    assert (features[0] - features[1]).abs().max() > 1e-2
    inner = [policy.features(torch.tensor([[1, word, 3, 2]]))[:, -1] for word in (4, 2)]
    assert (inner[0] - inner[1]).abs().max() > 1e-2
    rows = torch.tensor([[1, 4, 4, 2, 4, 1], [4, 1, 4, 4, 4, 2], [4, 4, 4, 4, 4, 1]])  # the last: said after no word
    torch.testing.assert_close(stepped(policy, rows)[:, 3:], policy.features(rows).detach()[:, 3:], **EQUAL)


def test_a_fork_appends_rows_that_go_on_alike() -> None:
    policy, said = policy_of(), torch.tensor([3, 1])
    _, state = policy.step(policy.init(2), torch.tensor([0, 0]))
    _, state = policy.step(state, said)
    forked = policy.fork(state, torch.tensor([1, 0, 1]))
    read = torch.tensor([2, 1, 1, 2, 1])
    features, _ = policy.step(forked, read)
    torch.testing.assert_close(features[[0, 1]], policy.step(state, read[:2])[0], **EQUAL)
    torch.testing.assert_close(features[[2, 3, 4]], features[[1, 0, 1]], **EQUAL)


def test_steps_leave_the_state_before_them_alone() -> None:
    policy = policy_of()
    _, state = policy.step(policy.init(1), torch.tensor([0]))
    kept = [part.clone() for part in state]
    policy.step(state, torch.tensor([1]))
    assert all(map(torch.equal, kept, state))


def test_the_probabilities_of_all_that_may_follow_a_padded_prompt_are_one() -> None:
    policy = policy_of(vocabulary=3)
    endings = torch.tensor([row for row in itertools.product(range(3), repeat=4) if closed(torch.tensor(row))])
    rows = torch.cat([torch.tensor([[0, 2, 1]]).repeat(len(endings), 1), endings], 1)
    assert token_log_probs(policy, rows).double().sum(1).exp().sum().item() == pytest.approx(1, abs=1e-5)


def closed(row: Tensor) -> bool:
    """Whether nothing but ends follows an end."""
    zeros = (row == 0).nonzero()
    return not len(zeros) or bool((row[zeros[0, 0] :] == 0).all())


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_speaking_follows_the_exact_distribution(kind: str) -> None:
    policy = policy_of(kind, vocabulary=3)
    prompts = torch.tensor([[0, 0, 1], [0, 2, 1], [2, 2, 1]])
    rows = 9_000
    asked = blank_rows(rows, 6)
    asked[:, :3] = prompts.repeat(rows // 3, 1)
    torch.manual_seed(3)
    said = speak(policy, rows, 6, given=asked)
    assert said[:, :3].equal(asked[:, :3])
    endings = torch.tensor([row for row in itertools.product(range(3), repeat=3) if closed(torch.tensor(row))])
    for number, prompt in enumerate(prompts):
        everything = torch.cat([prompt.expand(len(endings), 3), endings], 1)
        p = torch.zeros(27, dtype=torch.double)
        p[numbered(endings, 3)] = token_log_probs(policy, everything).double().sum(1).exp()
        assert chi_squared(numbered(said[number::3, 3:], 3).bincount(minlength=27), p) > ALARM


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_loss_and_its_gradient_are_those_of_transformers(kind: str) -> None:
    policy = policy_of(kind, prompt=3, start=2)
    tokens = torch.tensor([[0, 3, 1, 2, 2, 0], [4, 3, 1, 1, 0, 0]])
    read = F.pad(tokens, (1, 0), value=2)
    mask = torch.ones_like(read)
    mask[0, 1] = 0
    labels = read.masked_fill(~F.pad(counted(tokens, 0, 3), (1, 0)), -100)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    theirs = policy.model(read, attention_mask=mask, position_ids=positions, labels=labels).loss
    weights = list(policy.parameters())
    expected = torch.autograd.grad(theirs, weights)
    ours = mle_loss(policy, tokens)
    torch.testing.assert_close(ours, theirs, **EQUAL)
    for mine, right in zip(torch.autograd.grad(ours, weights), expected, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-3, atol=1e-5)


def test_a_temperature_leaves_tied_weights_alone() -> None:
    policy, tokens = policy_of("gpt2"), WORDS
    assert policy.head.weight is policy.model.get_input_embeddings().weight
    before = policy.head.weight.detach().clone()
    log_probs = (2.5 * policy.head(policy.features(tokens))).log_softmax(-1).gather(2, tokens[..., None])[..., 0]
    with tempered(policy, 2.5):
        found = nll(policy, tokens)
    assert found == pytest.approx(-log_probs[counted(tokens, 0, 3)].mean().item(), rel=1e-5)
    assert PolicySpeaker(policy, 7, WORDS[:, :3]).likelihood(tokens, 2.5)["nll"] == pytest.approx(found, rel=1e-6)
    assert policy.head.weight is policy.model.get_input_embeddings().weight
    assert policy.head.weight.equal(before)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_weights_are_the_models_and_are_saved_once(kind: str) -> None:
    policy, other = policy_of(kind), policy_of(kind, seed=1)
    assert [name.removeprefix("model.") for name in policy.state_dict()] == [*policy.model.state_dict()]
    assert {id(weight) for weight in policy.parameters()} == {id(weight) for weight in policy.model.parameters()}
    other.load_state_dict(policy.state_dict())
    assert other.features(WORDS).equal(policy.features(WORDS))
    assert other.head(torch.ones(16)).equal(policy.head(torch.ones(16)))
    copied = copy.deepcopy(policy)
    assert copied.head.weight is copied.model.get_output_embeddings().weight
    assert copied.head.weight is not policy.head.weight


def test_the_mode_is_the_models_own() -> None:
    model = tiny_lm("gpt2").train()
    assert CausalLM(model, end=0, pad=0, prompt=1).training
    assert model.training
    assert not policy_of().training


def test_bfloat16_speaks_and_is_scored_in_float32() -> None:
    policy = CausalLM(tiny_lm("llama", spread=0.2).bfloat16(), end=0, pad=0, prompt=3, start=0)
    assert policy.features(WORDS).dtype == torch.bfloat16
    assert token_log_probs(policy, WORDS).dtype == torch.float32
    assert speak(policy, 4, 7).shape == (4, 7)


def test_a_model_with_alibi_keeps_its_cache_and_its_padding() -> None:
    config = BloomConfig(vocab_size=5, hidden_size=16, n_layer=2, n_head=4)
    policy = CausalLM(BloomForCausalLM(config).eval(), end=0, pad=0, prompt=3, start=2)
    said = counted(WORDS, 0, 3)
    torch.testing.assert_close(stepped(policy, WORDS)[said], said_features(policy, WORDS), **EQUAL)


def test_what_cannot_be_a_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="without a prompt there must be a start token"):
        CausalLM(tiny_lm("gpt2"), end=0, pad=0)
    sizes = {"vocab_size": 5, "hidden_size": 16, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 24}
    capped = Gemma2ForCausalLM(Gemma2Config(**sizes, **heads, final_logit_softcapping=1.0, pad_token_id=0)).eval()
    nn.init.normal_(capped.lm_head.weight)
    with pytest.raises(ValueError, match="not linear in its last features"):
        CausalLM(capped, end=0, pad=0, prompt=1)
    with pytest.raises(ValueError, match="the model cannot be a policy"):
        CausalLM(MambaForCausalLM(MambaConfig(**sizes)).eval(), end=0, pad=0, prompt=1)
    quantised = tiny_lm("llama")
    quantised.lm_head = nn.Sequential(quantised.lm_head)
    with pytest.raises(ValueError, match="the head is Sequential, not a plain linear layer"):
        CausalLM(quantised, end=0, pad=0, prompt=1)
