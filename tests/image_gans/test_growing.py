import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from image_gans.growing import Coarse, Drift, depth_at, progressive
from image_gans.judging import Seen
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.layers import DownConv2d
from image_gans.nets.growing import Depth, GrowingGenerator, GrowingJudge, coarse, doubled, equalised, halved
from image_gans.numbers import Facts, Numbers
from rl import GradientPenalty, Wasserstein, input_gradient
from rl.runtime import Average, Engine, Runtime

SHAPE = (1, 32, 32)
BARELY = 2.0**-20


def pictures(rows: int = 3, side: int = 32) -> Tensor:
    torch.manual_seed(7)
    return torch.randn(rows, 1, side, side)


def generator() -> GrowingGenerator:
    torch.manual_seed(0)
    return GrowingGenerator(8, SHAPE, 2)


def judge() -> GrowingJudge:
    torch.manual_seed(1)
    return GrowingJudge(SHAPE, 2)


def test_the_schedule_by_hand() -> None:
    # three levels in 60 % of a run: each is kept for a tenth and fades in for a tenth
    shares = [0.0, 0.1, 0.15, 0.2, 0.3, 0.35, 0.45, 0.5, 0.55, 0.6, 0.8, 1.0]
    depths = [0.0, 0.0, 0.5, 1.0, 1.0, 1.5, 2.0, 2.0, 2.5, 3.0, 3.0, 3.0]
    assert_close([depth_at(share, 3, 0.6) for share in shares], depths)


@given(st.integers(1, 6), st.floats(0.05, 1), st.floats(0, 1), st.floats(0, 1))
def test_nets_never_shrink_or_outgrow_themselves(levels: int, growing: float, a: float, b: float) -> None:
    before, after = (depth_at(share, levels, growing) for share in sorted((a, b)))
    assert 0 <= before <= after + 1e-9
    assert after <= levels
    assert depth_at(1.0, levels, growing) == levels


@pytest.mark.parametrize(("depth", "side"), [(0.0, 4), (0.2, 8), (1.0, 8), (1.01, 16), (2.0, 16), (2.5, 32), (3.0, 32)])
def test_all_players_meet_at_one_side(depth: float, side: int) -> None:
    paint, look = generator(), judge()
    paint.depth.set(depth)
    look.depth.set(depth)
    assert paint(torch.randn(3, 8)).shape == (3, 1, side, side)
    assert coarse(pictures(), paint.depth).shape == (3, 1, side, side)
    verdict = look.judge(coarse(pictures(), look.depth))
    assert verdict.logits.shape == (3,)
    assert verdict.features.shape == (3, look.features)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_level_that_fades_in_begins_as_the_net_without_it(level: int) -> None:
    paint, look = generator(), judge()
    noise, small = torch.randn(3, 8), pictures(3, 4 * 2**level)
    with torch.no_grad():
        paint.depth.set(level)
        look.depth.set(level)
        painted, judged = paint(noise), look(small)
        paint.depth.set(level + BARELY)
        look.depth.set(level + BARELY)
        assert_close(paint(noise), doubled(painted), atol=1e-4, rtol=0)
        assert_close(look(doubled(small)), judged, atol=1e-4, rtol=0)
        assert_close(coarse(pictures(), paint.depth), doubled(coarse(pictures(), depth(level))), atol=1e-4, rtol=0)


def test_a_level_counts_for_its_share() -> None:
    paint, noise = generator(), torch.randn(2, 8)
    with torch.no_grad():
        at = {}
        for value in (1.0, 1.25, 2.0):
            paint.depth.set(value)
            at[value] = paint(noise)
    assert_close(at[1.25], 0.75 * doubled(at[1.0]) + 0.25 * at[2.0])
    full, half = pictures(), doubled(halved(pictures()))
    assert_close(coarse(full, depth(2.25)), 0.75 * half + 0.25 * full)
    assert_close(coarse(full, depth(3.0)), full, atol=0, rtol=0)


@pytest.mark.parametrize("value", [-0.1, 3.1, float("nan")])
def test_a_depth_beyond_the_net_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="a net of 3 levels has no depth"):
        depth(0).set(value)


def test_copies_and_checkpoints_know_the_depth() -> None:
    paint = generator()
    average = Average(paint, 0.5)
    paint.depth.set(1.75)
    average.update(paint)
    assert average.net(torch.randn(2, 8)).shape == (2, 1, 16, 16)
    again = generator()
    again.load_state_dict(copy.deepcopy(paint.state_dict()))
    assert again.depth.value.item() == 1.75


@pytest.mark.slow
@torch.no_grad()
def test_compiled_nets_grow_too() -> None:
    paint, look = generator(), judge()
    fast_paint, fast_look = (torch.compile(net, backend="eager") for net in (paint, look.judge))
    noise = torch.randn(2, 8)
    for value in (0.3, 1.0, 2.4):
        paint.depth.set(value)
        look.depth.set(value)
        assert_close(fast_paint(noise), paint(noise))
        assert_close(fast_look(paint(noise)), look.judge(paint(noise)))


def test_pictures_are_shown_whole() -> None:
    paint = generator()
    dealer = Coarse(8, 32, paint.depth)
    paint.depth.set(1)
    latent = dealer.free(3, None, torch.device("cpu"))
    shown = dealer.show(paint, latent)
    assert shown.shape == (3, 1, 32, 32)
    assert_close(shown, doubled(doubled(paint(latent))), atol=0, rtol=0)
    deal = dealer.deal(pictures(), torch.zeros(3, dtype=torch.int64))
    assert deal.latent.shape == (3, 8)
    assert_close(deal.real, coarse(pictures(), paint.depth))


def test_drift_by_hand() -> None:
    real = Seen(None, torch.tensor([1.0, -3.0]), torch.empty(2, 0))
    fake = Seen(None, torch.tensor([9.0, 9.0]), torch.empty(2, 0))
    assert_close(Drift(0.5).of_discriminator(None, real, fake), {"drift": torch.tensor(2.5)})
    assert Drift(0.5).of_generator(None, real, fake) == {}


@pytest.mark.parametrize("side", [8, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_nets_take_any_picture(side: int, channels: int) -> None:
    paint, look = GrowingGenerator(5, (channels, side, side), 2), GrowingJudge((channels, side, side), 2)
    for net in (paint, look):
        net.depth.set(net.depth.levels)
    painted = paint(torch.randn(2, 5))
    assert painted.shape == (2, channels, side, side)
    assert look(painted).shape == (2,)


@pytest.mark.parametrize("shape", [(1, 12, 12), (1, 4, 4), (1, 16, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="8, 16, 32"):
        GrowingGenerator(5, shape, 2)


@pytest.mark.parametrize("value", [0.0, 0.5, 3.0])
def test_a_game_grows_and_all_its_living_weights_learn(value: float) -> None:
    n = Numbers(latent=8, width=2, growing=0.6, term_weight=0.001)
    torch.manual_seed(0)
    players = progressive(n, Facts(SHAPE, 0, torch.empty(0), torch.empty(0)))
    engine = Engine(Runtime(device="cpu", precision="fp32"), 0)
    rules = Rules(Wasserstein(), GradientPenalty(), players.terms)
    game = Game(players.generator, players.discriminator, rules, engine)
    players.grow({0.0: 0.05, 0.5: 0.15, 3.0: 1.0}[value])
    assert players.discriminator.depth.value.item() == pytest.approx(value)
    assert players.generator.depth.value.item() == pytest.approx(value)
    learns = {"d": players.discriminator, "g": players.generator}
    optimizers = {name: torch.optim.SGD(net.parameters(), 0.01) for name, net in learns.items()}
    before = {name: copy.deepcopy(net.state_dict()) for name, net in learns.items()}
    real, latent = players.dealer.deal(pictures(8), torch.zeros(8, dtype=torch.int64))
    logged = discriminator_round(game, real, latent, optimizers["d"])
    logged |= generator_round(game, real, latent, optimizers["g"])
    assert {"d/drift", "d/penalty", "g/reward"} <= set(logged)
    for name, net in learns.items():
        moved = {key for key, now in net.state_dict().items() if not torch.equal(now, before[name][key])}
        expected = {key for key, _ in net.named_parameters() if alive(key, value)}
        assert moved == expected, name


def alive(key: str, depth: float) -> bool:
    """Whether a net of this depth uses a weight."""
    kind, index, *_ = key.split(".")
    match kind:
        case "paints" | "reads":
            return int(index) in (math.ceil(depth), math.floor(depth))
        case "blocks":
            return int(index) < depth
    return True


def test_equalised_convolutions_keep_the_variance_with_weights_of_unit_variance() -> None:
    torch.manual_seed(0)
    conv, maps = equalised(DownConv2d(16, 64)), torch.randn(8, 16, 32, 32)
    assert conv.parametrizations.weight.original.std().item() == pytest.approx(1, abs=0.03)
    # the mean of four places of unit variance that are convolved by one kernel, before the ReLU's gain of 2
    whole = F.conv2d(maps, conv.weight, padding=1)
    assert whole.var().item() == pytest.approx(2, abs=0.1)
    assert_close(conv(maps), halved(whole), atol=1e-4, rtol=1e-4)


def test_the_judge_has_a_second_derivative() -> None:
    look = judge().double()
    look.depth.set(1.5)
    small = pictures(3, 16).double()
    gradient = input_gradient(look, small)
    assert gradient.abs().sum() > 0
    (second,) = torch.autograd.grad(gradient.square().sum(), [look.logit.weight])
    assert second.abs().sum() > 0


def depth(value: float) -> Depth:
    """Three levels."""
    made = Depth(3)
    made.set(value)
    return made
