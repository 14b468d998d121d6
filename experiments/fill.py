"""Fill in what is missing: `python -m experiments.fill RUN_DIR "a man ___ ___ a horse"`, by a run of maskgan."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments import config
from experiments.text_data import load_corpus
from experiments.text_setup import Cast, saved_experiment
from rl.runtime import Engine, InputError, checkpoints, exit_codes, rundir, seeded
from seqgan.infilling import fill
from seqgan.maskgan import MaskPlayers
from seqgan.masks import blanks


@dataclass(frozen=True)
class Arguments:
    """Fill in what is missing from a line."""

    run_dir: tyro.conf.Positional[Path]
    """a run of maskgan"""
    line: tyro.conf.Positional[str]
    """words, and ___ for each that is missing"""
    count: int = 5
    """fillings"""
    seed: int = 0
    """of the draws"""


def fillings(run_dir: Path, line: str, *, count: int, seed: int) -> list[str]:
    """Return `count` ways to fill a line, each drawn from the generator of the run's newest good checkpoint."""
    saved = rundir.read_config(run_dir)
    if saved["family"] != "text_gan":
        raise InputError(f"{run_dir}: a run of {saved['family']}, expected one of text_gan maskgan")
    e = saved_experiment(run_dir, saved["config"])
    corpus = load_corpus(e)
    players = Cast(e, corpus, Engine(e.runtime, e.seed)).players
    if not isinstance(players, MaskPlayers):
        raise InputError(f"{run_dir}: a run of {e.variant}, expected one of maskgan")
    checkpoints.restore(checkpoints.newest(run_dir), {"generator": players.generator}, partial=True)
    context = blanks(line, corpus.vocabulary, corpus.length, corpus.end)
    with seeded(seed):
        filled = fill(players.generator.eval(), context.expand(count, -1), words_only=True)
    return [corpus.vocabulary.joiner.join(words) for words in corpus.vocabulary.decode(filled.cpu(), corpus.end)]


def main(arguments: Sequence[str]) -> None:
    """Print the fillings, one a line."""
    a = config.one_line_errors(
        lambda: tyro.cli(Arguments, args=arguments, prog="python -m experiments.fill", description=__doc__)
    )
    if a.count < 1:
        raise InputError(f"--count {a.count}: must be above zero")
    print("\n".join(fillings(a.run_dir, a.line, count=a.count, seed=a.seed)))


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
