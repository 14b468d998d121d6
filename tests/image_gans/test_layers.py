import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from image_gans.layers import (
    ConditionalBatchNorm2d,
    DownConv2d,
    EqualisedConv2d,
    EqualisedLinear,
    MinibatchDiscrimination,
    MinibatchStd,
    PixelNorm,
    Referring,
    SelfAttention2d,
    UpConv2d,
    VirtualBatchNorm2d,
    refresh_statistics,
    spectral,
    weighted,
)


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def shaken(net):
    """Weights drawn anew: some start at zero."""
    for weight in net.parameters():
        nn.init.normal_(weight)
    return net.double()


def test_up_is_repetition_then_convolution():
    layer, x = shaken(UpConv2d(3, 2)), draw(2, 3, 5, 4)
    repeated = F.interpolate(x, scale_factor=2)
    expected = F.conv_transpose2d(repeated, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected)
    flipped = layer.weight.flip(2, 3).transpose(0, 1)
    torch.testing.assert_close(expected, F.conv2d(repeated, flipped, layer.bias, padding=1))


def test_down_is_convolution_then_average():
    layer, x = shaken(DownConv2d(3, 2)), draw(2, 3, 6, 4)
    expected = F.avg_pool2d(F.conv2d(x, layer.weight, layer.bias, padding=1), 2)
    torch.testing.assert_close(layer(x), expected)


def test_spectral_norm_bounds_every_layer_once_in_a_step():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), UpConv2d(4, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    net = spectral(net.append(nn.Embedding(3, 2))).double()
    layers = list(weighted(net))
    assert len(layers) == 4
    assert spectral(net) is net  # and a second time changes nothing
    assert all(len(layer.parametrizations.weight) == 1 for layer in layers)
    for _ in range(50):
        weights = [layer.weight for layer in layers]
    for layer, weight in zip(layers, weights, strict=True):
        rows = weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight
        assert torch.linalg.matrix_norm(rows.flatten(1), 2).item() == pytest.approx(1, rel=1e-3)
    state = layers[0].parametrizations.weight[0]
    nn.init.normal_(layers[0].parametrizations.weight.original)
    before = state._u.clone()
    with parametrize.cached():
        first, second = layers[0].weight, layers[0].weight
    assert first is second
    moved = state._u.clone()
    assert not torch.equal(before, moved)
    net.eval()
    _ = layers[0].weight
    assert torch.equal(moved, state._u)


def test_conditional_batch_norm_starts_as_batch_norm():
    x, condition = draw(4, 3, 5, 5), draw(4, 2)
    layer, plain = ConditionalBatchNorm2d(3, 2).double(), nn.BatchNorm2d(3).double()
    torch.testing.assert_close(layer(x, condition), plain(x))
    torch.testing.assert_close(layer.eval()(x, condition), plain.eval()(x))


def test_conditional_batch_norm_by_hand():
    layer = ConditionalBatchNorm2d(1, 2).double()
    layer.norm.eps = 1e-12
    with torch.no_grad():
        layer.gain.copy_(torch.tensor([[1.0], [2.0]]))
        layer.shift.copy_(torch.tensor([[10.0], [20.0]]))
    x = torch.tensor([-1.0, 1.0], dtype=torch.float64).view(2, 1, 1, 1)  # mean 0, variance 1
    one_hot = torch.eye(2, dtype=torch.float64)
    assert layer(x, one_hot).flatten().tolist() == pytest.approx([-1 * 2 + 10, 1 * 3 + 20])


def test_attention_starts_as_identity():
    layer, x = SelfAttention2d(8).double(), draw(2, 8, 4, 4)
    assert torch.equal(layer(x), x)
    assert layer.gain.item() == 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_attention_place_by_place(layout):
    layer, x = shaken(SelfAttention2d(8)), draw(2, 8, 4, 4).contiguous(memory_format=layout)
    out = layer(x)
    for picture, result in zip(x, out, strict=True):
        query, key, value = (m(picture[None])[0] for m in (layer.query, layer.key, layer.value))
        key, value = F.max_pool2d(key, 2), F.max_pool2d(value, 2)
        for i in range(4):
            for j in range(4):
                places = [(a, b) for a in range(2) for b in range(2)]
                shares = torch.stack([query[:, i, j] @ key[:, a, b] for a, b in places]).softmax(0)
                found = sum(s * value[:, a, b] for s, (a, b) in zip(shares, places, strict=True))
                mixed = layer.output.weight[:, :, 0, 0] @ found
                torch.testing.assert_close(result[:, i, j], picture[:, i, j] + layer.gain * mixed)


def test_minibatch_discrimination_pair_by_pair():
    layer, x = MinibatchDiscrimination(3, kernels=2, size=4).double(), draw(5, 3)
    rows = (x @ layer.project.weight.T).view(5, 2, 4)
    rows, out = rows.detach(), layer(x).detach()
    assert torch.equal(out[:, :3], x)
    for i in range(5):
        for b in range(2):
            near = sum(math.exp(-(rows[i, b] - rows[j, b]).abs().sum()) for j in range(5) if j != i)
            assert out[i, 3 + b].item() == pytest.approx(near)
    assert layer(x[:1].expand(4, -1))[:, 3:].flatten().tolist() == pytest.approx([3.0] * 8)


def test_minibatch_std_by_hand():
    x = torch.zeros(4, 1, 2, 2)
    x[:, 0, 0, 0] = torch.tensor([1.0, 5.0, 3.0, 9.0])  # groups of two: rows 0, 2 and rows 1, 3
    out = MinibatchStd(group=2)(x)
    assert out.shape == (4, 2, 2, 2)
    assert torch.equal(out[:, :1], x)
    # standard deviations 1 and 2 at one of four places, 1e-4 elsewhere
    torch.testing.assert_close(out[:, 1, 0, 0], torch.tensor([1.0, 2.0, 1.0, 2.0]) / 4, atol=1e-4, rtol=0)
    assert out[:, 1].flatten(1).std(1).max() == 0


def test_minibatch_std_takes_any_batch():
    for batch, groups in ((8, 2), (6, 3)):
        assert len(MinibatchStd(group=4)(draw(batch, 2, 3, 3))[:, -1, 0, 0].unique()) == groups
    for batch in (5, 1):  # each alone
        assert torch.allclose(MinibatchStd(group=4)(draw(batch, 2, 3, 3))[:, -1], torch.tensor(1e-4).double())
    assert torch.allclose(MinibatchStd()(torch.ones(8, 2, 3, 3))[:, -1], torch.tensor(1e-4))


def virtual(reference):
    conv = nn.Conv2d(1, 2, 3, padding=1)
    net = nn.Sequential(conv, VirtualBatchNorm2d(2, len(reference)), nn.ReLU(), nn.Conv2d(2, 1, 3))
    net.append(VirtualBatchNorm2d(1, len(reference)))
    return Referring(shaken(net), reference)


def test_virtual_batch_norm_ignores_who_else_is_in_the_batch():
    net, x = virtual(draw(6, 1, 5, 5)), draw(4, 1, 5, 5, seed=2)
    together = net(x)
    assert together.shape == (4, 1, 3, 3)
    alone = torch.cat([net(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, alone)
    assert "reference" in net.state_dict()
    changed = Referring(net.net, draw(6, 1, 5, 5, seed=3))
    assert not torch.allclose(changed(x), together)


def test_virtual_batch_norm_by_hand():
    layer = VirtualBatchNorm2d(1, 2, eps=0.0)
    x = torch.tensor([-1.0, 1.0, 3.0]).view(3, 1, 1, 1)  # reference -1 and 1
    # with the picture: mean (-1 + 1 + 3) / 3 = 1, mean square (1 + 1 + 9) / 3 = 11 / 3
    expected = [-1.0, 1.0, (3 - 1) / math.sqrt(11 / 3 - 1)]
    assert layer(x).flatten().tolist() == pytest.approx(expected)
    with torch.no_grad():
        layer.gain.fill_(2)
        layer.shift.fill_(5)
    assert layer(x).flatten().tolist() == pytest.approx([2 * e + 5 for e in expected])


def test_pixel_norm():
    for x in (3 * draw(2, 5, 3, 3), 3 * draw(2, 5)):
        out = PixelNorm()(x)
        torch.testing.assert_close(out.square().mean(1), torch.ones_like(out[:, 0]))
        torch.testing.assert_close(F.cosine_similarity(out, x), torch.ones_like(out[:, 0]))


def test_equalised_layers_scale_in_use():
    linear = EqualisedLinear(16, 3, gain=2.0, rate=0.5, bias=1.0).double()
    x = draw(4, 16)
    torch.testing.assert_close(linear(x), x @ linear.weight.T * (2 * 0.5 / 4) + 1.0)
    conv, maps = EqualisedConv2d(4, 2, 3, gain=3.0).double(), draw(2, 4, 5, 5)
    torch.testing.assert_close(conv(maps), F.conv2d(maps, conv.weight, padding=1) * 3 / 6)
    wide = EqualisedLinear(256, 400, rate=0.01)
    assert wide.weight.std().item() == pytest.approx(100, rel=0.02)
    assert wide(torch.ones(1, 256)).std().item() == pytest.approx(1, rel=0.1)  # 3 standard errors of 400 draws
    assert EqualisedConv2d(64, 64, 3).weight.std().item() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize(
    "layer",
    [
        UpConv2d(2, 2),
        DownConv2d(2, 2),
        SelfAttention2d(2),
        MinibatchStd(2),
        VirtualBatchNorm2d(2, 1),
        PixelNorm(),
        EqualisedConv2d(2, 2, 3),
        nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), MinibatchDiscrimination(8, 2, 2), EqualisedLinear(10, 2)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_are_twice_differentiable(layer):
    layer, x = shaken(layer), draw(2, 2, 4, 4).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: layer(x).square(), x)


class Odd(nn.Module):
    """Doubles what it gets in training mode."""

    def forward(self, x):
        return 2 * x if self.training else x


@pytest.mark.parametrize("training", [True, False])
def test_standing_statistics_are_plain_averages(training):
    net = nn.Sequential(Odd(), nn.BatchNorm1d(3), nn.BatchNorm1d(3, momentum=0.7)).double().train(training)
    net[2].train(not training)
    for _ in range(3):
        net.train()(100 + draw(4, 3))  # to be forgotten
    net.train(training)[2].train(not training)
    weights = [weight.clone() for weight in net.parameters()]
    batches = [draw(6, 3, seed=seed) for seed in (5, 6)]
    refresh_statistics(net, iter(batches))
    seen = [(2 if training else 1) * batch for batch in batches]
    torch.testing.assert_close(net[1].running_mean, sum(x.mean(0) for x in seen) / 2)
    torch.testing.assert_close(net[1].running_var, sum(x.var(0) for x in seen) / 2)
    assert [layer.training for layer in net] == [training, training, not training]
    assert [net[1].momentum, net[2].momentum] == [0.1, 0.7]
    assert all(torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True))


def test_standing_statistics_leave_the_mode_after_an_error():
    net = nn.Sequential(nn.BatchNorm1d(3)).eval()
    with pytest.raises(ValueError, match="expected 2D or 3D"):
        refresh_statistics(net, [torch.zeros(3)])
    assert not net[0].training
    assert net[0].momentum == 0.1
