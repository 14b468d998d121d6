from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from rl.objectives import Relativistic
from seqgan.generators import LSTMGenerator
from seqgan.players import generator_of
from seqgan.relational import RelationalGenerator
from seqgan.relgan import Judged, memory, relgan
from seqgan.soft import SoftDiscriminator
from tests.seqgan import toys

NUMBERS = replace(toys.NUMBERS, sharpest=1.0, representations=8, head_size=16, batch=512, g_lr=1e-3)


def test_representations_are_compared_pair_by_pair() -> None:
    torch.manual_seed(0)
    judge = SoftDiscriminator(5, 4, representations=3, embedding=1, filters=((2, 4),)).eval()
    real, fake = torch.randint(5, (6, 4)), torch.rand(6, 4, 5).softmax(-1)
    game, on_real, on_fake = Judged(Relativistic()), judge(real), judge(fake)
    torch.testing.assert_close(game.discriminator_loss(judge, real, fake), F.softplus(on_fake - on_real).mean())
    torch.testing.assert_close(game.reward(judge, real, fake), F.logsigmoid(on_fake - on_real))


def test_the_embedding_is_shared_out() -> None:
    corpus, engine = toys.toy_corpus(sentences=200), toys.engine()
    players = relgan(replace(NUMBERS, d_embedding=16, representations=8), corpus, engine)
    assert players.discriminator.embedding.weight.shape == (toys.VOCABULARY, 16)
    assert players.discriminator(corpus.train[:3]).shape == (3, 8)
    players = relgan(replace(NUMBERS, d_embedding=4, representations=8), corpus, engine)
    assert players.discriminator.embedding.weight.shape == (toys.VOCABULARY, 8)


def test_who_speaks() -> None:
    corpus = toys.toy_corpus(sentences=200)
    relational = memory(replace(NUMBERS, slots=2, heads=3, head_size=5), corpus)
    assert isinstance(relational, RelationalGenerator)
    assert relational.head.in_features == 2 * 3 * 5
    assert isinstance(generator_of(NUMBERS, corpus), LSTMGenerator)


@pytest.mark.slow
def test_learning_brings_the_generator_closer_to_the_truth() -> None:
    before, after = [], []
    for seed in toys.SEEDS:
        corpus, engine = toys.toy_corpus(seed), toys.engine(seed)
        players = relgan(NUMBERS, corpus, engine)
        toys.imitate(players, corpus, steps=15)
        toys.play(players, corpus, rounds=100)
        before.append(toys.kl(corpus.oracle, players.start))
        after.append(toys.kl(corpus.oracle, players.generator))
    assert toys.every_time_less(before, after), (before, after)  # by chance 3 %
