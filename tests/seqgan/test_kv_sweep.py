"""Chi-squared comparisons raise a false alarm with probability 1e-6; the seeds are fixed."""

import itertools
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from transformers import BloomConfig, BloomForCausalLM, MistralConfig, MistralForCausalLM

from rl.objectives import AIRL
from rl.rewards import MonteCarlo
from rl.rollout import Rollout
from seqgan import kv_sweep, sampling
from seqgan.causal_lm import NOTHING, CausalLM
from seqgan.likelihood import counted, token_log_probs
from seqgan.sampling import blank_rows
from tests.seqgan.test_sampling import ALARM, chi_squared, numbered
from tests.seqgan.tiny_lms import tiny_lm

PROMPTS = torch.tensor([[0, 0, 4], [0, 3, 4], [2, 3, 4], [0, 0, 0], [0, 2, 1]])
VOCABULARY = 11


class Greedy:
    """Draws the likeliest token, so that two sweeps of one policy must agree token by token."""

    def __init__(self, head: nn.Linear, *, inverse_temperature: float = 1.0) -> None:
        self.head = head

    def __call__(self, features: Tensor, draws: int = 1) -> Tensor:
        return self.head(features).argmax(-1, keepdim=True).repeat(1, draws)


@pytest.fixture
def greedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (kv_sweep, sampling):
        monkeypatch.setattr(module, "Sampler", Greedy)


def sentences(prompt: int, length: int = 9) -> Tensor:
    """Rows that end at different places, one of them right after its prompt."""
    rows = torch.randint(1, VOCABULARY, (len(PROMPTS), length), generator=torch.Generator().manual_seed(3))
    rows[:, :prompt] = PROMPTS[:, :prompt]
    rows[0, 6:], rows[1, length - 1 :], rows[2, max(prompt, 1) :] = 0, 0, 0
    return rows


def policy_of(kind: str, *, prompt: int, start: int = 0, vocabulary: int = VOCABULARY) -> CausalLM:
    return CausalLM(tiny_lm(kind, vocabulary), end=0, pad=0, prompt=prompt, start=start)


@pytest.mark.usefixtures("greedy")
@pytest.mark.parametrize(("prompt", "start"), [(0, 2), (3, 0)])
@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3", "neox", "opt"])
def test_it_goes_on_as_the_plain_sweep_does(kind: str, prompt: int, start: int) -> None:
    policy, tokens = policy_of(kind, prompt=prompt, start=start), sentences(prompt)
    expected = sampling.complete(policy, tokens, 2)
    assert (expected[prompt:, ..., prompt + 1 :] > 0).any()
    for max_rows in (0, 1, 5, 12, 40):
        found = kv_sweep.complete(policy, tokens, 2, max_rows=max_rows)
        assert found[prompt:].equal(expected[prompt:]), max_rows
        assert found[:prompt].equal(tokens[None, :, None].expand_as(found)[:prompt])


@pytest.mark.usefixtures("greedy")
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_without_a_start_every_prompt_needs_a_word(kind: str) -> None:
    policy, tokens = policy_of(kind, prompt=3, start=NOTHING), sentences(3)[[0, 1, 2, 4]]
    found, expected = (sweep.complete(policy, tokens, 3) for sweep in (kv_sweep, sampling))
    assert found[3:].equal(expected[3:])


@pytest.mark.usefixtures("greedy")
@pytest.mark.parametrize("prompt", [0, 3])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_prompts_are_continued_as_plain_speaking_does(kind: str, prompt: int) -> None:
    prompts = PROMPTS[[0, 1, 2, 4], :prompt]
    policy, given = policy_of(kind, prompt=prompt, start=2), blank_rows(len(prompts), 9)
    given[:, :prompt] = prompts
    expected = sampling.speak(policy, len(prompts), 9, given=given)
    for max_rows in (0, 2, 7):
        found = kv_sweep.speak(policy, prompts, 3, 9, max_rows=max_rows)
        assert found.equal(expected[:, None].expand(-1, 3, -1))


@pytest.mark.usefixtures("greedy")
def test_a_prompt_of_pads_alone_is_an_empty_prompt() -> None:
    empty, none = (policy_of("gpt2", prompt=prompt, start=2) for prompt in (3, 0))
    said = kv_sweep.speak(empty, torch.zeros(1, 3, dtype=torch.long), 2, 9)
    assert said[..., 3:].equal(kv_sweep.speak(none, torch.zeros(1, 0, dtype=torch.long), 2, 6))
    assert said[..., 3:].any()


@pytest.mark.usefixtures("greedy")
def test_sentences_without_an_end_and_the_shortest_of_all() -> None:
    policy = CausalLM(tiny_lm("gpt2", VOCABULARY), end=-1, pad=0, prompt=0, start=2)
    for length in (1, 2, 3):
        tokens = torch.zeros(2, length, dtype=torch.long)
        assert kv_sweep.complete(policy, tokens, 2).equal(sampling.complete(policy, tokens, 2))


def closed(row: tuple[int, ...]) -> bool:
    return all(after == 0 for before, after in itertools.pairwise(row) if before == 0)


def conditional(policy: CausalLM, kept: Tensor, length: int) -> Tensor:
    """The exact probability of every row of the ids 0, 1, 2, given the first ones."""
    rows = torch.tensor([row for row in itertools.product(range(3), repeat=length - policy.prompt) if closed(row)])
    rows = torch.cat([kept[: policy.prompt].expand(len(rows), -1), rows], 1)
    possible = (rows[:, : len(kept)] == kept).all(1)
    p = torch.zeros(3**length, dtype=torch.double)
    p[numbered(rows, 3)] = token_log_probs(policy, rows).double().sum(1).exp() * possible
    return p


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_completions_follow_the_exact_conditional_distribution(kind: str) -> None:
    policy = policy_of(kind, prompt=1, start=2, vocabulary=3)
    tokens = torch.tensor([[1, 2, 1, 2], [0, 1, 0, 0], [2, 2, 2, 1]])
    torch.manual_seed(4)
    completions = kv_sweep.complete(policy, tokens, 6_000, max_rows=40_000)
    for prefix, row in itertools.product(range(1, 3), range(3)):
        counts = numbered(completions[prefix, row], 3).bincount(minlength=81)
        assert chi_squared(counts, conditional(policy, tokens[row, : prefix + 1], 4)) > ALARM, (prefix, row)


@pytest.mark.parametrize("inverse_temperature", [1.0, 2.0])
def test_speaking_follows_the_exact_distribution(inverse_temperature: float) -> None:
    policy, prompts = policy_of("gpt2", prompt=1, start=2, vocabulary=3), torch.tensor([[0], [1]])
    torch.manual_seed(5)
    said = kv_sweep.speak(policy, prompts, 12_000, 4, inverse_temperature=inverse_temperature, max_rows=12_000)
    policy.head = nn.Linear(16, 3).requires_grad_(False)
    policy.head.weight.copy_(inverse_temperature * policy.model.lm_head.weight)
    policy.head.bias.zero_()
    for rows, prompt in zip(said, prompts, strict=True):
        counts = numbered(rows, 3).bincount(minlength=81)
        assert chi_squared(counts, conditional(policy, prompt, 4)) > ALARM


class Counting(nn.Module):
    """Counts the tokens that a decoder reads."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.rows: list[int] = []
        self.read = 0
        decoder.register_forward_pre_hook(self.count, with_kwargs=True)

    def count(self, _: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        self.read += kwargs["input_ids"].numel()
        self.rows.append(len(kwargs["input_ids"]))


def test_nothing_is_read_twice_and_memory_has_a_bound() -> None:
    policy, batch, length, samples = policy_of("gpt2", prompt=0, start=2), 6, 8, 3
    policy.end = -1
    counting = Counting(policy.decoder)
    kv_sweep.complete(policy, torch.ones(batch, length, dtype=torch.long), samples, max_rows=50)
    rollouts = sum(length - kept - 1 for kept in range(1, length)) * batch * samples
    assert counting.read == batch * length + rollouts  # a prefix's first new token is drawn from the trunk
    assert max(counting.rows) <= 50
    assert max(counting.rows) > 25


def test_what_has_ended_is_not_rolled_out() -> None:
    policy = policy_of("gpt2", prompt=2, start=2)
    tokens = torch.tensor([[3, 4, 5, 0, 0, 0, 0, 0], [3, 4, 5, 6, 0, 0, 0, 0]])
    counting = Counting(policy.decoder)
    kv_sweep.complete(policy, tokens, 2)
    trunk, longest = 16, 2 * 2 * (4 + 3)  # two prefixes stay open: they keep 3 and 4 tokens
    assert trunk < counting.read <= trunk + longest


def test_it_stops_where_everybody_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ending(Greedy):
        def __call__(self, features: Tensor, draws: int = 1) -> Tensor:
            return torch.zeros(len(features), draws, dtype=torch.long)

    policy = policy_of("gpt2", prompt=2, start=2)
    monkeypatch.setattr(kv_sweep, "Sampler", Ending)
    counting = Counting(policy.decoder)
    said = kv_sweep.speak(policy, PROMPTS[:, 1:], 2, 30)
    assert counting.read == 5 * 3 + 5 * 2
    assert said[..., :2].equal(PROMPTS[:, None, 1:].expand(-1, 2, -1))
    assert not said[..., 2:].any()


def test_dropout_is_off_and_the_mode_and_the_usual_attention_come_back() -> None:
    policy = policy_of("gpt2", prompt=0, start=2).train()
    usual, tokens = policy.decoder.config._attn_implementation, torch.ones(2, 5, dtype=torch.long)
    probabilities = [module for module in policy.modules() if isinstance(module, nn.Dropout)]
    assert probabilities
    for module in probabilities:
        module.p = 1.0
    policy.end = -1
    torch.manual_seed(6)
    first = kv_sweep.complete(policy, tokens, 4)
    torch.manual_seed(6)
    assert kv_sweep.complete(policy.eval(), tokens, 4).equal(first)
    assert policy.train().training
    kv_sweep.complete(policy, tokens, 4)
    assert policy.training
    assert policy.decoder.config._attn_implementation == usual


SIZES = {"vocab_size": VOCABULARY, "hidden_size": 16, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
GROUPED = {**SIZES, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 24}


@pytest.mark.usefixtures("greedy")
def test_a_window_is_refused_where_it_would_hide_something() -> None:
    policy = CausalLM(
        MistralForCausalLM(MistralConfig(**GROUPED, sliding_window=6)).eval(), end=0, pad=0, prompt=0, start=2
    )
    usual = policy.decoder.config._attn_implementation
    with pytest.raises(ValueError, match="attention with sliding_window cannot share prefixes"):
        kv_sweep.complete(policy, torch.full((2, 8), 3), 2)
    assert policy.decoder.config._attn_implementation == usual
    tokens = torch.full((2, 6), 3)
    assert kv_sweep.complete(policy, tokens, 2).equal(sampling.complete(policy, tokens, 2))


def test_a_model_that_attends_in_its_own_way_is_refused() -> None:
    model = BloomForCausalLM(BloomConfig(**SIZES, n_layer=2, n_head=4)).eval()
    policy = CausalLM(model, end=0, pad=0, prompt=0, start=2)
    with pytest.raises(ValueError, match=r"0 of 2 layers share prefixes; use seqgan\.sampling\.complete"):
        kv_sweep.complete(policy, torch.full((2, 5), 3), 2)


def test_prompts_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="prompts of 2 columns, the policy's have 3"):
        kv_sweep.speak(policy_of("gpt2", prompt=3), PROMPTS[:, :2], 1, 5)


def test_it_serves_monte_carlo_rewards() -> None:
    """A judge that counts a word: at the last place the sentence's own count, before it the mean of completions."""
    policy, tokens = policy_of("gpt2", prompt=2, start=2), sentences(2)

    def judge(said: Tensor, completions: Tensor) -> tuple[Tensor, Tensor]:
        return (said == 3).sum(-1).float(), (completions == 3).sum(-1).float()

    reward = MonteCarlo(lambda rows, samples: kv_sweep.complete(policy, rows, samples), judge, AIRL(), 5)
    mask = counted(tokens, 0, 2)
    paid = reward(Rollout.of(tokens, mask))
    assert paid[~mask].eq(0).all()
    ended = mask & (tokens == 0)
    assert ended.any()
    assert paid[ended].equal((tokens == 3).sum(-1).float()[ended.any(1)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("greedy")
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_gpu_says_the_same(kind: str) -> None:
    policy, tokens = policy_of(kind, prompt=3, start=2), sentences(3)
    expected, said = kv_sweep.complete(policy, tokens, 2), kv_sweep.speak(policy, PROMPTS, 2, 9)
    policy.cuda()
    assert kv_sweep.complete(policy, tokens.cuda(), 2, max_rows=12).cpu().equal(expected)
    assert kv_sweep.speak(policy, PROMPTS.cuda(), 2, 9).cpu().equal(said)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
