import pytest
import torch
from torch import nn

from image_gans.energy import AutoencoderJudge, PullingAway, absolute, began, ebgan, pulling_away, squared
from image_gans.judging import Seen
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.numbers import Facts, Numbers
from rl.objectives import EnergyMargin, Equilibrium
from rl.runtime import Engine, Runtime

SHAPE = (1, 8, 8)
FACTS = Facts(SHAPE, 0, torch.zeros(1, *SHAPE, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
SMALL = Numbers(width=4, latent=6, term_weight=0.1)


def game(build, objective):
    engine = Engine(Runtime(device="cpu", precision="fp32"), 0)
    players = build(SMALL, FACTS)
    optimizers = [torch.optim.Adam(net.parameters(), 5e-3) for net in (players.discriminator, players.generator)]
    rules = Rules(objective, terms=players.terms)
    return Game(players.generator, players.discriminator, rules, engine), players.dealer, optimizers


@pytest.mark.parametrize(
    ("error", "logits"), [(squared, [-(1 + 4 + 0) / 3, -(1 + 1 + 9) / 3]), (absolute, [-1, -5 / 3])]
)
def test_the_logit_is_minus_the_mean_error(error, logits):
    class Twice(nn.Module):
        def forward(self, x):
            return 2 * x

    judge = AutoencoderJudge(nn.Flatten(), Twice(), error)  # paints 2x, so that it errs by x
    verdict = judge.judge(torch.tensor([[1.0, -2, 0], [1, 1, -3]]))
    torch.testing.assert_close(verdict.logits, torch.tensor(logits))
    assert verdict.features.tolist() == [[1, -2, 0], [1, 1, -3]]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_began_judges_each_sample_by_itself(shape):
    players = began(SMALL, FACTS._replace(shape=shape))
    pictures = torch.rand(4, *shape)
    torch.testing.assert_close(players.discriminator(pictures)[:1], players.discriminator(pictures[:1]))
    assert players.generator(torch.randn(4, SMALL.latent)).shape == pictures.shape


def test_errors_are_float32_under_autocast():
    judge = ebgan(SMALL, FACTS).discriminator
    with torch.autocast("cpu", torch.bfloat16):
        assert judge(torch.rand(3, *SHAPE)).dtype == torch.float32


def test_pulling_away_by_hand():
    codes = torch.tensor([[1.0, 0], [0, 3], [2, 2]], dtype=torch.float64)
    # squared cosines 0, 1/2, 1/2, each counted twice among 3 * 2 pairs
    assert pulling_away(codes).item() == pytest.approx(1 / 3)
    assert pulling_away(torch.tensor([[1.0, 2], [-10, -20]])).item() == pytest.approx(1)  # either sign, any length
    assert pulling_away(3 * torch.eye(5)).item() == pytest.approx(0)
    assert torch.autograd.gradcheck(pulling_away, codes.requires_grad_())


def test_only_the_generator_spreads_its_own_codes():
    terms, codes = PullingAway(0.5), torch.tensor([[1.0, 0], [1, 0]])
    real, fake = Seen(None, torch.zeros(2), torch.eye(2)), Seen(None, torch.zeros(2), codes)
    assert terms.of_discriminator(torch.zeros(2), real, fake) == {}
    assert terms.of_generator(torch.zeros(2), real, fake)["pulling_away"].item() == pytest.approx(0.5)


def test_the_generator_lowers_the_energy_and_spreads_its_codes():
    torch.manual_seed(0)
    playing, dealer, (_, optimizer) = game(ebgan, EnergyMargin(1.0))
    real, latent = dealer.deal(torch.rand(4, *SHAPE), torch.zeros(4, dtype=torch.int64))
    verdict = playing.discriminator.judge(playing.generator(latent))
    expected = -verdict.logits.mean() + 0.1 * pulling_away(verdict.features)
    torch.testing.assert_close(generator_round(playing, real, latent, optimizer)["g/loss"], expected.detach())


def test_the_discriminator_of_began_paints_as_the_generator_does():
    players = began(SMALL, FACTS)
    shapes = [
        [weight.shape for weight in net.parameters()] for net in (players.generator, players.discriminator.decoder)
    ]
    assert shapes[0] == shapes[1]
    assert players.discriminator.judge(torch.rand(5, *SHAPE)).features.shape == (5, SMALL.latent)


def test_began_learns_to_reconstruct_and_then_looks_at_fakes():
    torch.manual_seed(0)
    objective = Equilibrium(0.5, 0.02)
    playing, dealer, (optimizer, _) = game(began, objective)
    stripes = torch.where(torch.rand(32, 1, 1, 8) < 0.5, -1.0, 1.0).expand(-1, -1, 8, -1)
    errors, weights = [], []
    for _ in range(30):
        real, latent = dealer.deal(stripes, torch.zeros(32, dtype=torch.int64))
        errors.append(-discriminator_round(playing, real, latent, optimizer)["d/real"].item())
        weights.append(objective.balance.item())
    assert errors[-1] < 0.9 * errors[0]
    assert 0.02 < max(weights) < 1
