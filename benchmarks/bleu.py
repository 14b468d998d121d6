"""BLEU-2 to BLEU-5 of 1,000 sentences against 10,000 references, and their Self-BLEU: ours and NLTK.

NLTK is called as the text-GAN code bases call it, once per sentence and order. All of it would take close to half an
hour, so it scores a sample of the sentences, and its time is multiplied up.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.timing import Row, Work, paired, peak_mb, report
from seqgan.metrics.bleu import BleuIndex, self_bleu

Sentences = list[list[str]]
WEIGHTS = [(1 / n,) * n for n in range(2, 6)]


@dataclass(frozen=True)
class Config:
    """Exact BLEU and Self-BLEU, ours against NLTK."""

    json: Path | None = None
    """write the result here as a flat JSON object"""
    sentences: int = 1_000
    """sentences to score"""
    references: int = 10_000
    """references, all of them for each sentence"""
    bleu_sample: int = 8
    """sentences that NLTK really scores, BLEU (its time is multiplied up)"""
    self_bleu_sample: int = 20
    """the same for Self-BLEU"""
    repeats: int = 5
    """pairs of runs"""
    seed: int = 0
    """of the made-up text"""


def made_up_text(rows: int, generator: np.random.Generator) -> Sentences:
    """Make sentences of 8 to 31 tokens: words by Zipf's law from 5,000, a third of the places in stock phrases."""
    words = np.array([f"word{i}" for i in range(5_000)])
    share = 1 / np.arange(1, len(words) + 1)
    share /= share.sum()
    taste = np.random.default_rng(1)  # the same phrases in every text
    phrases = [taste.choice(words, size=taste.integers(3, 6), p=share).tolist() for _ in range(200)]
    text = []
    for length in generator.integers(8, 32, rows):
        sentence: list[str] = []
        while len(sentence) < length:
            stock = generator.random() < 1 / 9  # phrases are 4 words long on average
            sentence += phrases[generator.integers(200)] if stock else [str(generator.choice(words, p=share))]
        text.append(sentence[:length])
    return text


def by_nltk(hypotheses: Sentences, references: Sequence[Sentences]) -> list[list[float]]:
    """BLEU-2 to BLEU-5 of each hypothesis against its own references, one call each."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu  # type: ignore[import-untyped]

    smoothing = SmoothingFunction().method1
    return [
        [sentence_bleu(its, hypothesis, weights, smoothing_function=smoothing) for weights in WEIGHTS]
        for hypothesis, its in zip(hypotheses, references, strict=True)
    ]


def of_all_lengths(sentences: Sentences, count: int) -> list[int]:
    """Choose sentences evenly from the shortest to the longest, so that their mean cost is that of all."""
    by_length = np.argsort([len(sentence) for sentence in sentences], kind="stable")
    count = min(count, len(sentences))
    chosen: list[int] = by_length[((np.arange(count) + 0.5) * len(sentences) / count).astype(int)].tolist()
    return chosen


def texts(config: Config) -> tuple[Sentences, Sentences]:
    """Make the sentences to score and the references."""
    generator = np.random.default_rng(config.seed)
    return made_up_text(config.sentences, generator), made_up_text(config.references, generator)


def first_use(config: Config) -> Work:
    """Set up the work whose memory is measured."""
    hypotheses, references = texts(config)
    return lambda: BleuIndex(references).score(hypotheses)


def main(config: Config) -> None:
    """Time, check that both agree, and report."""
    warnings.simplefilter("ignore")  # NLTK's, about orders without a hit
    hypotheses, references = texts(config)
    for_bleu, for_self = (of_all_lengths(hypotheses, count) for count in (config.bleu_sample, config.self_bleu_sample))
    sample, sample_references = [hypotheses[i] for i in for_bleu], [references] * len(for_bleu)
    others = [hypotheses[:i] + hypotheses[i + 1 :] for i in for_self]
    self_sample = [hypotheses[i] for i in for_self]

    index = BleuIndex(references)
    gaps = [
        np.abs(index.score(sample)[:, 1:] - by_nltk(sample, sample_references)).max(),
        np.abs(self_bleu(hypotheses)[for_self, 1:] - by_nltk(self_sample, others)).max(),
    ]
    assert max(gaps) < 1e-12, gaps

    def nltk_bleu() -> object:
        return by_nltk(sample, sample_references)

    first = paired(lambda: BleuIndex(references).score(hypotheses), nltk_bleu, config.repeats)
    later = paired(lambda: index.score(hypotheses), nltk_bleu, config.repeats)
    selfs = paired(lambda: self_bleu(hypotheses), lambda: by_nltk(self_sample, others), config.repeats)
    scale, self_scale = config.sentences / len(for_bleu), config.sentences / len(for_self)
    said = f"NLTK: {len(for_bleu)} of {config.sentences} sentences, times {scale:g}"
    self_said = f"NLTK: {len(for_self)} of {config.sentences} sentences, times {self_scale:g}"
    rows = [
        Row("bleu5", "NLTK", first.theirs_times(scale), f"first use, index built; {said}"),
        Row("bleu5_reused", "NLTK", later.theirs_times(scale), f"later use, index at hand; {said}"),
        Row("self_bleu5", "NLTK", selfs.theirs_times(self_scale), self_said),
    ]
    numbers = {"peak_mb/bleu5": peak_mb(first_use, config), "difference_to_nltk": float(max(gaps))}
    report(rows, config.json, numbers=numbers)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
