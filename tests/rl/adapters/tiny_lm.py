"""A language model and its tokenizer, so small that trainers of other people run them in a second."""

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from tests.rl.adapters.bags import END, PAD, WORDS

CHAT = (
    "{% for m in messages %}{{ m['role'][0] }} {{ m['content'] }} </s>\n{% endfor %}"
    "{% if add_generation_prompt %}a {% endif %}"
)
"""every message begins with the first letter of who speaks, and ends with the end token and a line break"""
QUESTIONS = [{"prompt": f"{one} {two}", "answer": f"{two} {one}"} for one in "abcd" for two in "efgh"]
"""the demonstration repeats the prompt backwards"""


def tokenizer() -> PreTrainedTokenizerFast:
    """One word, one id; the line break is `<unk>`'s, and so is what a text begins with."""
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<unk> $A", special_tokens=[("<unk>", WORDS.index("<unk>"))]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", padding_side="left"
    )
    made.chat_template = CHAT
    return made


def model() -> Any:
    """A Llama of two layers and 32 numbers a place."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(
        LlamaConfig(
            vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            pad_token_id=PAD, eos_token_id=END, bos_token_id=None, max_position_embeddings=32,
        )
    )  # fmt: skip


def saved_model(folder: Path) -> str:
    """Write model and tokenizer where a trainer reads them, reference model included."""
    model().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return str(folder)


def questions() -> Dataset:
    """Prompts with a column of demonstrations."""
    return Dataset.from_list(QUESTIONS)
