"""Seconds of one step of every text method, and of measuring 10,000 sentences by everything; beside NLTK's BLEU.

`python -m benchmarks.text_family [--json FILE]`: the common protocol's nets (V 5,000, T 20, batch 64) on sentences of
an oracle drawn from a seed; the oracle's sentences are measured, or those of two files.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.bleu import by_nltk
from benchmarks.timing import Work, alone, report
from rl.runtime import Engine, Runtime
from seqgan.conditional import labelled_oracle, labelled_oracle_corpus, prompted
from seqgan.corpus import Corpus, oracle_corpus
from seqgan.metrics import Instruments, evaluate_text, read_sentences
from seqgan.metrics.bleu import Sentences
from seqgan.numbers import Numbers
from seqgan.oracle import draw_oracle
from seqgan.players import Players
from seqgan.variants import VARIANTS


@dataclass(frozen=True)
class Config:
    """What to time."""

    methods: tuple[str, ...] = tuple(VARIANTS)
    """rows of the table"""
    preset: str = "protocol"
    """whose numbers"""
    sentences: int = 10_000
    """sentences to measure"""
    samples: Path | None = None
    """a file of them, one a line; none: sentences of the oracle"""
    references: Path | None = None
    """sentences to measure them against, one a line"""
    nltk_sentences: int = 3
    """sentences that NLTK scores; its time for all is extrapolated"""
    repeats: int = 3
    """times that each is timed"""
    threads: int = 1
    """processor cores"""
    json: Path | None = None
    """where to write the numbers"""


def corpus_for(n: Numbers) -> Corpus:
    """Return sentences that a method's numbers ask for: labelled, prompted or plain."""
    sizes = {"sentences": 1_000, "valid": 0, "test": 100, "length": n.length or 20, "seed": 0}
    if n.classes:
        corpus = labelled_oracle_corpus(labelled_oracle(n.classes, n.vocabulary, seed=0), **sizes)
    else:
        corpus = oracle_corpus(draw_oracle(n.vocabulary), **sizes)
    return prompted(corpus, n.prompt) if n.prompt else corpus


def steps_of(name: str, config: Config) -> dict[str, Work]:
    """Return the moves of a method: one step of the generator, one of the discriminator, one of likelihood."""
    n = VARIANTS[name].presets[config.preset]
    corpus = corpus_for(n)
    players: Players = VARIANTS[name].players(n, corpus, Engine(Runtime("cpu", "fp32", threads=config.threads), seed=0))
    rows, half = corpus.train[: n.mle_batch], n.d_batch // 2
    fakes = players.say(half)
    moves: dict[str, Work] = {"generator": lambda: players.improve(0.5)} if n.g_steps else {}
    if n.d_rounds:
        moves["discriminator"] = lambda: players.judge(corpus.train[:half], fakes)
    if n.mle_epochs:
        moves["likelihood"] = lambda: players.imitate(rows)
    return moves


def measured_sentences(config: Config) -> tuple[Sentences, Sentences]:
    """Return samples and references."""
    if config.samples and config.references:
        return read_sentences(config.samples)[: config.sentences], read_sentences(config.references)
    count = config.sentences
    corpus = oracle_corpus(draw_oracle(5_000), sentences=count, valid=0, test=count, length=20, seed=0)
    return corpus.sentences(corpus.train), corpus.sentences(corpus.test)


def nltk_seconds(samples: Sentences, references: Sentences, count: int) -> float:
    """Return the seconds that NLTK's BLEU-2..5 takes for all samples, extrapolated from a few."""
    few = samples[:count]
    return alone(lambda: by_nltk(few, [references] * len(few)), 1).cpu.median * len(samples) / len(few)


def main(config: Config) -> None:
    """Time each method's moves and the evaluation, and report."""
    torch.set_num_threads(config.threads)
    numbers: dict[str, float] = {}
    for name in config.methods:
        for move, work in steps_of(name, config).items():
            numbers[f"seconds/{name}/{move}"] = alone(work, config.repeats).cpu.median
    samples, references = measured_sentences(config)
    built: list[Instruments] = []
    with TemporaryDirectory() as cache:
        build = alone(lambda: built.append(Instruments.of(references, samples, cache=Path(cache))), 1)
    evaluation = alone(lambda: evaluate_text(samples, references, train=references, instruments=built[0]), 1)
    numbers |= {"seconds/instruments": build.cpu.median, "seconds/evaluation": evaluation.cpu.median}
    numbers["sentences"] = float(len(samples))
    numbers["seconds_other/nltk_bleu"] = nltk_seconds(samples, references, config.nltk_sentences)
    numbers["speedup/evaluation"] = numbers["seconds_other/nltk_bleu"] / numbers["seconds/evaluation"]
    report([], config.json, numbers=numbers)
    print(
        f"NLTK's BLEU-2..5: {config.nltk_sentences} of {len(samples)} sentences, extrapolated; all metrics against it."
    )


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
