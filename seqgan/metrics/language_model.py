"""A small LSTM that learns a text by a fixed recipe and seed: how likely sentences are, and what they are about."""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.discriminator import evaluating
from rl.runtime import seeded
from seqgan.generators import LSTMGenerator
from seqgan.likelihood import SENTENCES, counted, mle_loss, token_log_probs
from seqgan.metrics.grams import Integers, Sentences, lay_out

EMBEDDING, HIDDEN = 32, 64
BATCH, STEPS, PASSES, RATE = 32, 900, 10, 0.02  # whichever comes first: so many steps, or passes over the text
CLIP = 1.0
SEED = 0
END = 0  # ends a sentence and fills its row; words follow, and ONE unknown word is the last
POOL = 32  # batches whose sentences are dealt by length, so that few places are filled


@dataclass(frozen=True)
class LanguageModel:
    """An LSTM language model of a closed vocabulary, and an unknown word for all others."""

    numbers: dict[Hashable, int]  # of the words, from 0
    net: LSTMGenerator

    @classmethod
    def blank(cls, words: Iterable[Hashable]) -> "LanguageModel":
        """Return the model that has learned nothing; the same at every call."""
        numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
        with seeded(SEED):
            net = LSTMGenerator(len(numbers) + 2, embedding=EMBEDDING, hidden=HIDDEN, start=END, end=END)
        return cls(numbers, net.requires_grad_(False).eval())

    @classmethod
    def of(cls, sentences: Sentences, words: Iterable[Hashable]) -> "LanguageModel":
        """Learn sentences: Adam, one cycle of the rate, batches of sentences about as long as each other.

        The same on the same machine with the same number of threads; torch's own random numbers are left as they were.
        """
        model = cls.blank(words)
        net, (rows, lengths) = model.net.requires_grad_(True), model.encode(sentences)
        steps = min(STEPS, PASSES * -(-len(rows) // BATCH))
        optimizer = torch.optim.Adam(net.parameters())
        rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1)
        with torch.enable_grad():
            for some in islice(dealt(lengths, np.random.default_rng(SEED)), steps):
                loss = mle_loss(net, rows[some, : lengths[some].max()])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
                optimizer.step()
                rate.step()
        net.requires_grad_(False)
        return model

    def encode(self, sentences: Sentences) -> tuple[Int[Tensor, "sentences time"], Integers]:
        """Return sentences as rows that hold an end each, and their lengths, the end counted."""
        text = lay_out(sentences, self.numbers)
        rows = np.full((len(sentences), int(text.lengths.max(initial=0)) + 1), END)
        rows[text.sentence, text.lengths[text.sentence] - text.left] = text.tokens + 1
        return torch.from_numpy(rows), text.lengths + 1

    def nll(self, sentences: Sentences) -> float:
        """Return the mean negative log-likelihood in nats per token, the ends of sentences among them."""
        total, (rows, lengths) = 0.0, self.encode(sentences)
        for some in by_length(lengths):
            part = rows[some, : lengths[some].max()]
            total -= float(token_log_probs(self.net, part)[counted(part, END)].double().sum())
        return total / int(lengths.sum())

    @torch.no_grad()
    def states(self, sentences: Sentences) -> Float[Tensor, "sentences hidden"]:
        """Return the mean over a sentence of the hidden states that predict its tokens and its end."""
        rows, lengths = self.encode(sentences)
        states = torch.empty(len(rows), HIDDEN)
        with evaluating(self.net):
            for some in by_length(lengths):
                part = rows[some, : lengths[some].max()]
                said = counted(part, END)[..., None]
                states[some] = (self.net.features(part) * said).sum(1) / said.sum(1)
        return states


def dealt(lengths: Integers, random: np.random.Generator) -> Iterator[Integers]:
    """Yield batches without end: every pass in a new order, and within a pool of batches by length."""
    while True:
        order = random.permutation(len(lengths))
        pools = [order[at : at + POOL * BATCH] for at in range(0, len(order), POOL * BATCH)]
        batches = []
        for pool in pools:
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[at : at + BATCH] for at in range(0, len(pool), BATCH)]
        for place in random.permutation(len(batches)):
            yield batches[place]


def by_length(lengths: Integers) -> Iterator[Integers]:
    """Yield all rows, the shortest first, a few at a time."""
    order = np.argsort(lengths, kind="stable")
    for at in range(0, len(order), SENTENCES):
        yield order[at : at + SENTENCES]
