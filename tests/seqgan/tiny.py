"""Transformers of two layers, built from a configuration: nothing is downloaded."""

from typing import Any

import torch
from transformers import AutoModel, BertConfig, GPT2Config, LlamaConfig, ModernBertConfig, Qwen3Config, RobertaConfig

VOCABULARY = 40
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
CONFIGS = {
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2
    ),
    "llama": LlamaConfig(**COMMON),
    "qwen3": Qwen3Config(**COMMON, num_key_value_heads=2, head_dim=16),
    "bert": BertConfig(**COMMON, max_position_embeddings=64),
    "roberta": RobertaConfig(**COMMON, max_position_embeddings=64),
    "modernbert": ModernBertConfig(**COMMON, cls_token_id=1, sep_token_id=2),
}


def body(name: str, seed: int = 0) -> torch.nn.Module:
    """Return a body in eval mode, its weights large enough to tell rows apart."""
    torch.manual_seed(seed)
    model = AutoModel.from_config(CONFIGS[name]).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
    return model
