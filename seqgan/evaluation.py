"""What a speaker is measured by: both directions of likelihood where the truth is known, text metrics always."""

import math
import sys
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from rl.runtime import seeded
from seqgan.corpus import Corpus
from seqgan.likelihood import nll
from seqgan.metrics.bleu import Sentences
from seqgan.metrics.diversity import distinct_n, tokens_used, unigram_entropy, unique_share
from seqgan.metrics.instruments import NO_INSTRUMENTS, SWEPT, Instruments, Measures
from seqgan.metrics.text import beside_train, evaluate_text
from seqgan.sampling import BLANK
from seqgan.speakers import PolicySpeaker, Speaker, prompted

TEMPERATURES = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.5, 1.8, 2.2)  # inverse temperatures of a sweep

Said = Int[Tensor, "sentences time"]


def measure(
    speaker: Speaker,
    corpus: Corpus,
    *,
    samples: int,
    seed: int,
    inverse_temperature: float = 1.0,
    instruments: Measures = NO_INSTRUMENTS,
    tests: int = sys.maxsize,
) -> dict[str, float]:
    """Return all metrics of fresh sentences, and `nll_test` (nats a token) where there is one, at one temperature.

    `tests` is the number of test sentences whose likelihood is taken, at most.
    """
    with seeded(seed):
        said = speaker.speak(samples, inverse_temperature)
    return nll_test(speaker, corpus.test[:tests], inverse_temperature) | measure_sentences(said, corpus, instruments)


def glance(speaker: Speaker, corpus: Corpus, *, samples: int, seed: int) -> dict[str, float]:
    """Return what is quickly known of fresh sentences: likelihoods and diversity, or BLEU and self-BLEU."""
    with seeded(seed):
        said = speaker.speak(samples)
    if corpus.oracle is None:
        metrics = evaluate_text(corpus.sentences(said), corpus.tested)
    else:
        rows = corpus.sentences(said)
        metrics = {"unique": unique_share(rows), "entropy": unigram_entropy(rows), "tokens_used": tokens_used(rows)}
        metrics |= {f"distinct_{n}": distinct_n(rows, n) for n in range(1, 5)} | nll_oracle(said, corpus)
    return metrics | nll_test(speaker, corpus.test)


def measure_sentences(said: Said, corpus: Corpus, instruments: Measures = NO_INSTRUMENTS) -> dict[str, float]:
    """Return all that can be said of sentences alone: text metrics, and `nll_oracle` where there is an oracle."""
    return nll_oracle(said, corpus) | measure_words(corpus.sentences(said), corpus, instruments)


def measure_words(said: Sentences, corpus: Corpus, instruments: Measures) -> dict[str, float]:
    """Return the text metrics of sentences, against the test sentences and beside the training sentences."""
    return evaluate_text(said, corpus.tested, train=corpus.learned, instruments=instruments)


def nll_oracle(said: Said, corpus: Corpus) -> dict[str, float]:
    """Return the truth's negative log-likelihood of what was said; nothing where the truth is not known."""
    return {} if corpus.oracle is None else {"nll_oracle": nll(corpus.oracle, said)}


def nll_test(speaker: Speaker, test: Said, inverse_temperature: float = 1.0) -> dict[str, float]:
    """Return the speaker's negative log-likelihood of test sentences; nothing where it has none."""
    found = speaker.likelihood(test, inverse_temperature)
    return {f"{name}_test": value for name, value in found.items()}


def sweep_temperatures(
    speaker: Speaker,
    corpus: Corpus,
    *,
    samples: int,
    seed: int,
    inverse_temperatures: Sequence[float] = TEMPERATURES,
    instruments: Measures = NO_INSTRUMENTS,
) -> list[dict[str, float]]:
    """Return the quality-diversity curve of a speaker: its metrics at each inverse temperature."""
    return [
        {"inverse_temperature": t}
        | measure(
            speaker, corpus, samples=samples, seed=seed, inverse_temperature=t, instruments=instruments, tests=SWEPT
        )
        for t in inverse_temperatures
    ]


def bounds(corpus: Corpus, instruments: Instruments, *, samples: int, seed: int) -> dict[str, dict[str, float]]:
    """Return the rows that every score stands between.

    `real`: sentences of the truth, measured like samples; `kn5`: those of a Kneser-Ney 5-gram; of an oracle also
    `uniform` tokens. Where the truth is known only by its text, `real` are training sentences against test, and the
    language models, which have read the former, are asked about the latter; so is what was copied.
    """
    said = instruments.kn.sample(samples, corpus.length - corpus.prompt, seed=seed, ends=corpus.end >= 0)
    test = instruments.kn.nll(corpus.tested, ends=corpus.end >= 0)
    rows = {"kn5": measure_words(said, corpus, instruments) | {"nll_test": test}}
    if not corpus.prompt:
        rows["kn5"] |= nll_oracle(corpus.vocabulary.encode([("5-gram", row) for row in said], corpus.length), corpus)
    if corpus.oracle is None:
        real = measure_sentences(corpus.train[:samples], corpus, instruments)
        unread = instruments.likelihoods(corpus.tested) | beside_train(corpus.tested, corpus.learned)
        return rows | {"real": real | unread}
    words = len(corpus.vocabulary.words) - len(corpus.labels)
    prompts = corpus.test[:, : corpus.prompt]
    with seeded(seed):
        drawn = torch.randint(words, (samples, corpus.length))
    given = prompted(prompts, samples, corpus.length)
    uniform = torch.where(given == BLANK, drawn, given)
    truth = PolicySpeaker(corpus.oracle, corpus.length, prompts)
    return rows | {
        "real": measure(truth, corpus, samples=samples, seed=seed, instruments=instruments),
        "uniform": measure_sentences(uniform, corpus, instruments) | {"nll_test": math.log(words)},
    }
