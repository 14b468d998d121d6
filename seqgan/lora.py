"""Low-rank adapters on a language model: few weights learn, and without them it is its own reference."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rl.runtime import InputError
from seqgan.causal_lm import CausalLM


def with_lora(
    policy: CausalLM, *, rank: int = 8, scale: float = 2.0, dropout: float = 0.0, layers: Sequence[str] = ()
) -> CausalLM:
    """Return the policy with adapters of `rank` on its linear layers, which alone learn; Hu et al. 2021 (2106.09685).

    An adapter adds scale * B A x to a layer's output; B begins at zero. `layers` names the layers, none: all but the
    head. The model is changed in place. Raises InputError where peft is missing.
    """
    from transformers.pytorch_utils import Conv1D

    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError:
        raise InputError("LoRA needs the package peft (pip install 'sparring[lm]')") from None
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=rank,
        lora_alpha=scale * rank,
        lora_dropout=dropout,
        target_modules=list(layers) or "all-linear",
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in policy.model.modules()),  # GPT-2's lie transposed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name of old
        model = get_peft_model(policy.model, config).train(policy.training)
    return CausalLM(model, end=policy.end, pad=policy.pad, prompt=policy.prompt, start=policy.start)


@contextmanager
def without_adapter(policy: CausalLM) -> Iterator[None]:
    """Let the policy be the model that its adapters were put on: the reference of a divergence, at no memory."""
    with policy.model.disable_adapter():
        yield
