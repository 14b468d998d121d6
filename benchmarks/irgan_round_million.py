"""A policy step over a million documents: self-normalised importance sampling against the full softmax.

`python -m benchmarks.irgan_round_million [--json FILE] [--growth]`: matrix factorisation of width 64, 32 queries. Both
sides draw, judge, differentiate and update: ours 2,048 shared candidates with gradients of the rows they touch, theirs
16 documents for each query from the softmax over all, as IRGAN does. `--growth` prints a table over documents, queries
and candidates, with what the candidates buy.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing import Measured, Row, Spread, Timing, Work, alone, paired, peak_mb, report
from rl.estimators import leave_one_out
from rl.objectives import SeqGAN
from rl.retrieval.candidates import CandidateSampler, Listed, SoftmaxSampler, UniformSampler, draw_from
from rl.retrieval.catalogue import shared_climb
from rl.retrieval.gradients import (
    among_draws,
    equal_weights,
    exact_policy_loss,
    sampled_policy_loss,
    self_normalised_weights,
)
from rl.retrieval.scorers import Factors, shared_scores

DOCUMENTS, WIDTH, QUERIES = 1_000_000, 64, 32
CANDIDATES = 2_048
OF_SOFTMAX = 16  # documents that the full softmax draws for each query
USERS = 1_000
RATE = 0.1
STEPS = 20  # of ours that are timed together: one alone is shorter than the clock's noise
GROWTH = (
    *((documents, QUERIES, CANDIDATES) for documents in (10_000, 100_000, 1_000_000)),
    *((DOCUMENTS, queries, CANDIDATES) for queries in (1, 8, 128)),
    *((DOCUMENTS, QUERIES, candidates) for candidates in (128, 512, 8_192)),
)


@dataclass(frozen=True)
class Config:
    """What to time."""

    growth: bool = False
    """a table over documents, queries and candidates instead of the one comparison"""
    repeats: int = 5
    """times that each side is timed"""
    threads: int = 1
    """processor cores"""
    json: Path | None = None
    """where to write the numbers"""


class Game(NamedTuple):
    """Players whose scores have a spread of one, as after training, and the queries of a batch."""

    generator: Factors
    discriminator: Factors
    query: Tensor


def game(documents: int, queries: int, *, sparse: bool) -> Game:
    """Set up two players who see the documents alike and differ about every query's taste."""
    torch.manual_seed(0)
    spread = (9 / WIDTH) ** 0.25  # of uniform numbers whose inner products have variance one
    generator, discriminator = (Factors(USERS, documents, WIDTH, scale=spread, sparse=sparse) for _ in range(2))
    discriminator.items.data.copy_(generator.items.data)
    return Game(generator, discriminator, torch.randint(USERS, (queries,)))


def sampled_step(documents: int = DOCUMENTS, queries: int = QUERIES, candidates: int = CANDIDATES) -> Work:
    """Return our step."""
    players = game(documents, queries, sparse=True)
    optimizer = torch.optim.SGD(players.generator.parameters(), RATE)
    proposal: CandidateSampler = UniformSampler(documents)

    def work() -> None:
        optimizer.zero_grad()
        shared_climb(players.generator, players.discriminator, SeqGAN(), proposal, players.query, candidates).backward()
        optimizer.step()

    return work


def softmax_step(documents: int = DOCUMENTS, queries: int = QUERIES) -> Work:
    """Return the same step with documents drawn from the softmax over all."""
    generator, discriminator, query = game(documents, queries, sparse=False)
    optimizer = torch.optim.SGD(generator.parameters(), RATE)

    everything = torch.arange(documents).expand(queries, -1)

    def work() -> None:
        log_probs = generator.score_all(query).log_softmax(1)
        ids, _ = draw_from(Listed(everything, log_probs.detach()), OF_SOFTMAX)
        with torch.no_grad():
            advantages = among_draws(leave_one_out, SeqGAN().reward(discriminator.score(query, ids)))
        chosen = log_probs.gather(1, ids)
        optimizer.zero_grad()
        sampled_policy_loss(chosen, advantages, equal_weights(chosen, chosen)).backward()
        optimizer.step()

    return work


def softmax_alone(documents: int = DOCUMENTS, queries: int = QUERIES) -> Work:
    """Return only the softmax over all and its draws: no gradient, no update."""
    generator, _, query = game(documents, queries, sparse=False)
    return lambda: SoftmaxSampler(generator).draw(query, OF_SOFTMAX)


def repeated(step: Work) -> Work:
    """Return a work of several steps."""

    def work() -> None:
        for _ in range(STEPS):
            step()

    return work


def per_step(timing: Timing) -> Timing:
    """Return ours for one of the steps that were timed together."""
    cpu, wall = (Spread(tuple(s / STEPS for s in spread.seconds)) for spread in (timing.ours.cpu, timing.ours.wall))
    return Timing(Measured(cpu, wall), timing.theirs)


def million_items(repeats: int = 5) -> list[Row]:
    """Compare the whole step, and our whole step with no more than drawing from the softmax."""
    ours, rows = repeated(sampled_step()), []
    for what, theirs, note in (
        ("million_items", softmax_step(), "full softmax, gradient and update"),
        ("million_items_forward", softmax_alone(), "no more than full softmax and draws"),
    ):
        timing = per_step(paired(ours, theirs, repeats))
        rows.append(Row(what, "full softmax", timing, f"{note}; ours a mean of {STEPS} steps"))
    return rows


def effective_candidates(players: Game, candidates: int) -> float:
    """Return how many candidates of the policy's own would weigh as evenly as the uniform ones do, 1 / sum of w^2."""
    ids = UniformSampler(len(players.generator.items)).draw(players.query[:1], candidates).ids[0]
    scores = shared_scores(players.generator, players.query, ids)
    weights = self_normalised_weights(scores, torch.zeros_like(scores))
    return (1 / weights.square().sum(1)).mean().item()


def cosine(players: Game, candidates: int) -> float:
    """Return the cosine between the sampled and the exact gradient of the users, mean over the queries."""
    generator, discriminator, query = players
    proposal = UniformSampler(len(generator.items))
    sampled = shared_climb(generator, discriminator, SeqGAN(), proposal, query, candidates)
    scores, judged = generator.score_all(query), discriminator.score_all(query).detach()
    exact = exact_policy_loss(scores, SeqGAN().reward(judged), torch.ones_like(scores, dtype=torch.bool))
    ours, truth = (torch.autograd.grad(loss, generator.users)[0][query.unique()] for loss in (sampled, exact))
    return F.cosine_similarity(ours, truth).mean().item()


def growth(config: Config) -> None:
    """Print the table."""
    print("| documents | queries | candidates | full softmax, ms | ours, ms | ratio | effective candidates | cosine |")
    print("|---|---|---|---|---|---|---|---|")
    for documents, queries, candidates in GROWTH:
        theirs = alone(softmax_step(documents, queries), config.repeats).cpu.median * 1e3
        ours = alone(repeated(sampled_step(documents, queries, candidates)), config.repeats).cpu.median * 1e3 / STEPS
        players = game(documents, min(queries, QUERIES), sparse=False)
        even, towards = effective_candidates(players, candidates), cosine(players, candidates)
        sizes = f"| {documents:,} | {queries} | {candidates:,} "
        print(f"{sizes}| {theirs:.4g} | {ours:.3g} | {theirs / ours:.3g} | {even:.4g} | {towards:.3f} |", flush=True)


def main(config: Config) -> None:
    """Time and report."""
    torch.set_num_threads(config.threads)
    if config.growth:
        growth(config)
        return
    sides = {"peak_mb/million_items": sampled_step, "peak_mb_other/million_items": softmax_step}
    report(million_items(config.repeats), config.json, numbers={name: peak_mb(side) for name, side in sides.items()})


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
