"""Measure a run, an oracle, or any two text files.

`python -m experiments.evaluate RUN_DIR [--step N]` recomputes summary.json from a checkpoint;
`python -m experiments.evaluate --oracle-params FILE` prints an oracle's floor and the uniform ceiling;
`python -m experiments.evaluate --samples FILE --references FILE [--train FILE] [--json FILE]` scores sentences, and
says in plain words where they have collapsed.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from experiments.config import CACHE, LARGEST, one_line_errors
from experiments.resume import script_of
from rl.runtime import InputError, checkpoints, exit_codes, rundir, seeded


@dataclass(frozen=True)
class Arguments:
    """Measure a run, an oracle, or any two text files."""

    run_dir: tyro.conf.Positional[Path | None] = None
    """the run's folder"""
    step: int | None = None
    """the checkpoint to measure; none: the newest good one"""
    oracle_params: Path | None = None
    """an .npz with an oracle's weights"""
    sequences: int = 100_000
    """sentences drawn to measure an oracle"""
    length: int = 20
    """tokens in each of them"""
    seed: int = 0
    """of these draws"""
    samples: Path | None = None
    """sentences to score, one a line"""
    references: Path | None = None
    """sentences to score them against, one a line"""
    train: Path | None = None
    """the text that the samples were learned from: what was copied, language models, distances of features"""
    cache: Path = CACHE
    """where language models of a text are kept"""
    split: Literal["blank", "treebank"] = "blank"
    """how the two files are split into words: at blanks, or raw English as the Penn Treebank does"""
    json: Path | None = None
    """where to write the numbers as well"""


def measure_run(run_dir: Path, step: int | None) -> dict[str, float]:
    """Recompute summary.json from a checkpoint; strict about the step where one is named."""
    saved = rundir.read_config(run_dir)
    script = script_of(run_dir, saved)
    folder = checkpoints.at(run_dir, step)
    print(f"checkpoint: {folder}\ntensors: {checkpoints.fingerprint(folder)}")
    summary: dict[str, float] = script.evaluate(run_dir, saved["config"], folder)
    return summary


def measure_oracle(path: Path, *, sequences: int, length: int, seed: int) -> dict[str, float]:
    """Return an oracle's entropy floor and what uniform tokens score, nats a token with 95 % half-widths."""
    import torch

    from seqgan.likelihood import token_log_probs
    from seqgan.oracle import load_oracle
    from seqgan.sampling import speak

    oracle = load_oracle(path)
    with seeded(seed):
        sources = {"floor": speak(oracle, sequences, length)}
        sources["uniform"] = torch.randint(oracle.head.out_features, (sequences, length))
    numbers = {}
    for name, sentences in sources.items():
        each = -token_log_probs(oracle, sentences).mean(1).double()
        numbers |= {name: each.mean().item(), f"{name}_interval": 1.96 * each.std().item() / len(each) ** 0.5}
    return numbers


def measure_files(samples: Path, references: Path, train: Path | None, split: str, cache: Path) -> dict[str, float]:
    """Score one file of sentences against another; with the training text by all instruments."""
    from seqgan.metrics import NO_INSTRUMENTS, Instruments, collapse_warnings, evaluate_text, read_sentences, treebank

    words = treebank if split == "treebank" else str.split
    said, tested = read_sentences(samples, words, empty_allowed=True), read_sentences(references, words)
    learned = read_sentences(train, words) if train else None
    instruments = Instruments.of(learned, tested, cache=cache.expanduser()) if learned else NO_INSTRUMENTS
    numbers = evaluate_text(said, tested, train=learned, instruments=instruments)
    for warning in collapse_warnings(said, learned or tested):
        print(f"collapse: {samples.name}: {warning}")
    return numbers


def main(arguments: Sequence[str]) -> None:
    """Print the numbers, one a line."""
    a = one_line_errors(
        lambda: tyro.cli(Arguments, args=arguments, prog="python -m experiments.evaluate", description=__doc__)
    )
    asked = [a.run_dir is not None, a.oracle_params is not None, a.samples is not None or a.references is not None]
    if sum(asked) != 1:
        raise InputError("command line: name one of RUN_DIR, --oracle-params FILE, --samples FILE --references FILE")
    if a.step is not None and a.run_dir is None:
        raise InputError(f"--step {a.step}: needs a RUN_DIR")
    if a.train is not None and a.samples is None:
        raise InputError(f"--train {a.train}: needs --samples")
    if a.sequences < 2 or a.length < 1:
        raise InputError(f"--sequences {a.sequences} --length {a.length}: at least 2 sequences of 1 token")
    if not 0 <= a.seed < LARGEST:
        raise InputError(f"--seed {a.seed}: must be zero or more, and below 2^62")
    if a.run_dir is not None:
        numbers = measure_run(a.run_dir, a.step)
    elif a.oracle_params is not None:
        numbers = measure_oracle(a.oracle_params, sequences=a.sequences, length=a.length, seed=a.seed)
    elif a.samples is None or a.references is None:
        missing = "--references" if a.references is None else "--samples"
        raise InputError(f"command line: {missing} FILE is missing")
    else:
        numbers = measure_files(a.samples, a.references, a.train, a.split, a.cache)
    for name, value in numbers.items():
        print(f"{name:24} {value:.4f}")
    if a.json is not None:
        rundir.write_json(a.json, numbers)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
