"""Chi-squared comparisons raise a false alarm with probability 1e-6; the seeds are fixed."""

import itertools

import pytest
import torch
from transformers import GenerationConfig

from rl.runtime import InputError
from seqgan.causal_lm import CausalLM
from seqgan.generation import EXACT, generate_exactly, refuse_truncation
from seqgan.likelihood import token_log_probs
from tests.seqgan.test_sampling import ALARM, chi_squared, numbered
from tests.seqgan.tiny_lms import tiny_lm


def test_the_hidden_fifty_are_refused() -> None:
    with pytest.raises(InputError, match="generation_config: top_k is unset, which generate takes for 50"):
        refuse_truncation(tiny_lm("gpt2").generation_config)
    assert GenerationConfig().top_k is None
    assert tiny_lm("gpt2").generation_config._get_default_generation_params()["top_k"] == 50


REFUSED = [
    ("top_k", 50), ("top_p", 0.9), ("temperature", 0.7), ("min_p", 0.1), ("typical_p", 0.9),
    ("repetition_penalty", 1.1), ("epsilon_cutoff", 1e-3), ("eta_cutoff", 1e-3), ("no_repeat_ngram_size", 2),
    ("min_new_tokens", 3), ("suppress_tokens", [4]), ("top_h", 0.4),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_whatever_reshapes_the_distribution_is_refused(name: str, value: object) -> None:
    settings = GenerationConfig(do_sample=True, **{"top_k": 0, name: value})
    with pytest.raises(InputError, match=f"models/me/generation_config.json: {name} is "):
        refuse_truncation(settings, "models/me/generation_config.json")


def test_exact_settings_pass() -> None:
    refuse_truncation(GenerationConfig(**EXACT, do_sample=True))
    refuse_truncation(GenerationConfig(top_k=0, top_p=1.0, temperature=1.0, max_new_tokens=8))


@pytest.mark.parametrize("hub", [{}, {"top_p": 0.5, "top_k": 2, "temperature": 0.3, "do_sample": True}])
def test_generation_is_exact_whatever_the_model_came_with(hub: dict[str, object]) -> None:
    """After prompts that are filled up on the left; the prompt's own probability is one."""
    model = tiny_lm("llama", 3)
    model.generation_config.update(**hub)
    policy = CausalLM(model, end=0, pad=0, prompt=3)
    prompts = torch.tensor([[0, 0, 1], [0, 2, 1], [2, 2, 1]])
    torch.manual_seed(8)
    said = generate_exactly(model, prompts.repeat(3_000, 1), 3, end=0, pad=0)
    endings = torch.tensor(
        [
            row
            for row in itertools.product(range(3), repeat=3)
            if all(b == 0 for a, b in itertools.pairwise(row) if a == 0)
        ]
    )
    for number, prompt in enumerate(prompts):
        mine = said[number::3]
        assert (mine[:, :3] == prompt).all()
        p = torch.zeros(27, dtype=torch.double)
        everything = torch.cat([prompt.expand(len(endings), 3), endings], 1)
        p[numbered(endings, 3)] = token_log_probs(policy, everything).double().sum(1).exp()
        assert chi_squared(numbered(mine[:, 3:], 3).bincount(minlength=27), p) > ALARM


def test_rows_that_all_end_early_are_filled_with_the_end() -> None:
    model = tiny_lm("llama", 3)
    torch.nn.init.zeros_(model.lm_head.weight)
    found = torch.cat([generate_exactly(model, torch.tensor([[1]]), 6, end=0, pad=2) for _ in range(5)])
    assert found.shape == (5, 7)
    ended = (found[:, 1:] == 0).cumsum(1) > 0
    assert (found[:, 1:][ended] == 0).all()


def test_what_cannot_be_overruled_is_refused() -> None:
    model = tiny_lm("llama", 3)
    model.generation_config.min_p = 0.2
    with pytest.raises(InputError, match=r"generation_config: min_p is 0\.2"):
        generate_exactly(model, torch.tensor([[1]]), 2, end=0, pad=0)
