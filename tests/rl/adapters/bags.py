"""Judges and a tokenizer of a few lines, for tests that need no library of language models."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

WORDS = ("<pad>", "</s>", "<unk>", "a", "b", "c", "d", "e", "f", "g", "h")
PAD, END = 0, 1


class Bag(nn.Module):
    """The mean of an embedding over the mask, dropout, a line: a judge whose order of words plays no part."""

    def __init__(self, *, dropout: float = 0.0, seed: int = 0, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.words, self.dropout, self.line = nn.Embedding(len(WORDS), width), nn.Dropout(dropout), nn.Linear(width, 1)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        total = self.words(tokens).masked_fill(~mask[..., None], 0).sum(1)
        return self.line(self.dropout(total / mask.sum(1, keepdim=True)))[:, 0]


class Each(nn.Module):
    """One logit for each token."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(len(WORDS), 1)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.words(tokens)[..., 0].masked_fill(~mask, 0)


class Words:
    """A tokenizer in ten lines, for those who need not wait for a library."""

    eos_token_id = END

    def __call__(self, text: str, /, *, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [WORDS.index(word) for word in text.split()]}

    def apply_chat_template(
        self, conversation: Sequence[Any], /, *, add_generation_prompt: bool, tokenize: bool, return_dict: bool
    ) -> dict[str, list[int]]:
        said = " ".join(f"{message['role'][0]} {message['content']} </s> <unk>" for message in conversation)
        return self(said.replace("u ", "h ") + (" a" if add_generation_prompt else ""))


def state_of(net: nn.Module) -> dict[str, Tensor]:
    """Copies of the weights."""
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states agree bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
