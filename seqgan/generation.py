"""Sampling by transformers' own `generate` from the model's distribution itself: nothing cut off, nothing reshaped.

`generate(do_sample=True)` keeps the 50 likeliest tokens unless it is told otherwise, and a hub model's
generation_config.json often says more. Learning from such samples is learning from another policy than the one whose
log-probabilities are differentiated.
"""

from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import GenerationConfig

from rl.runtime import InputError

# what each setting is where it changes nothing; where that is None, `generate` asks the model's own generation_config
EXACT = MappingProxyType(
    {
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": None,
        "top_h": None,
        "typical_p": 1.0,
        "epsilon_cutoff": 0.0,
        "eta_cutoff": 0.0,
        "repetition_penalty": 1.0,
        "encoder_repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "min_length": 0,
        "min_new_tokens": None,
        "guidance_scale": None,
        "bad_words_ids": None,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
        "forced_bos_token_id": None,
        "forced_eos_token_id": None,
        "sequence_bias": None,
        "exponential_decay_length_penalty": None,
        "watermarking_config": None,
    }
)
UNSET = 50  # the top_k that `generate` takes where none is set


def refuse_truncation(settings: GenerationConfig, place: str = "generation_config") -> None:
    """Raise InputError where samples drawn under these settings would not be the model's own.

    `settings` is a model's generation_config; an unset top_k is refused too, since `generate` takes it for 50.
    """
    if settings.top_k is None:
        raise InputError(
            f"{place}: top_k is unset, which generate takes for {UNSET}; learning needs top_k 0, all words"
        )
    for name, exact in EXACT.items():
        _refuse(settings, name, exact, place)


def _refuse(settings: GenerationConfig, name: str, exact: float | None, place: str) -> None:
    value = getattr(settings, name, None)
    if value is not None and value != exact:
        wanted = "nothing" if exact is None else exact
        raise InputError(f"{place}: {name} is {value}, and learning needs samples of the model itself: {wanted}")


@torch.no_grad()
def generate_exactly(
    model: nn.Module, prompts: Int[Tensor, "rows prompt"], length: int, *, end: int, pad: int
) -> Int[Tensor, "rows time"]:
    """Return [prompt | `length` tokens] drawn by the model's own `generate` from its own distribution.

    Prompts are filled up on the left with `pad`; what follows an `end` that was said is `end`. Raises InputError where
    the model's generation_config says something that cannot be overruled here.
    """
    generate: Any = model
    for name, exact in EXACT.items():
        if exact is None:
            _refuse(generate.generation_config, name, exact, "generation_config")
    words = ((prompts == pad).cumprod(1) == 0).long()
    settings = GenerationConfig(
        **EXACT, do_sample=True, num_beams=1, max_new_tokens=length, eos_token_id=end, pad_token_id=end
    )
    tokens: Tensor = generate.generate(input_ids=prompts, attention_mask=words, generation_config=settings)
    missing = prompts.shape[1] + length - tokens.shape[1]  # it stops when every row has ended
    return torch.nn.functional.pad(tokens, (0, missing), value=end)
