"""A world so small that every sentence can be listed: 6 words, 4 places, 1,296 sentences, an oracle with exact odds.

Distances between distributions are sums over the list, without a sampling error; `play` moves players as a run does.
"""

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.runtime import Engine, Runtime
from seqgan.corpus import Corpus, oracle_corpus
from seqgan.generators import Generator
from seqgan.likelihood import counted, token_log_probs
from seqgan.numbers import Numbers
from seqgan.oracle import draw_oracle
from seqgan.players import Players

VOCABULARY, LENGTH = 6, 4
SEEDS = range(5)
# Nets that fit the world, and enough of everything that a round costs some 10 ms on one core.
NUMBERS = Numbers(
    vocabulary=VOCABULARY, length=LENGTH, hidden=16, embedding=8, batch=128, rollouts=4, g_lr=5e-3, g_clip=5.0,
    d_embedding=16, d_filters="small", d_dropout=0.0, d_l2=0.0, d_lr=3e-3, d_batch=256, mle_batch=64, mle_lr=0.01,
)  # fmt: skip


def engine(seed: int = 0) -> Engine:
    """Return the engine of one toy: one core, float32."""
    return Engine(Runtime(device="cpu", precision="fp32"), seed)


def toy_corpus(seed: int = 0, *, sentences: int = 4_000) -> Corpus:
    """Return draws of an oracle of that seed, whose own entropy is 5 to 6 of the log(1296) = 7.2 nats."""
    oracle = draw_oracle(VOCABULARY, embedding=8, hidden=16, seed=seed)
    return oracle_corpus(oracle, sentences=sentences, valid=0, test=100, length=LENGTH, seed=seed)


def all_sentences(vocabulary: int = VOCABULARY, length: int = LENGTH) -> Int[Tensor, "sentences time"]:
    """Return every row of tokens."""
    return torch.tensor(list(itertools.product(range(vocabulary), repeat=length)))


def exact_log_probs(
    generator: Generator, sentences: Int[Tensor, "sentences time"] | None = None
) -> Float[Tensor, "sentences"]:
    """Return the log-probability of each sentence, by default of all of them, in nats and float64.

    What stands after an end token, and what is given, counts nothing: sum over the rows that can be said alone.
    """
    rows = all_sentences() if sentences is None else sentences
    scored = token_log_probs(generator, rows).double()
    return scored.masked_fill(~counted(rows, generator.end, generator.prompt), 0).sum(1)


def kl(p: Generator, q: Generator) -> float:
    """Return KL(p || q) in nats per sentence: of the oracle to a generator it is what likelihood measures."""
    log_p, log_q = exact_log_probs(p), exact_log_probs(q)
    return (log_p.exp() * (log_p - log_q)).sum().item()


def total_variation(p: Generator, q: Generator) -> float:
    """Return half of the sum of all differences in probability: 0 for equals, 1 for strangers."""
    return (exact_log_probs(p).exp() - exact_log_probs(q).exp()).abs().sum().item() / 2


def some(rows: Int[Tensor, "rows time"], count: int) -> Int[Tensor, "count time"]:
    """Return random rows."""
    return rows[torch.randint(len(rows), (count,))]


def imitate(players: Players, corpus: Corpus, *, steps: int, batch: int = 64) -> None:
    """Pretrain, and keep the start."""
    for _ in range(steps):
        players.imitate(some(corpus.train, batch))
    players.begin()


def learn_to_judge(players: Players, corpus: Corpus, *, steps: int, half: int = 128) -> None:
    """Move the discriminator, against fresh fakes at every step."""
    for _ in range(steps):
        players.judge(some(corpus.train, half), players.say(half))


def play(
    players: Players, corpus: Corpus, *, rounds: int, judge_first: int = 50, judge_steps: int = 2, half: int = 128
) -> None:
    """Let the discriminator learn, then alternate one step of the generator with some of the discriminator."""
    learn_to_judge(players, corpus, steps=judge_first, half=half)
    for number in range(rounds):
        players.improve(number / rounds)
        learn_to_judge(players, corpus, steps=judge_steps, half=half)


def every_time_less(before: Sequence[float], after: Sequence[float]) -> bool:
    """Say whether each pair fell: by chance alone 1 in 2^n, for five seeds 3 %."""
    return all(late < early for early, late in zip(before, after, strict=True))
