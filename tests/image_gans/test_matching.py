import pytest
import torch

from image_gans.judging import Seen
from image_gans.latent import Game, Rules, generator_round
from image_gans.matching import FeatureMatching, feature_matching, mean_distance
from image_gans.numbers import Facts, Numbers
from rl.objectives import NonSaturating
from rl.runtime import Engine, Runtime

REAL, FAKE = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 0.0], [-3.0, 5.0]])


def test_mean_distance_by_hand():
    # means (2, 0) and (-1, 3)
    assert mean_distance(REAL, FAKE).item() == pytest.approx(9 + 9)
    assert mean_distance(REAL.to(torch.bfloat16), FAKE.to(torch.bfloat16)).dtype == torch.float32


def test_equal_means_leave_the_generator_alone():
    fake = torch.tensor([[2.0, -7.0], [2.0, 7.0]], requires_grad=True)
    assert not torch.autograd.grad(mean_distance(REAL, fake), fake)[0].any()


def test_only_the_generator_matches():
    terms, real, fake = FeatureMatching(0.5), Seen(None, REAL[:, 0], REAL), Seen(None, FAKE[:, 0], FAKE)
    assert terms.of_discriminator(FAKE, real, fake) == {}
    assert terms.of_generator(FAKE, real, fake)["matching"].item() == pytest.approx(9)


def test_it_pulls_the_fakes_means_to_the_reals():
    torch.manual_seed(0)
    facts = Facts((2,), 0, torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))
    players = feature_matching(Numbers(latent=2, width=16, d_norm="none"), facts)
    rules = Rules(NonSaturating(), terms=players.terms, reward_weight=0.0, compares=True)
    game = Game(players.generator, players.discriminator, rules, Engine(Runtime(device="cpu", precision="fp32"), 0))
    optimizer = torch.optim.Adam(players.generator.parameters(), 1e-2)
    far = torch.randn(64, 2) + 3
    losses = [generator_round(game, *players.dealer.deal(far, torch.zeros(64)), optimizer)["g/loss"] for _ in range(60)]
    assert losses[-1] < losses[0] / 20
