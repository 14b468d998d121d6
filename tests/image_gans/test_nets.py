import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import is_parametrized

from image_gans.conditioning import Append, ConditionalGenerator, ConditionalJudge, ProjectionJudge, Scale
from image_gans.layers import SelfAttention2d, weighted
from image_gans.nets import generator_of, judge_of
from image_gans.nets.parts import Canvas, Flat
from image_gans.nets.r3 import Basis, Block, Probe
from image_gans.nets.resnet import ResNetGenerator
from image_gans.numbers import Numbers
from image_gans.samples import Pair
from rl.penalties import input_gradient
from rl.runtime import InputError

N = Numbers(width=8, latent=6)
NETS = ("mlp", "dcgan", "resnet", "r3")
NORMS = ("none", "batch", "layer", "spectral")
SHAPES = ((1, 8, 8), (3, 16, 16), (1, 32, 32), (2, 64, 64))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("shape", [*SHAPES, (2,), (1,)])
def test_shapes(net, shape):
    n = replace(N, net=net)
    painted = generator_of(n, shape, 5)(draw(3, 5))
    assert painted.shape == (3, *shape)
    judge = judge_of(n, shape)
    verdict = judge.judge(painted)
    assert verdict.logits.shape == (3,)
    assert verdict.features.shape == (3, judge.features)
    assert torch.equal(judge.eval()(painted), judge.judge(painted).logits)


@pytest.mark.parametrize("net", NETS)
def test_pictures_lie_between_black_and_white_and_points_anywhere(net):
    n = replace(N, net=net)
    for shape, bounded in (((1, 8, 8), True), ((2,), False)):
        generator = generator_of(n, shape, 5)
        with torch.no_grad():
            for weight in generator.parameters():
                weight.mul_(300)
        largest = float(generator(draw(9, 5)).detach().abs().max())
        assert (largest <= 1) == bounded


@pytest.mark.parametrize("condition", ["concat", "hadamard", "projection"])
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("shape", [(2, 8, 8), (2,)])
def test_conditional_nets_hear_the_class(condition, net, shape):
    n = replace(N, net=net, condition=condition, d_norm="none")
    generator = ConditionalGenerator(n, shape, 3).eval()
    for weight in generator.parameters():
        nn.init.normal_(weight, std=0.1)  # some start at zero
    projection = condition == "projection"
    judge = ProjectionJudge(judge_of(n, shape), 3) if projection else ConditionalJudge(n, shape, 3)
    z, label, other = draw(4, 6), torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 2, 1])
    painted, instead = generator(Pair(z, label)), generator(Pair(z, other))
    assert painted.x.shape == (4, *shape)
    assert torch.equal(painted.label, label)
    changed = (painted.x != instead.x).flatten(1).any(1)
    assert changed.tolist() == [False, False, False, True]
    x = draw(4, *shape)
    verdict = judge.judge(Pair(x, label))
    assert verdict.features.shape == (4, judge.features)
    assert (verdict.logits != judge(Pair(x, other))).tolist() == [False, False, False, True]


def test_projection_adds_the_product_of_embedding_and_features():
    judge = ProjectionJudge(judge_of(N, (1, 8, 8)), 3).eval()
    x, label = draw(4, 1, 8, 8), torch.tensor([2, 1, 0, 2])
    plain = judge.net.judge(x)
    expected = plain.logits + torch.stack(
        [judge.embed.weight[k] @ f for k, f in zip(label, plain.features, strict=True)]
    )
    torch.testing.assert_close(judge(Pair(x, label)), expected)


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 12, 12), (1, 8, 16)])
@pytest.mark.parametrize("net", NETS[1:])
def test_other_sides_are_refused(net, shape):
    n = replace(N, net=net)
    for build in (lambda: generator_of(n, shape, 5), lambda: judge_of(n, shape)):
        with pytest.raises(ValueError, match="a side of 8, 16, 32"):
            build()


def test_dcgan_has_the_papers_channels():
    generator = generator_of(Numbers(width=128), (3, 64, 64), 100)
    maps = [layer for layer in generator if isinstance(layer, nn.ConvTranspose2d)]
    assert [layer.in_channels for layer in maps] == [1024, 512, 256, 128]  # figure 1
    for layer in (generator[0], *maps):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert abs(layer.weight.mean().item()) < 1e-3
    judge = judge_of(Numbers(width=128), (3, 64, 64))
    assert judge.features == 4 * 4 * 1024
    assert isinstance(judge.body[1], nn.LeakyReLU)  # nothing normalises the first layer


@pytest.mark.parametrize(("net", "first"), [("dcgan", 16), ("resnet", 32), ("r3", 16)])
def test_width_is_that_of_the_largest_maps(net, first):
    seen = {}

    def note(layer, inputs, output):
        if isinstance(output, torch.Tensor) and output.dim() == 4 and output.shape[-1] < 32 + (net == "resnet"):
            seen[output.shape[-1]] = max(seen.get(output.shape[-1], 0), output.shape[1])

    generator = generator_of(replace(N, net=net), (1, 32, 32), 5)
    for block in generator.modules():
        if type(block).__name__ in ("ConvTranspose2d", "Canvas", "UpBlock", "Basis", "Up"):
            block.register_forward_hook(note)
    generator(draw(2, 5))
    sides = sorted(seen, reverse=True)
    assert sides[0] == first
    assert [seen[side] for side in sides] == [8 * 2**k for k in range(len(sides))]
    assert sides[-1] == 4


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("norm", NORMS)
def test_only_batch_norm_looks_at_the_rest_of_the_batch(net, norm):
    for shape in ((2, 16, 16), (3,)):
        judge = judge_of(replace(N, net=net, d_norm=norm), shape).double()
        x = draw(4, *shape).double()
        with parametrize.cached():
            alone = torch.allclose(judge(x)[:2], judge(x[:2]), rtol=1e-9)
        assert alone == (norm != "batch" or (net == "r3" and len(shape) == 3))


@pytest.mark.parametrize("norm", NORMS)
def test_spectral_norm_holds_every_layer_of_a_judge(norm):
    for net in NETS[:-1]:
        judge = ProjectionJudge(judge_of(replace(N, net=net, d_norm=norm, attention=True), (1, 16, 16)), 3)
        bound = [is_parametrized(layer) for layer in weighted(judge)]
        assert all(bound) if norm == "spectral" else not any(bound)
        assert len(bound) >= 4


def slope(judge, x):
    """Squared norm of the gradient, as R1 has it."""
    return input_gradient(judge, x).square().sum()


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("norm", ["none", "layer", "spectral"])
def test_penalties_have_the_right_gradient(net, norm):
    n = replace(N, net=net, d_norm=norm, attention=True)
    judge = judge_of(n, (1, 16, 16)).double().eval()  # no power iterations
    x = draw(2, 1, 16, 16).double()
    weights = list(judge.parameters())
    for weight in weights:
        nn.init.normal_(weight, std=0.2)
    found = torch.autograd.grad(slope(judge, x), weights, allow_unused=True, materialize_grads=True)
    way = [draw(*weight.shape).double() for weight in weights]
    expected = sum((a * b).sum() for a, b in zip(found, way, strict=True))

    def moved(step):
        with torch.no_grad():
            for weight, direction in zip(weights, way, strict=True):
                weight.add_(direction, alpha=step)
        return slope(judge, x).detach()

    step = 1e-7
    up, down = moved(step), moved(-2 * step)
    torch.testing.assert_close((up - down) / (2 * step), expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("net", NETS[1:])
def test_memory_layout_changes_nothing(net):
    n = replace(N, net=net, attention=True)
    nets = nn.ModuleList([generator_of(n, (1, 16, 16), 5), judge_of(n, (1, 16, 16))]).double()
    last = copy.deepcopy(nets).to(memory_format=torch.channels_last)
    results = []
    for generator, judge in (nets, last):
        fake = generator(draw(3, 5).double())
        grads = torch.autograd.grad(judge(fake).sum(), [*generator.parameters(), *judge.parameters()])
        results.append([fake, *grads])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("net", NETS)
def test_bfloat16_is_near(net):
    n = replace(N, net=net, attention=True)
    generator, judge = generator_of(n, (1, 16, 16), 5), judge_of(n, (1, 16, 16))
    z, x = draw(8, 5), draw(8, 1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        near = generator(z).float(), judge(x).float()
    for a, b in zip(near, (generator(z), judge(x)), strict=True):
        assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.999


@pytest.mark.parametrize("net", NETS)
def test_a_state_is_all_there_is(net):
    n = replace(N, net=net, d_norm="spectral")
    builders = (lambda: generator_of(n, (1, 8, 8), 5), lambda: judge_of(n, (1, 8, 8)))
    for build, x in zip(builders, (draw(3, 5), draw(3, 1, 8, 8)), strict=True):
        one, other = build(), build()
        one(x)
        assert not torch.equal(one.eval()(x), other.eval()(x))
        other.load_state_dict(one.state_dict())
        assert torch.equal(one(x), other(x))
        assert torch.equal(copy.deepcopy(one)(x), one(x))


def test_fresh_r3_blocks_change_nothing():
    judge = judge_of(replace(N, net="r3", d_norm="spectral"), (1, 32, 32))
    blocks = [layer for layer in judge.modules() if isinstance(layer, Block)]
    assert len(blocks) == 3
    for block in blocks:
        maps = draw(2, block.body[0].in_channels, 4, 4)
        assert torch.equal(block(maps), maps)
        # He et al.: variance 2 / (1 + slope^2) / inputs; three blocks, 3^-1/4 each
        wanted = (2 / 1.04 / block.body[0].in_channels) ** 0.5 * 3**-0.25
        assert block.body[0].weight.std().item() == pytest.approx(wanted, rel=0.25)


def test_attention_stands_at_half_of_the_side():
    n = replace(N, net="resnet", attention=True)
    sides = []
    for net, x in ((generator_of(n, (1, 32, 32), 5), draw(2, 5)), (judge_of(n, (1, 32, 32)), draw(2, 1, 32, 32))):
        found = [layer for layer in net.modules() if isinstance(layer, SelfAttention2d)]
        assert len(found) == 1
        found[0].register_forward_hook(lambda layer, inputs, output: sides.append(output.shape[-1]))
        net(x)
    assert sides == [16, 16]


def shaken(net):
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.3)
    return net


def test_hierarchical_noise_reaches_the_start_and_every_block():
    net = shaken(ResNetGenerator(7, (1, 16, 16), 4, classes=3, hierarchical=True)).eval()
    assert net.chunks == [3, 2, 2]
    z, label = draw(1, 7), torch.tensor([1])
    seen = []
    for block in net.blocks:
        block.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[1]))
    painted = net(Pair(z, label))
    shared = net.tell.weight[1:2]
    assert torch.equal(seen[0], torch.cat([z[:, 3:5], shared], 1))
    assert torch.equal(seen[1], torch.cat([z[:, 5:], shared], 1))
    for place in range(7):
        moved = z + torch.eye(7)[place]
        assert not torch.equal(net(Pair(moved, label)), painted)
    plain = shaken(ResNetGenerator(7, (1, 16, 16), 4, hierarchical=True)).eval()
    assert plain(z).shape == (1, 1, 16, 16)
    with pytest.raises(InputError, match="--latent 2: cannot be cut into 3 chunks of noise"):
        ResNetGenerator(2, (1, 16, 16), 4, hierarchical=True)


def test_class_batch_norm_reads_the_class_alone():
    net = shaken(ResNetGenerator(7, (1, 16, 16), 4, classes=3)).eval()
    seen = []
    net.blocks[0].register_forward_hook(lambda layer, inputs, output: seen.append(inputs[1]))
    net(Pair(draw(2, 7), torch.tensor([2, 0])))
    assert seen[0].tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_canvas_lies_as_channels_last_and_flat_undoes_it():
    canvas, z = Canvas(5, 3, 4), draw(2, 5)
    maps = canvas(z)
    assert maps.shape == (2, 3, 4, 4)
    assert maps.is_contiguous(memory_format=torch.channels_last)
    rows = nn.functional.linear(z, canvas.weight, canvas.bias)
    assert torch.equal(Flat()(maps), rows)
    assert torch.equal(maps[:, 1, 2, 3], rows[:, (2 * 4 + 3) * 3 + 1])


def test_two_convolutions_are_left_for_the_smallest_pictures():
    judge = judge_of(N, (1, 8, 8))
    assert judge.features == 2 * 2 * 16
    convolutions = [layer for layer in judge.body if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [(1, 8), (8, 16)]


def test_a_probe_is_a_convolution_channel_by_channel():
    probe, maps = Probe(3), draw(2, 3, 4, 4)
    expected = nn.functional.conv2d(maps, probe.maps[:, None], groups=3).flatten(1)
    torch.testing.assert_close(probe(maps), expected)


def test_a_basis_is_scaled_by_the_noise():
    basis, z = Basis(5, 3), draw(2, 5)
    torch.testing.assert_close(basis(z)[1, 2], basis.maps[2] * basis.linear(z)[1, 2])


def test_ways_to_tell_the_class():
    label = torch.tensor([2, 0])
    tell, x = Append(3, (2, 4, 4)), draw(2, 2, 4, 4)
    told = tell(Pair(x, label))
    assert tell.shape == told.shape[1:] == (3, 4, 4)
    assert torch.equal(told[:, :2], x)
    assert torch.equal(told[0, 2].flatten(), tell.embed.weight[2])
    tell, row = Append(3, (5,)), draw(2, 5)
    assert torch.equal(tell(Pair(row, label)), torch.cat([row, tell.embed.weight[[2, 0]]], 1))
    assert tell.shape == (5 + 32,)
    tell = Scale(3, (2, 4, 4))
    assert torch.equal(tell(Pair(x, label))[1].flatten(), x[1].flatten() * tell.embed.weight[0])
