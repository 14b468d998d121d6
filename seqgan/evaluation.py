"""What a generator is measured by: both directions of likelihood where the truth is known, n-grams where it is not."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Int
from torch import Tensor

from rl.runtime import seeded
from seqgan.corpus import Corpus
from seqgan.generators import Generator, sharpen
from seqgan.likelihood import nll
from seqgan.metrics.diversity import distinct_n, tokens_used, unigram_entropy, unique_share
from seqgan.metrics.text import evaluate_text
from seqgan.sampling import speak

TEMPERATURES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5, 1.8, 2.2)  # inverse temperatures of a sweep


def measure(
    generator: Generator, corpus: Corpus, *, samples: int, seed: int, inverse_temperature: float = 1.0
) -> dict[str, float]:
    """Return the metrics of fresh sentences, and the generator's own `nll_test` (nats a token), at one temperature."""
    generator.eval()
    with seeded(seed):
        said = speak(generator, samples, corpus.length, inverse_temperature=inverse_temperature).cpu()
    metrics = measure_sentences(said, corpus)
    with tempered(generator, inverse_temperature):
        metrics["nll_test"] = nll(generator, corpus.test.to(generator.head.weight.device))
    return metrics


def measure_sentences(said: Int[Tensor, "sentences time"], corpus: Corpus) -> dict[str, float]:
    """Return what can be said of sentences alone: `nll_oracle` and diversity, or BLEU and self-BLEU against test."""
    if corpus.oracle is None:
        return evaluate_text(
            corpus.vocabulary.decode(said, corpus.end), corpus.vocabulary.decode(corpus.test, corpus.end)
        )
    rows = said.tolist()
    metrics = {"nll_oracle": nll(corpus.oracle, said), "unique": unique_share(rows), "entropy": unigram_entropy(rows)}
    metrics |= {f"distinct_{n}": distinct_n(rows, n) for n in range(1, 5)}
    return metrics | {"tokens_used": float(tokens_used(rows))}


@contextmanager
def tempered(generator: Generator, inverse_temperature: float) -> Iterator[None]:
    """Multiply the logits by the inverse temperature inside."""
    kept = [weight.detach().clone() for weight in generator.head.parameters()]
    sharpen(generator, inverse_temperature)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(generator.head.parameters(), kept, strict=True):
                weight.copy_(before)


def sweep_temperatures(
    generator: Generator,
    corpus: Corpus,
    *,
    samples: int,
    seed: int,
    inverse_temperatures: Sequence[float] = TEMPERATURES,
) -> list[dict[str, float]]:
    """Return the quality-diversity curve of a generator: its metrics at each inverse temperature."""
    return [
        {"inverse_temperature": t} | measure(generator, corpus, samples=samples, seed=seed, inverse_temperature=t)
        for t in inverse_temperatures
    ]


def bounds(corpus: Corpus, *, samples: int, seed: int) -> dict[str, dict[str, float]]:
    """Return the rows that every score stands between: `real` sentences measured like samples, and `uniform` tokens."""
    size, shape = len(corpus.vocabulary.words), (samples, corpus.length)
    if corpus.oracle is not None:
        with seeded(seed):
            uniform = torch.randint(size, shape)
        return {
            "real": measure(corpus.oracle, corpus, samples=samples, seed=seed),
            "uniform": measure_sentences(uniform, corpus) | {"nll_test": math.log(size)},
        }
    return {"real": measure_sentences(corpus.train[:samples], corpus)}
