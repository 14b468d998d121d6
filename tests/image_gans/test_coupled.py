"""CoGAN: unpaired domains, what is shared and what is not, and the share of pairs that agree."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from image_gans.coupled import Couple, CoupledGenerator, CoupledJudge, Couples, agreement, cogan, negative
from image_gans.judging import Judge
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.numbers import Facts, Numbers
from image_gans.players import Examined, no_probe
from rl.objectives import NonSaturating
from rl.runtime import Engine, Runtime

SHAPE = (1, 8, 8)
SMALL = Numbers(width=4, latent=3, d_norm="layer")


def facts():
    return Facts(SHAPE, 2, torch.empty(0, *SHAPE), torch.empty(0, dtype=torch.int64))


def touched(loss, net):
    gradients = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, retain_graph=True)
    return {gradient is not None and bool(gradient.any()) for gradient in gradients}


def test_the_second_domain_holds_negatives_of_other_pictures():
    pictures = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, *SHAPE)
    real, latent = Couples(3).deal(pictures, torch.zeros(4))
    assert torch.equal(real.first, pictures)
    assert sorted(negative(real.second)[:, 0, 0, 0].tolist()) == [0, 1, 2, 3]
    assert not (real.first == negative(real.second)).any()
    assert latent.shape == (4, 3)


def test_both_domains_train_what_is_shared_and_each_its_own_end():
    net = CoupledGenerator(SMALL, SHAPE)
    painted = net(torch.randn(4, 3))
    assert painted.first.shape == painted.second.shape == (4, *SHAPE)
    for own, other, pictures in zip((0, 1), (1, 0), painted, strict=True):
        loss = pictures.square().mean()
        assert touched(loss, net.shared) == touched(loss, net.ends[own]) == {True}
        assert touched(loss, net.ends[other]) == {False}


def test_both_domains_train_the_shared_judge_and_each_its_own_start():
    judge = CoupledJudge(SMALL, SHAPE)
    logits, features = judge.judge(Couple(torch.randn(4, *SHAPE), torch.randn(4, *SHAPE)))
    assert logits.shape == (4, 2)
    assert features.shape[0] == 4
    for own, other in ((0, 1), (1, 0)):
        loss = logits[:, own].square().mean()
        assert touched(loss, judge.shared) == touched(loss, judge.starts[own]) == {True}
        assert touched(loss, judge.starts[other]) == {False}


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "spectral"])
def test_a_domain_is_judged_by_itself(norm):
    judge = CoupledJudge(Numbers(width=4, d_norm=norm), SHAPE).eval()
    first, second, other = torch.randn(3, 4, *SHAPE)
    logits, features = judge.judge(Couple(first, second))
    again, found = judge.judge(Couple(first, other))
    half = features.shape[1] // 2
    torch.testing.assert_close(logits[:, 0], again[:, 0])
    torch.testing.assert_close(features[:, :half], found[:, :half])
    assert not torch.isclose(logits[:, 1], again[:, 1]).all()
    assert not torch.isclose(features[:, half:], found[:, half:]).all()


def test_equal_starts_judge_equal_pictures_equally():
    judge = CoupledJudge(SMALL, SHAPE)
    judge.starts[1].load_state_dict(judge.starts[0].state_dict())
    pictures = torch.randn(4, *SHAPE)
    logits = judge(Couple(pictures, pictures))
    torch.testing.assert_close(logits[:, 0], logits[:, 1])


def test_a_spectral_norm_bounds_the_starts_too():
    judge = CoupledJudge(Numbers(width=4, d_norm="spectral"), SHAPE)
    assert all(nn.utils.parametrize.is_parametrized(start[0]) for start in judge.starts)


def test_the_first_domain_is_shown():
    couple = Couple(torch.zeros(2, *SHAPE), torch.ones(2, *SHAPE))
    assert Couples(3).show(lambda latent: couple, torch.empty(2, 3)) is couple.first


def test_agreement_by_hand():
    """The class of a picture is whether it is bright; three of four negatives come from a picture of its class."""

    class Painter(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, latent):
            first = torch.tensor([1.0, -1.0, 1.0, -1.0]).reshape(4, 1, 1, 1).expand(4, *SHAPE)
            return Couple(first, -first * torch.tensor([1.0, 1.0, 1.0, -1.0]).reshape(4, 1, 1, 1))

    def bright(pictures):
        return (pictures.flatten(1).mean(1) > 0).long()

    examined = Examined(Painter(), Judge(), torch.empty(0), torch.empty(0), bright)
    assert agreement(Couples(3), examined) == {"pair_agreement": 0.75}


@pytest.mark.parametrize("net", ["mlp", "dcgan"])
def test_each_round_moves_all_weights_of_its_player_and_no_other(net):
    engine = Engine(Runtime(device="cpu", precision="fp32"), 0)
    players = cogan(replace(SMALL, net=net, width=16), facts())
    game = Game(players.generator, players.discriminator, Rules(NonSaturating()), engine)
    for play, own, other in (
        (discriminator_round, players.discriminator, players.generator),
        (generator_round, players.generator, players.discriminator),
    ):
        own_before, other_before = ([w.clone() for w in player.parameters()] for player in (own, other))
        deal = players.dealer.deal(torch.rand(8, *SHAPE), torch.zeros(8))
        play(game, *deal, torch.optim.Adam(own.parameters()))
        assert not any(torch.equal(a, b) for a, b in zip(own_before, own.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in zip(other_before, other.parameters(), strict=True))
    examined = Examined(game.generator, game.discriminator, torch.empty(0), torch.empty(0), lambda x: x[:, 0, 0, 0])
    assert set(players.probe(examined)) == {"pair_agreement"}


def test_without_classes_nothing_can_agree():
    assert cogan(SMALL, facts()._replace(classes=0)).probe is no_probe
