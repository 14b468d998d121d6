from dataclasses import replace

import pytest
import torch
from torch import nn

from image_gans.conditioning import ConditionalGenerator, ConditionalJudge, ProjectionJudge
from image_gans.nets import generator_of, judge_of
from image_gans.numbers import Numbers
from image_gans.samples import Pair

N = Numbers(width=8, latent=6)
NETS = ("mlp", "dcgan", "resnet", "r3")
NORMS = ("none", "batch", "layer", "spectral")
SHAPES = ((1, 8, 8), (3, 16, 16), (1, 32, 32), (2, 64, 64))


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


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
