"""Which features sentences are compared in; a distance in other features is another number.

Nets that know English are a download. Here a small language model learns the run's own training text, once, and is kept
under the hash of recipe and text; a sentence is the mean of its hidden states. `name` and `sha256` belong beside every
number that an encoder gave: another processor, or number of threads, rounds otherwise and may arrive at other weights.
"""

import hashlib
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from rl.runtime import InputError
from rl.runtime.weights import digest, keep, kept
from seqgan.metrics.grams import Sentences
from seqgan.metrics.language_model import LanguageModel

RECIPE = "1"  # another recipe, another version: what was kept of the old one is then not found
BATCH = 64  # sentences that a downloaded net reads at once

Features = Float[Tensor, "sentences features"]


class Encoder(Protocol):
    """Whoever turns sentences into features."""

    @property
    def name(self) -> str:
        """Tell what it is."""

    @property
    def sha256(self) -> str:
        """Identify the weights."""

    def features(self, sentences: Sentences) -> Features:
        """Return one row for each sentence, on the CPU."""


@dataclass(frozen=True)
class StateEncoder:
    """The mean hidden state of a language model, each number of mean 0 and spread 1 on the training text."""

    model: LanguageModel
    mean: Float[Tensor, "features"]
    spread: Float[Tensor, "features"]

    @classmethod
    def of(cls, model: LanguageModel, train: Sentences) -> "StateEncoder":
        """Take mean and spread from the training text."""
        spread, mean = torch.std_mean(model.states(train).double(), 0, correction=0)
        return cls(model, mean.float(), spread.clamp_min(1e-3).float())  # what never moved must not drown the others

    @property
    def name(self) -> str:
        """Tell what it is."""
        return f"states-{len(self.mean)}"

    @property
    def sha256(self) -> str:
        """Identify the weights."""
        return digest(self.model.net.state_dict() | {"mean": self.mean, "spread": self.spread})

    def features(self, sentences: Sentences) -> Features:
        """Return one row for each sentence."""
        return (self.model.states(sentences) - self.mean) / self.spread


def model_for(train: Sentences, words: Iterable[Hashable], cache: Path) -> LanguageModel:
    """Return the language model of a training text: kept in the folder `cache` once it has learned it."""
    words = list(words)
    path = cache / f"language-model-{fingerprint(train, words)[:16]}.safetensors"
    if weights := kept(path):
        model = LanguageModel.blank(words)
        model.net.load_state_dict(weights)
        return model
    model = LanguageModel.of(train, words)
    keep(model.net.state_dict(), path)
    return model


def fingerprint(train: Sentences, words: Iterable[Hashable]) -> str:
    """SHA-256 of the recipe and all that it is applied to."""
    hashed = hashlib.sha256(f"{RECIPE}\n".encode())
    for row in (words, *train):
        hashed.update(f"{list(row)}\n".encode())
    return hashed.hexdigest()


class HubEncoder:
    """The mean of the last hidden states of a Hugging Face model, over the tokens of a sentence.

    `source` is a name on the hub or a folder; `joiner` stands between the tokens of a sentence. Raises InputError where
    the package `transformers` is missing or the model cannot be had.
    """

    def __init__(self, source: str, joiner: str = " ") -> None:
        try:
            import transformers
        except ImportError:
            raise InputError(f"{source}: needs the package transformers (pip install transformers)") from None
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(source)
            self.net = transformers.AutoModel.from_pretrained(source).eval()
        except (OSError, ValueError) as error:
            raise InputError(f"{source}: no model of sentences ({error})") from None
        if self.tokenizer.pad_token is None:  # a model that only continues text has none; padding is masked below
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.source, self.joiner = source, joiner

    @property
    def name(self) -> str:
        """Tell what it is."""
        return self.source

    @property
    def sha256(self) -> str:
        """Identify the weights."""
        return digest(self.net.state_dict())

    @torch.no_grad()
    def features(self, sentences: Sentences) -> Features:
        """Return one row for each sentence; that of an empty sentence is zero."""
        texts = [self.joiner.join(map(str, sentence)) for sentence in sentences]
        rows = []
        for at in range(0, len(texts), BATCH):
            read = self.tokenizer(texts[at : at + BATCH], padding=True, truncation=True, return_tensors="pt")
            states = self.net(**read).last_hidden_state.float()
            said = read["attention_mask"][..., None]
            rows.append((states * said).sum(1) / said.sum(1).clamp_min(1))
        return torch.cat(rows)
