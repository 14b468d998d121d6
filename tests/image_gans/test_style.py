import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.layers import UpConv2d
from image_gans.nets.growing import doubled
from image_gans.nets.style import (
    Crossed,
    ResidualHalving,
    StyledConv,
    StyledPaint,
    StyleGenerator,
    StyleJudge,
    enlarged,
)
from image_gans.numbers import Facts, Numbers
from image_gans.style import Mixing, styled
from rl import R1, Every, NonSaturating, input_gradient
from rl.runtime import Engine, Runtime

SHAPE = (1, 32, 32)
CPU = torch.device("cpu")


def generator() -> StyleGenerator:
    """Four levels: 4, 8, 16, 32."""
    torch.manual_seed(0)
    return StyleGenerator(8, SHAPE, 4)


def crossed(crossing: list[int]) -> Crossed:
    torch.manual_seed(1)
    return Crossed(torch.randn(len(crossing), 8), torch.randn(len(crossing), 8), torch.tensor(crossing))


def same(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


def test_a_styled_convolution_is_one_with_weights_of_its_own_for_every_picture() -> None:
    torch.manual_seed(0)
    conv = StyledConv(same(3, 5), 4).double()
    maps, style = torch.randn(2, 3, 6, 6).double(), torch.randn(2, 4).double()
    by_hand = []
    for one, scale in zip(maps, conv.affine(style), strict=True):
        weight = conv.conv.weight * scale[:, None, None]
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        by_hand.append(2**0.5 * F.leaky_relu(F.conv2d(one[None], weight, padding=1), 0.2))
    assert_close(conv(maps, style), torch.cat(by_hand))


def test_a_styled_convolution_that_doubles_the_side_normalises_the_same_way() -> None:
    torch.manual_seed(0)
    up, plain = StyledConv(UpConv2d(3, 5, bias=False), 4).double(), StyledConv(same(3, 5), 4).double()
    plain.affine = up.affine
    with torch.no_grad():
        plain.conv.weight.copy_(up.conv.weight.transpose(0, 1).flip(2, 3))
    maps, style = torch.randn(2, 3, 6, 6).double(), torch.randn(2, 4).double()
    assert_close(up(maps, style), plain(doubled(maps), style))


def test_what_a_styled_convolution_gives_keeps_its_variance_whatever_the_style() -> None:
    torch.manual_seed(0)
    conv, maps = StyledConv(same(16, 64), 4), torch.randn(8, 16, 32, 32)
    for strength in (0.1, 1.0, 30.0):
        # E leaky(x)^2 = (1 + 0.2^2) / 2 for x of N(0, 1), times the gain's square; the edges see fewer taps
        inner = conv(maps, strength * torch.randn(8, 4))[:, :, 1:-1, 1:-1]
        assert abs(inner.square().mean().item() - 1.04) < 0.05


def test_noise_is_the_same_for_all_channels_of_a_place_and_absent_at_first() -> None:
    torch.manual_seed(0)
    conv, maps, style = StyledConv(same(2, 3), 4), torch.randn(1, 2, 5, 5), torch.randn(1, 4)
    assert_close(conv(maps, style), conv(maps, style), atol=0, rtol=0)
    with torch.no_grad():
        conv.strength.fill_(2.0)
        conv.conv.weight.zero_()
        noise = conv(maps, style)
    assert_close(noise[:, 0], noise[:, 2])
    assert noise[0, 0].std() > 0.5
    conv(maps, style).sum().backward()
    assert conv.strength.grad is not None
    assert conv.strength.grad.abs() > 0


def test_painting_scales_but_does_not_normalise() -> None:
    torch.manual_seed(0)
    paint = StyledPaint(3, 1, 4)
    maps, style = torch.randn(2, 3, 4, 4), torch.randn(2, 4)
    scaled = maps * paint.affine(style)[:, :, None, None]
    assert_close(paint(maps, style), F.conv2d(scaled, paint.conv.weight / 3**0.5))


def test_enlarging_weighs_its_neighbours_3_to_1() -> None:
    wide = enlarged(torch.tensor([[[[0.0, 4.0], [0.0, 4.0]]]]))
    assert_close(wide[0, 0, 0], torch.tensor([0.0, 1.0, 3.0, 4.0]))


@pytest.mark.parametrize("crossing", [1, 2, 3])
def test_mixing_takes_what_is_coarse_from_the_first_and_what_is_fine_from_the_second(crossing: int) -> None:
    net = generator().eval()
    latent = crossed([crossing] * 3)
    mixed = net.styles(latent)
    first, second = (net.styles(Crossed(z, z, latent.crossing)) for z in latent[:2])
    assert_close(mixed, torch.cat([first[:, :crossing], second[:, crossing:]], 1), atol=0, rtol=0)
    swapped = net.styles(Crossed(latent.second, latent.first, latent.crossing))
    assert_close(swapped, torch.cat([second[:, :crossing], first[:, crossing:]], 1), atol=0, rtol=0)
    assert_close(net(latent), net.paint(mixed))


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_style_acts_from_its_level_on(level: int) -> None:
    net = generator().eval()
    seen: list[Tensor] = []
    for paint in net.paints:
        paint.register_forward_hook(lambda _net, _inputs, painted: seen.append(painted))
    styles = net.styles(crossed([4, 4]))
    changed = styles.clone()
    changed[:, level] += 1
    with torch.no_grad():
        net.paint(styles)
        net.paint(changed)
    same = [torch.equal(a, b) for a, b in zip(seen[:4], seen[4:], strict=True)]
    assert same == [at < level for at in range(4)]


def test_one_latent_may_paint_it_all() -> None:
    net = generator().eval()
    latent = crossed([4, 4])
    other = latent._replace(second=torch.randn(2, 8))
    assert_close(net(latent), net(other), atol=0, rtol=0)
    assert not torch.equal(net(latent), net(latent._replace(crossing=torch.tensor([3, 3]))))


def test_the_average_style_is_followed_in_training_alone() -> None:
    net, latent = generator(), crossed([4] * 6)
    style = net.eval().styles(latent)[:, 0].mean(0)
    assert_close(net.average, torch.zeros(8))
    net.train()
    net(latent)
    net(latent)
    assert_close(net.average, (1 - 0.995**2) * style)
    assert "average" in net.state_dict()


def test_truncation_draws_styles_towards_the_average() -> None:
    net = generator().eval()
    net.average.normal_()
    latent = crossed([4, 4])
    styles = net.styles(latent)
    shown = {psi: Mixing(8, 4, 0.9, psi).show(net, latent) for psi in (0.0, 0.25, 1.0)}
    assert_close(shown[1.0], net(latent))
    assert_close(shown[0.25], net.paint(0.75 * net.average + 0.25 * styles))
    assert_close(shown[0.0][0], shown[0.0][1])


def test_a_share_of_the_pictures_in_training_has_two_latents() -> None:
    torch.manual_seed(0)
    pictures, labels = torch.zeros(4_000, 1, 1, 1), torch.zeros(4_000, dtype=torch.int64)
    deal = Mixing(8, 4, 0.6, 1.0).deal(pictures, labels)
    assert deal.real is pictures
    counts = torch.bincount(deal.latent.crossing, minlength=5) / 4_000
    assert_close(counts, torch.tensor([0.0, 0.2, 0.2, 0.2, 0.4]), atol=0.03, rtol=0)  # 4 deviations
    assert not torch.equal(deal.latent.first, deal.latent.second)
    assert Mixing(8, 4, 0.6, 1.0).free(5, None, CPU).crossing.tolist() == [4] * 5


@pytest.mark.parametrize("side", [8, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_nets_take_any_picture(side: int, channels: int) -> None:
    shape = (channels, side, side)
    paint, look = StyleGenerator(5, shape, 2), StyleJudge(shape, 2)
    painted = paint(Crossed(torch.randn(2, 5), torch.randn(2, 5), torch.tensor([1, 2])))
    assert painted.shape == (2, *shape)
    verdict = look.judge(painted)
    assert verdict.logits.shape == (2,)
    assert verdict.features.shape == (2, look.features)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="8, 16, 32"):
        StyleGenerator(5, (1, 12, 12), 2)


def test_a_residual_block_adds_its_shortcut() -> None:
    torch.manual_seed(0)
    block, maps = ResidualHalving(3, 4), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        block.body[2].bias.zero_()
        block.body[2].parametrizations.weight.original.zero_()
        assert_close(block(maps), F.conv2d(F.avg_pool2d(maps, 2), block.shortcut.weight / 3**0.5) / 2**0.5)


def test_the_judge_has_a_second_derivative() -> None:
    torch.manual_seed(0)
    look = StyleJudge(SHAPE, 2).double()
    gradient = input_gradient(look, torch.randn(4, *SHAPE).double())
    (second,) = torch.autograd.grad(gradient.square().sum(), [look.body[0].weight])
    assert second.abs().sum() > 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_game_moves_every_weight(precision: str) -> None:
    torch.manual_seed(0)
    players = styled(Numbers(latent=8, width=2), Facts(SHAPE, 0, torch.empty(0), torch.empty(0)))
    engine = Engine(Runtime(device="cpu", precision=precision), 0)
    rules = Rules(NonSaturating(), Every(16, R1(0.1)), players.terms)
    game = Game(players.generator, players.discriminator, rules, engine)
    real, latent = players.dealer.deal(torch.randn(8, *SHAPE), torch.zeros(8, dtype=torch.int64))
    for play, net in ((discriminator_round, players.discriminator), (generator_round, players.generator)):
        before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
        play(game, real, latent, torch.optim.SGD(net.parameters(), 1.0))
        still = [name for name, weight in net.named_parameters() if torch.equal(weight, before[name])]
        assert still == []
    latent = players.dealer.free(2, None, CPU)
    with torch.no_grad(), engine.autocast():
        assert players.dealer.show(players.generator.eval(), latent).shape == (2, *SHAPE)
