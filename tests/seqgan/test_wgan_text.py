from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rl.objectives import Wasserstein
from rl.penalties import GradientPenalty
from rl.runtime import InputError
from seqgan.corpus import Corpus, Vocabulary
from seqgan.soft import one_hot
from seqgan.wgan_text import ConvolutionalJudge, LatentGenerator, LatentSpeaker, Smooth, wgan_text
from tests.seqgan import toys

NUMBERS = replace(
    toys.NUMBERS,
    hidden=32,
    d_embedding=32,
    latent=16,
    beta1=0.5,
    g_lr=5e-4,
    d_lr=2e-3,
    gp_weight=3.0,
    batch=64,
    mle_epochs=0,
)


def test_sentences_are_distributions_made_row_by_row() -> None:
    torch.manual_seed(0)
    net = LatentGenerator(7, 5, latent=3, channels=4)
    noise = net.noise(6)
    soft = net(noise)
    assert soft.shape == (6, 5, 7)
    torch.testing.assert_close(soft.sum(-1), torch.ones(6, 5))
    torch.testing.assert_close(torch.cat([net(row[None]) for row in noise]), soft)


def test_a_judge_reads_either_kind() -> None:
    torch.manual_seed(0)
    net, tokens = ConvolutionalJudge(7, 5, channels=4), torch.randint(7, (6, 5))
    torch.testing.assert_close(net(one_hot(tokens, 7)), net(tokens))
    torch.testing.assert_close(torch.cat([net(row[None]) for row in tokens]), net(tokens))


def test_the_speaker_says_the_likeliest_and_stops_at_the_end() -> None:
    torch.manual_seed(0)
    net = LatentGenerator(3, 6, latent=4, channels=8, end=1)
    speaker = LatentSpeaker(net)
    torch.manual_seed(1)
    said = speaker.speak(600)
    torch.manual_seed(1)
    plain = net(net.noise(600)).argmax(-1)
    ended = (plain == 1).cumsum(1) > 0
    assert ended.any()
    assert said.equal(plain.masked_fill(ended, 1))
    assert speaker.likelihood(said) == {}


class Linear(nn.Module):
    """A judge whose slope is known: twice the number of the word 1."""

    def forward(self, sentences: Tensor) -> Tensor:
        soft = sentences if sentences.is_floating_point() else one_hot(sentences, 3)
        return 2 * soft[:, :, 1].sum(1)


def test_the_loss_by_hand() -> None:
    real, fake = torch.tensor([[1, 1, 0, 2], [0, 1, 0, 0]]), torch.full((2, 4, 3), 1 / 3)
    game = Smooth(Wasserstein(), GradientPenalty(10.0), 3)
    # the slope has a 2 at each of 4 places: its norm is 4; reals have logits 4 and 2, fakes 8/3
    assert game.discriminator_loss(Linear(), real, fake).item() == pytest.approx(8 / 3 - 3 + 10 * (4 - 1) ** 2)
    torch.testing.assert_close(game.reward(Linear(), real, fake), torch.full((2,), 8 / 3))


def test_the_penalty_stands_between_one_hot_reals_and_soft_fakes() -> None:
    real, fake = torch.tensor([[1, 0], [2, 2]]), torch.full((2, 2, 3), 1 / 3)
    seen: list[Tensor] = []

    def penalty(discriminator: nn.Module, *sentences: Tensor) -> Tensor:
        seen.extend(sentences)
        return torch.zeros(())

    Smooth(Wasserstein(), penalty, 3).discriminator_loss(Linear(), real, fake)
    assert seen[0].equal(one_hot(real, 3))
    assert seen[1] is fake


def test_nothing_is_said_after_a_prompt() -> None:
    with pytest.raises(InputError, match="wgan-gp: says nothing after a label or a prompt"):
        wgan_text(NUMBERS, replace(toys.toy_corpus(sentences=50), prompt=1), toys.engine())


def test_nothing_is_imitated_and_fakes_are_always_new() -> None:
    corpus = toys.toy_corpus(sentences=200)
    players = wgan_text(NUMBERS, corpus, toys.engine())
    with pytest.raises(ValueError, match="likelihood"):
        players.imitate(corpus.train[:4])
    assert players.say(5).shape == (5, players.width)
    assert not players.hear(players.say(5)).equal(players.hear(players.say(5)))
    assert not players.hear(players.say(5)).requires_grad


def valid(tokens: Tensor) -> Tensor:
    """Numbers 0 to 3 with signs 4 and 5 between them, and the second number is not the first."""
    numbers, signs = tokens[:, 0::2], tokens[:, 1::2]
    return (numbers < 4).all(1) & (signs >= 4).all(1) & (numbers[:, 0] != numbers[:, 1])


@pytest.mark.slow
def test_learning_finds_the_grammar() -> None:
    for seed in range(3):
        engine = toys.engine(seed)
        rows = torch.randint(4, (40_000, 5))
        rows[:, 1::2] = torch.randint(4, 6, (40_000, 2))
        rows = rows[valid(rows)][:4_000]
        corpus = Corpus(rows, rows[:0], rows[:100], Vocabulary.numbers(6), -1)
        players = wgan_text(NUMBERS, corpus, engine)
        toys.play(players, corpus, rounds=200, judge_first=5, judge_steps=5, half=64)
        said = players.speaker(players.generator).speak(1_000)
        assert valid(said).float().mean() > 0.8  # by chance 4^3 2^2 3/4 / 6^5 = 2 %
        assert len(said[valid(said)].unique(dim=0)) > 50  # of 192
