"""LAPGAN: an exact pyramid, levels that are strangers to each other, and the climb from coarse to fine."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.numbers import Facts, Numbers
from image_gans.pyramid import Ladder, LevelGenerators, LevelJudges, Levels, Refiner, down, lapgan, pyramid, sides, up
from image_gans.walks import walk
from rl.objectives import NonSaturating
from rl.runtime import Engine, Runtime

SHAPE = (2, 16, 16)
SMALL = Numbers(width=4, latent=3, d_norm="layer")
CPU = torch.device("cpu")


class Given(nn.Module):
    """Paints what it was given, whatever it is asked."""

    def __init__(self, details):
        super().__init__()
        self.painted = details

    def forward(self, _):
        return self.painted


def test_down_and_up_by_hand():
    pictures = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]])
    assert torch.equal(down(pictures), torch.tensor([[[[4.0]]]]))
    # halves of pixels apart: 1/4 and 3/4 of the way from 0 to 4, the ends held
    assert torch.equal(up(torch.tensor([[[[0.0, 4.0]]]]))[0, 0], torch.tensor([[0.0, 1.0, 3.0, 4.0]] * 2))


@pytest.mark.parametrize(("side", "wanted"), [(8, [8, 4]), (16, [16, 8]), (32, [32, 16, 8]), (64, [64, 32, 16, 8])])
def test_sides_go_down_to_8_or_to_4(side, wanted):
    assert sides(side) == wanted


@given(levels=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_pyramid_halves_and_keeps_the_mean(levels, seed):
    pictures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    sizes = pyramid(pictures, levels)
    assert sizes[0] is pictures
    assert [size.shape[-1] for size in sizes] == [16 >> level for level in range(levels)]
    for size in sizes:
        torch.testing.assert_close(size.mean((2, 3)), pictures.mean((2, 3)))


@given(side=st.sampled_from([8, 16, 32]), seed=st.integers(0, 99))
def test_the_right_details_give_exactly_the_picture(side, seed):
    pictures = torch.rand(3, 1, side, side, generator=torch.Generator().manual_seed(seed))
    net = LevelGenerators(SMALL, (1, side, side))
    sizes = pyramid(pictures, len(sides(side)))
    net.coarsest = Given(sizes[-1])
    for level, refiner in enumerate(net.refiners):
        refiner.details = Given(sizes[level] - up(sizes[level + 1]))
    torch.testing.assert_close(net.climb(Levels(3, tuple(sides(side))).free(3, None, CPU)), pictures, rtol=0, atol=1e-6)


def test_real_pictures_are_dealt_at_every_size_with_their_low_passes():
    pictures = torch.rand(3, 1, 32, 32)
    real, latent = Levels(5, (32, 16, 8)).deal(pictures, torch.zeros(3))
    assert [tuple(size.shape) for size in real] == [(3, 1, 32, 32), (3, 1, 16, 16), (3, 1, 8, 8)]
    assert real[0] is pictures
    assert torch.equal(latent.lows[0], up(down(pictures)))
    assert torch.equal(latent.lows[1], up(down(down(pictures))))
    assert [tuple(plane.shape) for plane in latent.noise.planes] == [(3, 32 * 32), (3, 16 * 16)]
    assert latent.noise.coarsest.shape == (3, 5)


def test_free_latents_need_no_picture_and_can_be_walked_between():
    levels, net = Levels(3, (16, 8)), LevelGenerators(SMALL, SHAPE).eval()
    start, end = (levels.free(2, None, CPU) for _ in range(2))
    painted = levels.show(net, walk(start, end, 5))
    assert painted.shape == (10, *SHAPE)
    torch.testing.assert_close(painted[::5], levels.show(net, start))


def test_a_climb_is_each_level_on_what_the_coarser_one_painted():
    net, noise = LevelGenerators(SMALL, (2, 32, 32)), Levels(3, (32, 16, 8)).free(4, None, CPU)
    coarsest = net.coarsest(noise.coarsest)
    middle = net.refiners[1](up(coarsest), noise.planes[1])
    painted = net(Ladder(noise, (up(middle), up(coarsest))))
    torch.testing.assert_close(net.climb(noise), painted[0])
    torch.testing.assert_close(middle, painted[1])


def test_a_refiner_adds_to_its_low_pass_what_it_makes_of_both():
    net, low, plane = Refiner(2, 4), torch.randn(3, 2, 8, 8), torch.randn(3, 64)
    assert net(low, plane).shape == low.shape
    assert not torch.allclose(net(low, plane), net(low, torch.randn_like(plane)))
    assert not torch.allclose(net(low, plane) - low, net(low + torch.randn_like(low), plane) - low)
    nn.init.zeros_(net.details[-1].weight)
    nn.init.zeros_(net.details[-1].bias)
    assert torch.equal(net(low, plane), low)


def test_levels_are_painted_and_judged_by_themselves():
    generator, judge = LevelGenerators(SMALL, SHAPE), LevelJudges(SMALL, SHAPE)
    latent = Levels(3, (16, 8)).deal(torch.rand(4, *SHAPE), torch.zeros(4)).latent
    logits, features = judge.judge(generator(latent))
    assert logits.shape == (4, 2)
    assert features.shape[0] == 4
    players = ((generator.refiners[0], judge.judges[0]), (generator.coarsest, judge.judges[1]))
    for own, other in ((0, 1), (1, 0)):
        loss = logits[:, own].square().mean()
        assert all(touched(loss, net) == {True} for net in players[own])
        assert all(touched(loss, net) == {False} for net in players[other])


def test_one_round_of_all_levels_is_one_of_each():
    """The gradient of the mean over two levels is half of a level's own."""
    generator, judge, objective = LevelGenerators(SMALL, SHAPE), LevelJudges(SMALL, SHAPE), NonSaturating()
    real, latent = Levels(3, (16, 8)).deal(torch.rand(4, *SHAPE), torch.zeros(4))
    fake = generator(latent)
    together = objective.discriminator_loss(judge(real), judge(fake))
    for level, alone in enumerate(judge.judges):
        weights = list(alone.parameters())
        loss = objective.discriminator_loss(alone(real[level]), alone(fake[level]))
        wanted = torch.autograd.grad(loss / 2, weights, retain_graph=True)
        torch.testing.assert_close(torch.autograd.grad(together, weights, retain_graph=True), wanted)


@pytest.mark.parametrize("net", ["mlp", "dcgan"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16)])
def test_each_round_moves_all_weights_of_its_player_and_no_other(net, shape):
    engine = Engine(Runtime(device="cpu", precision="fp32"), 0)
    players = lapgan(replace(SMALL, net=net), facts(shape))
    game = Game(players.generator, players.discriminator, Rules(NonSaturating()), engine)
    for play, own, other in (
        (discriminator_round, players.discriminator, players.generator),
        (generator_round, players.generator, players.discriminator),
    ):
        own_before, other_before = ([w.clone() for w in player.parameters()] for player in (own, other))
        deal = players.dealer.deal(torch.rand(8, *shape), torch.zeros(8))
        play(game, *deal, torch.optim.Adam(own.parameters()))
        assert not any(torch.equal(a, b) for a, b in zip(own_before, own.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in zip(other_before, other.parameters(), strict=True))
    assert players.dealer.show(players.generator, players.dealer.free(2, None, CPU)).shape == (2, *shape)


def facts(shape=SHAPE):
    return Facts(shape, 0, torch.empty(0, *shape), torch.empty(0, dtype=torch.int64))


def touched(loss, net):
    gradients = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, retain_graph=True)
    return {gradient is not None and bool(gradient.any()) for gradient in gradients}
