"""Language models of transformers so small that every sentence can be listed, and every weight matters."""

import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

POSITIONS = 40
HEADS = {"num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**HEADS, "hidden_size": 16, "intermediate_size": 24, "num_key_value_heads": 2}
TOKENS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "max_position_embeddings": POSITIONS}


def tiny_lm(kind: str, vocabulary: int = 5, *, seed: int = 0, spread: float = 0.5) -> PreTrainedModel:
    """Return a model in eval mode: `gpt2` has tied weights, `llama` and `qwen3` share keys between heads."""
    sizes = {"vocab_size": vocabulary, **TOKENS}
    wide = {**sizes, **HEADS, "hidden_size": 16}
    torch.manual_seed(seed)
    match kind:
        case "gpt2":
            model = GPT2LMHeadModel(GPT2Config(**sizes, **HEADS, n_embd=16))
        case "llama":
            model = LlamaForCausalLM(LlamaConfig(**sizes, **GROUPED))
        case "qwen3":
            model = Qwen3ForCausalLM(Qwen3Config(**sizes, **GROUPED, head_dim=8))
        case "neox":
            model = GPTNeoXForCausalLM(GPTNeoXConfig(**wide, intermediate_size=24))
        case "opt":
            model = OPTForCausalLM(OPTConfig(**wide, ffn_dim=24, word_embed_proj_dim=16))
        case _:
            raise ValueError(kind)
    for weight in model.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=spread)
    return model.eval()
