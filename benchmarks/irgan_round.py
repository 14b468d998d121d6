"""An outer round of IRGAN's own schedule on a catalogue of MovieLens-100K's size, ours against the plain loops.

100 epochs of the discriminator, whose negatives are drawn anew every fifth, and 50 of the generator over all users.
`python -m benchmarks.irgan_round [--json FILE] [--growth]`; `--data FILE` takes ratings (`user item rating ...`) in
place of the made-up catalogue. Beside it the metrics of 456 users, and a policy step over a million documents.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import naive_irgan
from benchmarks.irgan_round_million import million_items
from benchmarks.timing import Row, Work, alone, paired, report
from rl.objectives import SeqGAN
from rl.retrieval.collection import Collection
from rl.retrieval.evaluation import evaluate
from rl.retrieval.fast_factors import discriminator_epoch, draw_negatives, generator_epoch
from rl.retrieval.pretraining import pairwise_epoch
from rl.retrieval.ratings import ratings
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors
from rl.retrieval.synthetic import synthetic

USERS, ITEMS, LIKED, WIDTH = 943, 1683, 47, 5
TESTED = 456
D_EPOCHS, G_EPOCHS, DRAW_EVERY = 100, 50, 5
PART = 10  # of their round a tenth is timed: 2 drawings, 10 epochs, 5 epochs
GROWTH = (
    *((users, ITEMS, 2) for users in (USERS, 4 * USERS, 16 * USERS)),
    *((USERS, items, 2) for items in (4 * ITEMS, 16 * ITEMS)),
    *((USERS, ITEMS, draws) for draws in (1, 8, 32)),
)


@dataclass(frozen=True)
class Config:
    """An outer round of IRGAN, ours against the plain loops."""

    json: Path | None = None
    """write the result here as a flat JSON object"""
    data: Path | None = None
    """ratings, instead of a made-up catalogue of the same size"""
    growth: bool = False
    """a table over users, items and draws instead"""
    million: bool = True
    """also a policy step over a million documents"""
    repeats: int = 5
    """times that each side is timed"""
    threads: int = 1
    """processor cores"""


@dataclass(frozen=True)
class Game:
    """Two factorisations, the generator a little pretrained, and what users like."""

    generator: Factors
    discriminator: Factors
    positives: Relevance


def game(positives: Relevance, items: int) -> Game:
    """Set up."""
    torch.manual_seed(0)
    generator, discriminator = (Factors(positives.queries, items, WIDTH) for _ in range(2))
    for _ in range(5):
        pairwise_epoch(generator, positives)
    return Game(generator, discriminator, positives)


def catalogue(users: int = USERS, items: int = ITEMS) -> Collection:
    """Make one up, sparse as MovieLens-100K."""
    return synthetic(0, queries=users, documents=items, positives=LIKED, test=0.0, hold_out=0.0)


def ours(players: Game, part: int = 1, draws: int = 2) -> Work:
    """Return our round, or a part of it."""
    generator, discriminator, positives = players.generator, players.discriminator, players.positives

    def pay(query: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return 2 * (SeqGAN().reward(discriminator.score(query, ids.unsqueeze(1))).squeeze(1) - 0.5)

    def work() -> None:
        for epoch in range(D_EPOCHS // part):
            if epoch % DRAW_EVERY == 0:
                drawn = draw_negatives(generator, positives)
            discriminator_epoch(discriminator, positives, drawn)
        for _ in range(G_EPOCHS // part):
            generator_epoch(generator, pay, positives, draws=draws)

    return work


def theirs(players: Game, path: Path, part: int = PART) -> Work:
    """Return a part of the plain round."""
    positives = players.positives
    queries = positives.counts.nonzero().squeeze(1).tolist()
    liked = {
        query: positives.ids[positives.offsets[query] : positives.offsets[query + 1]].tolist() for query in queries
    }

    def work() -> None:
        for epoch in range(D_EPOCHS // part):
            if epoch % DRAW_EVERY == 0:
                naive_irgan.write_negatives(players.generator, liked, path)
            naive_irgan.discriminator_epoch(players.discriminator, path, len(positives))
        for _ in range(G_EPOCHS // part):
            naive_irgan.generator_epoch(players.generator, players.discriminator, liked)

    return work


def outer_round(collection: Collection, repeats: int) -> Row:
    """Compare the round."""
    known = collection.train.positive
    with tempfile.TemporaryDirectory() as folder:
        plain = theirs(game(known, collection.documents), Path(folder) / "negatives.txt")
        timing = paired(ours(game(known, collection.documents)), plain, repeats).theirs_times(PART)
    note = f"{known.queries} users, {collection.documents} items, {len(known)} positives; theirs 1/{PART}, multiplied"
    return Row("outer_round", "user by user", timing, note)


def measuring() -> Work:
    """Return the work of measuring as many users as MovieLens-100K tests, on all metrics."""
    collection = synthetic(0, queries=TESTED, documents=ITEMS, positives=LIKED)
    model = Factors(TESTED, ITEMS, WIDTH)
    return lambda: evaluate(model, collection, "test")


def growth(config: Config) -> None:
    """Print what a round costs as the catalogue grows."""
    print("| users | items | draws for each positive | positives | seconds, round | times the first |")
    print("|---|---|---|---|---|---|")
    first = 0.0
    for users, items, draws in GROWTH:
        known = catalogue(users, items).train
        timed = alone(ours(game(known, items), PART, draws), config.repeats).cpu.median * PART
        first = first or timed
        print(f"| {users:,} | {items:,} | {draws} | {len(known):,} | {timed:.3g} | {timed / first:.3g} |", flush=True)


def main(config: Config) -> None:
    """Time and report."""
    torch.set_num_threads(config.threads)
    if config.growth:
        growth(config)
        return
    collection = ratings(config.data, None, hold_out=0.0) if config.data else catalogue()
    metrics = alone(measuring(), max(2, config.repeats)).cpu.median
    rows = [outer_round(collection, config.repeats), *(million_items(config.repeats) if config.million else [])]
    report(rows, config.json, numbers={f"seconds/metrics_{TESTED}_users": metrics})


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
