import math

import pytest
import torch
from torch import nn

from image_gans.dirac import InstanceNoise, Point, Slope, dirac, eigenvalues, field, radius
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.numbers import Facts, Numbers
from image_gans.players import Examined
from image_gans.variants import VARIANTS, numbers_for
from rl.objectives import (
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Objective,
    Relativistic,
    Wasserstein,
)
from rl.penalties import R1, R2, GradientPenalty, NoPenalty, Penalty, Sum
from rl.runtime import Engine, InputError, Runtime

PLACES = torch.tensor([[1.0, 1.0], [-0.5, 2.0], [0.3, -1.7], [-2.0, -0.1]], dtype=torch.float64)
SMOOTH = [Minimax(), NonSaturating(), Wasserstein(), LeastSquares(), Hinge(), Relativistic()]


def test_field_by_hand() -> None:
    theta, psi = PLACES.T
    d = torch.sigmoid(theta * psi)
    expected = {
        Minimax(): (d * psi, -d * theta),
        NonSaturating(): ((1 - d) * psi, -d * theta),
        Wasserstein(): (psi, -theta),
        # reward -(l - 1)^2 / 2, loss 1 / 2 + l^2 / 2
        LeastSquares(): ((1 - theta * psi) * psi, -theta * psi * theta),
        # softplus(fake - real) and log sigmoid(fake - real): the real logit is 0
        Relativistic(): ((1 - d) * psi, -d * theta),
    }
    for objective, columns in expected.items():
        torch.testing.assert_close(field(objective, NoPenalty(), PLACES), torch.stack(columns, 1))


def test_penalties_by_hand() -> None:
    psi = PLACES[:, 1]
    pulls = {
        R1(3.0): 3 * psi,
        R2(3.0): 3 * psi,
        Sum([R1(1.0), R2(2.0)]): 3 * psi,
        GradientPenalty(3.0): 6 * (psi.abs() - 1) * psi.sign(),
    }
    for penalty, pull in pulls.items():
        change = field(Minimax(), penalty, PLACES) - field(Minimax(), NoPenalty(), PLACES)
        torch.testing.assert_close(change[:, 1], -pull, rtol=1e-5, atol=1e-6)
        assert change[:, 0].abs().max() < 1e-12


@pytest.mark.parametrize("objective", SMOOTH, ids=lambda objective: type(objective).__name__)
@pytest.mark.parametrize("penalty", [NoPenalty(), R1(0.7), GradientPenalty(0.7)], ids=lambda p: type(p).__name__)
def test_the_rounds_follow_the_field(objective: Objective, penalty: Penalty) -> None:
    """A round changes one player; with a small step it goes where the field points."""
    rate = 0.01
    for theta, psi in PLACES.float().tolist():
        point, slope = Point(theta), Slope(psi)
        rules = Rules(objective, penalty, compares=True)
        game = Game(point, slope, rules, Engine(Runtime(device="cpu", precision="fp32"), seed=0))
        real, latent = torch.zeros(5, 1), torch.randn(5, 2)
        before = torch.tensor([[theta, psi]])
        discriminator_round(game, real, latent, torch.optim.SGD(slope.parameters(), rate))
        assert point.theta.item() == pytest.approx(theta)
        moved = psi + rate * float(field(objective, penalty, before)[0, 1])
        assert slope.psi.item() == pytest.approx(moved, abs=1e-6)
        generator_round(game, real, latent, torch.optim.SGD(point.parameters(), rate))
        middle = torch.tensor([[theta, slope.psi.item()]])
        assert slope.psi.item() == pytest.approx(moved, abs=1e-6)
        assert point.theta.item() == pytest.approx(
            theta + rate * float(field(objective, penalty, middle)[0, 0]), abs=1e-6
        )


@pytest.mark.parametrize("gamma", [0.0, 0.4, 1.0, 2.5])
@pytest.mark.parametrize("penalty", [R1, R2])
def test_eigenvalues_are_the_papers(gamma: float, penalty: type[R1 | R2]) -> None:
    root = complex(gamma**2 - 1) ** 0.5
    expected = sorted([(-gamma + root) / 2, (-gamma - root) / 2], key=lambda z: (z.real, z.imag))
    for objective in (Minimax(), NonSaturating(), Relativistic()):
        found = sorted(eigenvalues(objective, penalty(gamma)).tolist(), key=lambda z: (round(z.real, 5), z.imag))
        # twice the same eigenvalue is found to the root of the precision only
        assert found == pytest.approx(expected, abs=2e-4 if gamma == 1 else 1e-6)


def test_minimax_goes_round_and_non_saturating_comes_nearer() -> None:
    """Along the minimax field the radius stays; with the other reward it falls as theta psi tanh(theta psi / 2)."""
    for objective, falls in ((Minimax(), 0.0), (NonSaturating(), 1.0)):
        along = (field(objective, NoPenalty(), PLACES) * PLACES).sum(1)
        product = PLACES.prod(1)
        torch.testing.assert_close(along, -falls * product * torch.tanh(product / 2))


def test_radius() -> None:
    assert float(radius(torch.tensor([3.0, -4.0]))) == 5
    assert radius(torch.zeros(7, 2, 2)).shape == (7, 2)


def test_noise_is_added_to_every_number() -> None:
    torch.manual_seed(0)
    x = torch.full((20_000, 1), 2.0)
    noised = InstanceNoise(0.5)(x)
    # five standard errors: 0.5 / sqrt(20,000) of the mean, 0.5 / sqrt(40,000) of the deviation
    assert float(noised.mean()) == pytest.approx(2, abs=5 * 0.5 / math.sqrt(20_000))
    assert float(noised.std()) == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(40_000))
    assert float(InstanceNoise(0.0)(x).max()) == 2


def test_the_row_plays_two_parameters_on_the_origin() -> None:
    numbers = numbers_for("dirac", "points", "default")
    facts = Facts((1,), 0, torch.zeros(10, 1), torch.zeros(10, dtype=torch.int64))
    players = VARIANTS["dirac"].build(numbers, facts)
    nets: list[nn.Module] = [players.generator, players.discriminator]
    assert [sum(weight.numel() for weight in net.parameters()) for net in nets] == [1, 1]
    deal = players.dealer.deal(facts.images, facts.labels)
    assert players.dealer.show(players.generator, deal.latent).tolist() == [[1.0]] * 10
    nets[0].theta.data.fill_(3.0)
    nets[1].psi.data.fill_(-4.0)
    seen = Examined(players.generator, players.discriminator, facts.images, facts.labels, lambda x: x)
    assert players.probe(seen) == {"theta": 3, "psi": -4, "radius": 5}
    with pytest.raises(InputError, match="single numbers"):
        dirac(Numbers(), facts._replace(shape=(1, 8, 8)))
