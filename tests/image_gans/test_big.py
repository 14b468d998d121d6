import math

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized
from torch.testing import assert_close

from image_gans.big import Orthogonal, Truncated, attentive, big, matrices, overlap
from image_gans.judging import Seen
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.layers import UpConv2d, spectral, weighted
from image_gans.numbers import Facts, Numbers
from image_gans.players import Build
from image_gans.samples import Pair
from rl import NonSaturating
from rl.runtime import Average, Engine, Runtime

FACTS = Facts((1, 16, 16), 5, torch.empty(0), torch.empty(0))
NUMBERS = Numbers(
    net="resnet", latent=12, width=8, d_norm="spectral", condition="projection", attention=True, bound=1.5
)
CPU = torch.device("cpu")
NOTHING = Seen(None, torch.empty(0), torch.empty(0, 0))


def latents(rows: int = 6) -> Pair:
    torch.manual_seed(3)
    return Pair(torch.randn(rows, 12), torch.arange(rows) % 5)


def awaken(net: nn.Module) -> nn.Module:
    """Let attention and conditions count, which start from nothing."""
    for name, weight in net.named_parameters():
        if name.endswith(("gain", "shift")):
            nn.init.normal_(weight)
    return net


def test_overlap_by_hand() -> None:
    # products of rows: 1*3 + 2*4 = 11 twice, 3 and 4 against (1, 0): 1 and 3, twice each
    assert overlap(torch.tensor([[1.0, 2.0], [3.0, 4.0], [1.0, 0.0]])).item() == 2 * (11**2 + 1 + 3**2)
    assert overlap(torch.diag(torch.tensor([1.0, -7.0, 3.0]))).item() == 0


def test_orthogonal_adds_up_all_layers_as_outputs_by_inputs_or_the_other_way_round_where_these_are_fewer() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), UpConv2d(3, 4), nn.BatchNorm2d(4), nn.Linear(4, 2), nn.Linear(2, 7))
    shapes = [matrix.shape for matrix in matrices(net)]
    assert shapes == [(3, 18), (4, 27), (2, 4), (2, 7)]
    by_hand = 0.0
    for layer in (net[0].weight, net[1].weight.transpose(0, 1), net[3].weight, net[4].weight.T):
        rows = layer.flatten(1).tolist()
        for i, a in enumerate(rows):
            for j, b in enumerate(rows):
                by_hand += (i != j) * sum(x * y for x, y in zip(a, b, strict=True)) ** 2
    term = Orthogonal(0.5, net)
    assert_close(term.of_generator(None, NOTHING, NOTHING)["orthogonal"].item(), 0.5 * by_hand)
    assert term.of_discriminator(None, NOTHING, NOTHING) == {}
    spectral(net)
    assert_close(term.of_generator(None, NOTHING, NOTHING)["orthogonal"].item(), 0.5 * by_hand)


def test_orthogonal_makes_rows_orthogonal() -> None:
    torch.manual_seed(0)
    net = nn.Linear(8, 6)
    optimizer, term = torch.optim.SGD(net.parameters(), 0.05), Orthogonal(1.0, net)
    for _ in range(200):
        optimizer.zero_grad()
        term.of_generator(None, NOTHING, NOTHING)["orthogonal"].backward()
        optimizer.step()
    assert term.of_generator(None, NOTHING, NOTHING)["orthogonal"] < 1e-6
    assert net.weight.norm(dim=1).min() > 0.1


def test_what_is_shown_is_drawn_near_the_middle_what_is_learned_from_is_not() -> None:
    torch.manual_seed(0)
    dealer = Truncated(12, 5, 0.5)
    shown = dealer.free(500, None, CPU)
    assert shown.x.abs().max() <= 0.5
    assert shown.label.unique().tolist() == [0, 1, 2, 3, 4]
    assert dealer.free(2, torch.tensor([3, 1]), CPU).label.tolist() == [3, 1]
    labels = torch.arange(500) % 5
    deal = dealer.deal(torch.zeros(500, 1, 1, 1), labels)
    assert deal.latent.x.abs().max() > 2
    assert torch.equal(deal.latent.label, labels)
    assert torch.equal(deal.real.label, labels)


@pytest.mark.parametrize("build", [attentive, big])
def test_both_players_are_bounded_and_stay_so(build: Build) -> None:
    torch.manual_seed(0)
    players = build(NUMBERS, FACTS)
    for net in (players.generator, players.discriminator):
        free = [type(layer) for layer in weighted(net) if not is_parametrized(layer)]
        assert free == ([nn.Embedding] if build is big and net is players.generator else [])
    for _ in range(30):  # power iterations
        painted = players.generator(latents())
    with torch.no_grad():
        for layer in weighted(players.generator):
            if is_parametrized(layer):
                rows = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
                assert torch.linalg.matrix_norm(rows.flatten(1), 2).item() == pytest.approx(1, abs=0.05)
    assert painted.x.shape == (6, 1, 16, 16)
    assert torch.equal(painted.label, latents().label)


@pytest.mark.parametrize("build", [attentive, big])
def test_a_game_moves_every_weight(build: Build) -> None:
    torch.manual_seed(0)
    players = build(NUMBERS, FACTS)
    engine = Engine(Runtime(device="cpu", precision="fp32"), 0)
    game = Game(players.generator, players.discriminator, Rules(NonSaturating(), terms=players.terms), engine)
    real, latent = players.dealer.deal(torch.randn(10, *FACTS.shape), torch.arange(10) % 5)
    for play, net in ((discriminator_round, players.discriminator), (generator_round, players.generator)):
        awaken(net)
        before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
        logged = play(game, real, latent, torch.optim.SGD(net.parameters(), 10.0))
        still = [name for name, weight in net.named_parameters() if torch.equal(weight, before[name])]
        assert still == []
        assert all(math.isfinite(value.item()) for value in logged.values())


def test_the_class_and_every_chunk_of_the_noise_count() -> None:
    torch.manual_seed(0)
    net = awaken(big(NUMBERS, FACTS).generator).eval()
    latent = latents()
    other = latent._replace(label=latent.label.roll(1))
    with torch.no_grad():
        painted = net(latent).x
        assert not torch.allclose(net(other).x, painted, atol=1e-4)
        for at in range(0, 12, 4):  # start, 8 x 8, 16 x 16
            noise = latent.x.clone()
            noise[:, at : at + 4] += 1
            assert not torch.allclose(net(latent._replace(x=noise)).x, painted, atol=1e-4)


@pytest.mark.parametrize("build", [attentive, big])
def test_an_average_of_the_whole_run_paints_as_the_net_does(build: Build) -> None:
    torch.manual_seed(0)
    net = build(NUMBERS, FACTS).generator
    average = Average(net, 0.0)
    net(latents())  # moves running statistics and power iterations
    average.update(net)
    assert_close(average.net(latents()).x, net.eval()(latents()).x)
