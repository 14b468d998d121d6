"""Methods that are rows of the table, on a world whose distances are exact; five seeds, each its own world.

That every one of five distances falls has a chance of 3 % where nothing is learned.
"""

from functools import partial

import pytest
from torch.nn import functional as F

from rl.estimators import batch_baseline, leave_one_out
from rl.objectives import MaliGAN, SeqGAN
from rl.rollout import Rollout
from seqgan.conditional import labelled_oracle, labelled_oracle_corpus
from seqgan.earning import monte_carlo
from seqgan.generators import Generator
from seqgan.likelihood import counted
from seqgan.maligan import weighed_rollouts
from seqgan.players import PolicyPlayers
from seqgan.sentigan import sentigan
from tests.seqgan import toys

PLAYERS = {
    "seqgan": partial(PolicyPlayers, objective=SeqGAN(), reward=monte_carlo, baseline=leave_one_out),
    "maligan": partial(PolicyPlayers, objective=MaliGAN(), reward=weighed_rollouts, baseline=batch_baseline),
    "sentigan": sentigan,  # of one kind
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAYERS)
def test_the_distance_to_the_oracle_falls(name: str) -> None:
    before, after = [], []
    for seed in toys.SEEDS:
        corpus = toys.toy_corpus(seed)
        players = PLAYERS[name](toys.NUMBERS, corpus, toys.engine(seed))
        toys.imitate(players, corpus, steps=60)
        before.append(toys.kl(corpus.oracle, players.start))
        toys.play(players, corpus, rounds=150)
        after.append(toys.kl(corpus.oracle, players.generator))
    assert toys.every_time_less(before, after), (before, after)


def reverse_kl(net: Generator, oracle: Generator) -> float:
    """Return KL(net || oracle) of sentences after a label, the mean over two labels."""
    distance = 0.0
    for label in (toys.VOCABULARY, toys.VOCABULARY + 1):
        rows = F.pad(toys.all_sentences(), (1, 0), value=label)
        log_p, log_q = toys.exact_log_probs(net, rows), toys.exact_log_probs(oracle, rows)
        distance += (log_p.exp() * (log_p - log_q)).sum().item() / 2
    return distance


@pytest.mark.slow
def test_a_label_is_obeyed_better_than_by_likelihood() -> None:
    """SeqGAN's own players on rows [label | sentence], each label with an oracle of its own."""
    before, after = [], []
    for seed in toys.SEEDS:
        oracle = labelled_oracle(2, toys.VOCABULARY, seed=10 * seed)
        corpus = labelled_oracle_corpus(oracle, sentences=4_000, valid=0, test=100, length=toys.LENGTH, seed=seed)
        players = PLAYERS["seqgan"](toys.NUMBERS, corpus, toys.engine(seed))
        toys.imitate(players, corpus, steps=120)
        before.append(reverse_kl(players.start, oracle))
        toys.play(players, corpus, rounds=150)
        after.append(reverse_kl(players.generator, oracle))
    assert toys.every_time_less(before, after), (before, after)


def test_conditional_players_are_given_their_labels() -> None:
    """Half of what is said for the judge and for the reward has each label, and the label is paid nothing."""
    oracle = labelled_oracle(2, toys.VOCABULARY, seed=3)
    corpus = labelled_oracle_corpus(oracle, sentences=400, valid=0, test=100, length=toys.LENGTH, seed=3)
    players = PLAYERS["seqgan"](toys.NUMBERS, corpus, toys.engine(1))
    said = players.say(1_000)
    assert sorted(said[:, 0].unique().tolist()) == list(corpus.labels)
    assert abs(said[:, 0].float().mean().item() - 6.5) < 0.08  # five standard errors of a coin
    rollout = Rollout.of(said[:50], counted(said[:50], -1, 1)).relabel(players.goal.reward)
    assert not rollout.rewards[:, 0].any()
    assert (rollout.rewards[:, 1:] > 0).all()
    metrics = players.improve(0.0)
    assert metrics["g/length"].item() == toys.LENGTH


def test_the_world_is_exact() -> None:
    """All odds sum to one, and a distance to oneself is zero; both hold for sentences of any length, too."""
    corpus = toys.toy_corpus(2, sentences=200)
    players = PLAYERS["seqgan"](toys.NUMBERS, corpus, toys.engine(2))
    assert len(toys.all_sentences().unique(dim=0)) == 1296
    for net in (corpus.oracle, players.generator):
        assert toys.exact_log_probs(net).exp().sum().item() == pytest.approx(1, abs=1e-6)
        assert toys.kl(net, net) == toys.total_variation(net, net) == 0
    assert toys.kl(corpus.oracle, players.generator) > 0.5
    assert 0.3 < toys.total_variation(corpus.oracle, players.generator) < 1
    shares = corpus.train.unique(dim=0, return_counts=True)[1]
    assert shares.sum() == 200
