"""AAE and VAE/GAN: what is judged, what reaches which net, the terms by hand, and a code that learns its prior."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from image_gans.autoencoding import (
    Autoencoder,
    Codified,
    Evidence,
    Glimpse,
    Glimpses,
    Reconstruction,
    VariationalAutoencoder,
    aae,
    autoencoder_probe,
    divergence_from_prior,
    drawn,
    vae_gan,
)
from image_gans.judging import Judge, Seen, Verdict
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.numbers import Facts, Numbers
from image_gans.players import Examined
from rl.objectives import NonSaturating
from rl.penalties import R1
from rl.runtime import Engine, Runtime

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
SMALL = Numbers(width=4, latent=3, d_norm="layer")
NOTHING = Seen(None, torch.empty(0), torch.empty(0, 0))


class Scaled(nn.Module):
    """Multiplies by a number that learns."""

    def __init__(self, by):
        super().__init__()
        self.by = nn.Parameter(torch.tensor(by))

    def forward(self, x):
        return self.by * x


class Belief(nn.Module):
    """Believes that the code of x is `by` x, with a variance e^log_variance."""

    def __init__(self, by, log_variance):
        super().__init__()
        self.by, self.log_variance = nn.Parameter(torch.tensor(by)), log_variance

    def forward(self, x):
        return torch.cat([self.by * x, torch.full_like(x, self.log_variance)], 1)


class Twice(Judge):
    """Features are twice the sample, the logit is their sum."""

    def judge(self, x):
        return Verdict((2 * x).sum(1), 2 * x)


def facts(shape=SHAPE):
    return Facts(shape, 0, torch.empty(0, *shape), torch.empty(0, dtype=torch.int64))


def gradients(loss, net):
    found = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, retain_graph=True)
    return [None if gradient is None else float(gradient.abs().sum()) for gradient in found]


def test_divergence_from_the_prior_by_hand():
    # (mean^2 + variance - 1 - log variance) / 2, summed: (0) and (4 + e - 1 - 1) / 2
    found = divergence_from_prior(torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([0.0, (2 + torch.e) / 2]))


def test_divergence_from_the_prior_is_torchs():
    mean, log_variance = torch.randn(5, 4), torch.randn(5, 4)
    wanted = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(divergence_from_prior(mean, log_variance), wanted)


def test_noise_moves_to_mean_and_deviation():
    # variance 4: deviation 2
    found = drawn(torch.tensor([[1.0]]), torch.tensor([[4.0]]).log(), torch.tensor([[-3.0]]))
    torch.testing.assert_close(found, torch.tensor([[-5.0]]))


def test_an_aae_judges_codes():
    torch.manual_seed(0)
    pictures = torch.randn(4000, *SHAPE)
    real, latent = Codified(3).deal(pictures, torch.zeros(4000))
    assert latent is pictures
    assert real.shape == (4000, 3)
    assert real.mean(0).abs().max() < 5 / 4000**0.5
    assert (real.std(0) - 1).abs().max() < 5 / 8000**0.5


def test_an_aae_shows_what_its_decoder_paints():
    generator = Autoencoder(nn.Identity(), Scaled(3.0))
    assert torch.equal(Codified(2).show(generator, torch.ones(1, 2)), torch.full((1, 2), 3.0))
    assert torch.equal(generator(torch.ones(1, 2)), torch.ones(1, 2))


def test_reconstruction_by_hand():
    # painted 2 * (1, 3) where (1, 2) was to be seen: (1 + 16) / 2, times 10
    term = Reconstruction(Scaled(2.0), 10.0).of_generator(
        torch.tensor([[1.0, 2.0]]), NOTHING, NOTHING._replace(sample=torch.tensor([[1.0, 3.0]]))
    )
    assert term["reconstruction"].item() == pytest.approx(85.0)


def test_an_aaes_reward_reaches_the_encoder_and_its_reconstruction_both():
    players = aae(SMALL, facts())
    pictures = torch.rand(6, *SHAPE)
    codes = players.generator(pictures)
    reward = NonSaturating().reward(players.discriminator(codes)).mean()
    term = players.terms.of_generator(pictures, NOTHING, NOTHING._replace(sample=codes))["reconstruction"]
    assert all(gradients(reward, players.generator.encoder))
    assert set(gradients(reward, players.generator.decoder)) == {None}
    assert all(gradients(term, players.generator.encoder))
    assert all(gradients(term, players.generator.decoder))


def test_a_vae_gan_paints_pictures_again_and_codes_of_the_prior():
    # log variance log 4: codes 3 x + 2 noise, painted 10 times as large
    net = VariationalAutoencoder(Belief(3.0, torch.tensor(4.0).log().item()), Scaled(10.0))
    painted = net(Glimpse(torch.tensor([[1.0]]), torch.tensor([[0.5]]), torch.tensor([[-7.0]])))
    torch.testing.assert_close(painted, torch.tensor([[40.0], [-70.0]]))
    assert torch.equal(net.code(torch.tensor([[2.0]])), torch.tensor([[6.0]]))
    assert torch.equal(Glimpses(1).show(net, torch.tensor([[-7.0]])), torch.tensor([[-70.0]]))


def test_a_vae_gan_is_dealt_fresh_noise_for_both():
    pictures = torch.randn(5, *SHAPE)
    real, latent = Glimpses(3).deal(pictures, torch.zeros(5))
    assert real is pictures
    assert latent.pictures is pictures
    assert latent.noise.shape == latent.prior.shape == (5, 3)
    assert not torch.equal(latent.noise, latent.prior)


def test_the_evidence_bound_by_hand():
    # x = (1, 2): mean x / 2, variance 1, noise 1 and 0: codes (1.5, 1), painted again (3, 2); features 2 x and (6, 4)
    # features: ((6 - 2)^2 + 0) / 2 / 2 = 4; divergence: (1/4 + 1) / 2 / 2 = 5/16
    net = VariationalAutoencoder(Belief(0.5, 0.0), Scaled(2.0))
    latent = Glimpse(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))
    found = Evidence(net, Twice(), 3.0).of_generator(latent, NOTHING, NOTHING)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {"features": 3 * 4.0, "divergence": 3 * 5 / 16}
    )


def test_a_vae_gans_reward_reaches_the_decoder_alone_and_its_evidence_both():
    players = vae_gan(SMALL, facts())
    pictures = torch.rand(6, *SHAPE)
    latent = players.dealer.deal(pictures, torch.zeros(6)).latent
    reward = NonSaturating().reward(players.discriminator(players.generator(latent))).mean()
    terms = players.terms.of_generator(latent, NOTHING, NOTHING)
    assert set(gradients(reward, players.generator.encoder)) == {None}
    assert all(gradients(reward, players.generator.decoder))
    assert all(gradients(terms["features"], players.generator.encoder))
    assert all(gradients(terms["features"], players.generator.decoder))
    assert set(gradients(terms["divergence"], players.generator.decoder)) == {None}


def test_the_probe_by_hand():
    # bytes 0 and 255 are -1 and 1; codes twice as large; painted again from them a quarter, so half a picture
    class Halved(nn.Module):
        def __init__(self):
            super().__init__()
            self.code, self.decoder = Scaled(2.0), Scaled(0.25)

    images = torch.tensor([[255, 255], [0, 255], [255, 255], [0, 255]], dtype=torch.uint8)
    found = autoencoder_probe(Examined(Halved(), Judge(), images, torch.zeros(4), torch.argmax))
    # codes (2, 2), (-2, 2), ...: means (0, 2), root mean square 2 / sqrt 2; deviations (sqrt(16 / 3), 0)
    assert found == pytest.approx({"reconstruction": 0.25, "code_mean": 2**0.5, "code_std": (16 / 3) ** 0.5 / 2})


@pytest.mark.parametrize("build", [aae, vae_gan])
@pytest.mark.parametrize(("net", "shape"), [("dcgan", SHAPE), ("mlp", SHAPE), ("mlp", (2,))])
def test_each_round_moves_all_weights_of_its_player_and_no_other(build, net, shape):
    engine = Engine(Runtime(device="cpu", precision="fp32"), 0)
    players = build(replace(SMALL, net=net), facts(shape))
    game = Game(players.generator, players.discriminator, Rules(NonSaturating(), terms=players.terms), engine)
    for play, own, other in (
        (discriminator_round, players.discriminator, players.generator),
        (generator_round, players.generator, players.discriminator),
    ):
        own_before, other_before = ([w.clone() for w in player.parameters()] for player in (own, other))
        deal = players.dealer.deal(torch.rand(8, *shape), torch.zeros(8))
        measured = play(game, *deal, torch.optim.Adam(own.parameters()))
        assert all(value.isfinite() for value in measured.values())
        assert not any(torch.equal(a, b) for a, b in zip(own_before, own.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in zip(other_before, other.parameters(), strict=True))
    free = players.dealer.free(3, None, CPU)
    assert players.dealer.show(players.generator, free).shape == (3, *shape)


def test_an_aae_learns_its_prior_and_to_paint_again():
    """Points around (0.5, -0.5) with a deviation of 0.3; the seed is fixed."""
    engine = Engine(Runtime(device="cpu", precision="fp32"), 0)
    players = aae(Numbers(net="mlp", width=32, latent=2, term_weight=10.0), facts((2,)))
    game = Game(players.generator, players.discriminator, Rules(NonSaturating(), R1(0.1), players.terms), engine)
    d_optimizer, g_optimizer = (
        torch.optim.Adam(player.parameters(), 2e-3, (0.5, 0.999)) for player in (game.discriminator, game.generator)
    )

    def points(rows):
        return torch.tensor([0.5, -0.5]) + 0.3 * torch.randn(rows, 2)

    for _ in range(150):
        discriminator_round(game, *players.dealer.deal(points(128), torch.zeros(128)), d_optimizer)
        generator_round(game, *players.dealer.deal(points(128), torch.zeros(128)), g_optimizer)
    test = points(2000)
    found = autoencoder_probe(Examined(game.generator, game.discriminator, test, torch.zeros(2000), torch.argmax))
    assert found["reconstruction"] < 0.01  # the mean alone gives 0.09
    assert found["code_mean"] < 0.2
    assert 0.8 < found["code_std"] < 1.2
