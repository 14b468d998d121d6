"""What a speaker is measured by: both directions of likelihood where the truth is known, n-grams where it is not."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from rl.runtime import seeded
from seqgan.corpus import Corpus
from seqgan.likelihood import nll
from seqgan.metrics.diversity import distinct_n, tokens_used, unigram_entropy, unique_share
from seqgan.metrics.text import evaluate_text
from seqgan.speakers import PolicySpeaker, Speaker

TEMPERATURES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5, 1.8, 2.2)  # inverse temperatures of a sweep


def measure(
    speaker: Speaker, corpus: Corpus, *, samples: int, seed: int, inverse_temperature: float = 1.0
) -> dict[str, float]:
    """Return the metrics of fresh sentences, and `nll_test` (nats a token) where there is one, at one temperature."""
    with seeded(seed):
        said = speaker.speak(samples, inverse_temperature)
    likelihood = speaker.likelihood(corpus.test, inverse_temperature)
    return measure_sentences(said, corpus) | {f"{name}_test": value for name, value in likelihood.items()}


def measure_sentences(said: Int[Tensor, "sentences time"], corpus: Corpus) -> dict[str, float]:
    """Return what can be said of sentences alone: `nll_oracle` and diversity, or BLEU and self-BLEU against test."""
    if corpus.oracle is None:
        return evaluate_text(corpus.sentences(said), corpus.sentences(corpus.test))
    rows = said.tolist()
    metrics = {"nll_oracle": nll(corpus.oracle, said), "unique": unique_share(rows), "entropy": unigram_entropy(rows)}
    metrics |= {f"distinct_{n}": distinct_n(rows, n) for n in range(1, 5)}
    return metrics | {"tokens_used": float(tokens_used(rows))}


def sweep_temperatures(
    speaker: Speaker,
    corpus: Corpus,
    *,
    samples: int,
    seed: int,
    inverse_temperatures: Sequence[float] = TEMPERATURES,
) -> list[dict[str, float]]:
    """Return the quality-diversity curve of a speaker: its metrics at each inverse temperature."""
    return [
        {"inverse_temperature": t} | measure(speaker, corpus, samples=samples, seed=seed, inverse_temperature=t)
        for t in inverse_temperatures
    ]


def bounds(corpus: Corpus, *, samples: int, seed: int) -> dict[str, dict[str, float]]:
    """Return the rows that every score stands between: `real` sentences measured like samples, and `uniform` tokens."""
    size, shape = len(corpus.vocabulary.words), (samples, corpus.length)
    if corpus.oracle is not None:
        with seeded(seed):
            uniform = torch.randint(size, shape)
        truth = PolicySpeaker(corpus.oracle, corpus.length, corpus.test[:, : corpus.prompt])
        return {
            "real": measure(truth, corpus, samples=samples, seed=seed),
            "uniform": measure_sentences(uniform, corpus) | {"nll_test": math.log(size)},
        }
    return {"real": measure_sentences(corpus.train[:samples], corpus)}
