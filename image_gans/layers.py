"""Layers of picture nets that torch does not have, each with its paper."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import is_parametrized

Maps = Float[Tensor, "batch channels height width"]
Rows = Float[Tensor, "batch numbers"]
_Weighted = (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd)


def weighted(net: nn.Module) -> Iterator[nn.Module]:
    """Walk the layers of a net, or the one layer, that multiply by a matrix: linear, convolution, embedding."""
    yield from (layer for layer in net.modules() if isinstance(layer, _Weighted))


def spectral(net: nn.Module) -> nn.Module:
    """Divide the weights of every layer by their largest singular value; Miyato et al. 2018 (1802.05957), algorithm 1.

    In training mode each forward pass makes one power iteration, unless it runs under `parametrize.cached()` and
    another did. Give first weights before; none may be all zero.
    """
    for layer in list(weighted(net)):
        if not is_parametrized(layer):
            parametrizations.spectral_norm(layer)
    return net


class UpConv2d(nn.ConvTranspose2d):
    """Double the side by repeating pixels, then convolve 3x3, as ONE transposed convolution of 16 taps, not 36.

    The weight stays [in, out, 3, 3]. Every pixel is repeated twice, so two taps in a row meet it: their sum is one tap.
    """

    def __init__(self, channels: int, out: int, bias: bool = True) -> None:
        super().__init__(channels, out, 3, 1, 1, bias=bias)

    def forward(self, maps: Maps) -> Maps:
        """Give maps of twice the side."""
        return F.conv_transpose2d(maps, _spread(self.weight), self.bias, stride=2, padding=1)


class DownConv2d(nn.Conv2d):
    """Convolve 3x3, then halve the side by averages, as ONE strided convolution of 16 taps, not 36.

    The weight stays [out, in, 3, 3]. The average over four places is a sum over the weight at four shifts.
    """

    def __init__(self, channels: int, out: int, bias: bool = True) -> None:
        super().__init__(channels, out, 3, padding=1, bias=bias)

    def forward(self, maps: Maps) -> Maps:
        """Give maps of half the side."""
        return F.conv2d(maps, _spread(self.weight) / 4, self.bias, stride=2, padding=1)


def _spread(weight: Float[Tensor, "a b 3 3"]) -> Float[Tensor, "a b 4 4"]:
    """Sum over the weight at four shifts: a convolution with a square of 2x2 ones."""
    padded = F.pad(weight, (1, 1, 1, 1))
    rows = padded[..., 1:, :] + padded[..., :-1, :]
    return rows[..., 1:] + rows[..., :-1]


class ConditionalBatchNorm2d(nn.Module):
    """Batch norm whose gains 1 + A c and shifts B c are linear in each picture's condition c [batch, conditions].

    With c the class in one-hot form: de Vries et al. 2017 (1707.00683), Miyato & Koyama 2018 (1802.05637). With c a
    chunk of the noise and an embedding of the class: Brock et al. 2019 (1809.11096), appendix B. Starts as plain batch
    norm.
    """

    def __init__(self, channels: int, conditions: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Parameter(torch.zeros(conditions, channels))
        self.shift = nn.Parameter(torch.zeros(conditions, channels))

    def forward(self, maps: Maps, condition: Rows) -> Maps:
        """Normalise over the batch, then scale and shift each picture's channels."""
        gain, shift = ((condition @ weight)[:, :, None, None] for weight in (self.gain, self.shift))
        return torch.addcmul(shift, self.norm(maps), 1 + gain)


class SelfAttention2d(nn.Module):
    """Every place looks at all others; added to the maps with a gain that starts at zero.

    Zhang et al. 2019 (1805.08318), eqs. 1-3; keys and values at half the side, as in the authors' code.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow, half = max(channels // 8, 1), max(channels // 2, 1)
        self.query = nn.Conv2d(channels, narrow, 1, bias=False)
        self.key = nn.Conv2d(channels, narrow, 1, bias=False)
        self.value = nn.Conv2d(channels, half, 1, bias=False)
        self.output = nn.Conv2d(half, channels, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Maps) -> Maps:
        """Give maps of the same shape."""
        query = self.query(maps).flatten(2).mT
        key, value = (F.max_pool2d(layer(maps), 2).flatten(2).mT for layer in (self.key, self.value))
        found = torch.softmax(query @ key.mT, 2) @ value
        found = found.mT.unflatten(2, maps.shape[2:])  # lies in memory as channels_last
        return maps + self.gain * self.output(found)


class MinibatchDiscrimination(nn.Module):
    """Follow features by how near each row lies to the others; Salimans et al. 2016 (1606.03498), section 3.2.

    o_b(i) = sum over j other than i of exp(-|T_b f(i) - T_b f(j)|_1), for `kernels` matrices T_b to `size` numbers.
    """

    def __init__(self, features: int, kernels: int = 16, size: int = 4) -> None:
        super().__init__()
        self.project = nn.Linear(features, kernels * size, bias=False)
        self.kernels = kernels

    def forward(self, features: Rows) -> Rows:
        """Give rows with `kernels` more numbers."""
        rows = self.project(features).unflatten(1, (self.kernels, -1))
        distance = (rows[:, None] - rows).abs().sum(3)
        return torch.cat([features, torch.exp(-distance).sum(1) - 1], 1)  # each is at distance 0 from itself


class MinibatchStd(nn.Module):
    """Add a channel: the mean over features and places of their standard deviation over a group of pictures.

    Karras et al. 2018 (1710.10196), section 3. Groups of `group` pictures, fewer where that does not divide the batch.
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, maps: Maps) -> Maps:
        """Give maps with one more channel."""
        batch, _, height, width = maps.shape
        groups = batch // math.gcd(batch, self.group)
        variance = maps.unflatten(0, (-1, groups)).var(0, correction=0)
        spread = (variance + 1e-8).sqrt().mean((1, 2, 3))
        channel = spread.repeat(batch // groups).view(-1, 1, 1, 1).expand(-1, 1, height, width)
        return torch.cat([maps, channel.to(maps.dtype)], 1)


class VirtualBatchNorm2d(nn.Module):
    """Normalise by a fixed reference batch and the picture itself; Salimans et al. 2016 (1606.03498), section 3.4.

    The first `reference` rows are the reference, normalised by themselves; `Referring` puts them there.
    """

    def __init__(self, channels: int, reference: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.reference, self.eps = reference, eps
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, maps: Maps) -> Maps:
        """Give maps in which no picture depends on others than the reference."""
        moments = torch.stack([maps.mean((2, 3)), maps.square().mean((2, 3))])
        own, known = moments[:, self.reference :], moments[:, : self.reference].mean(1, keepdim=True)
        mixed = known.lerp(own, 1 / (self.reference + 1))
        mean, square = torch.cat([known.expand(-1, self.reference, -1), mixed], 1)[..., None, None]
        return (maps - mean) * (square - mean.square() + self.eps).rsqrt() * self.gain + self.shift


class Referring(nn.Module):
    """A net whose batch always begins with a fixed reference (a buffer), which VirtualBatchNorm2d reads."""

    reference: Tensor

    def __init__(self, net: nn.Module, reference: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("reference", reference)

    def forward(self, x: Tensor) -> Tensor:
        """Give what the net makes of x, without what it makes of the reference."""
        return self.net(torch.cat([self.reference, x]))[len(self.reference) :]


class PixelNorm(nn.Module):
    """Give every pixel's channels, or a row's numbers, a mean square of one; Karras et al. 2018 (1710.10196), 4.2."""

    def forward(self, x: Tensor) -> Tensor:
        """Divide by the root of the mean square."""
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class EqualisedLinear(nn.Linear):
    """Keep weights at N(0, 1), scale by gain / root(inputs) in use; Karras et al. 2018 (1710.10196), section 4.1.

    `rate` multiplies the learning rate of weight and bias, as in StyleGAN's mapping net.
    """

    def __init__(self, features: int, out: int, *, gain: float = 1.0, rate: float = 1.0, bias: float = 0.0) -> None:
        super().__init__(features, out)
        nn.init.normal_(self.weight, std=1 / rate)
        nn.init.constant_(self.bias, bias / rate)
        self.gain, self.rate = gain * rate / math.sqrt(features), rate

    def forward(self, rows: Tensor) -> Tensor:
        """Multiply by the scaled weight."""
        return F.linear(rows, self.weight * self.gain, self.bias * self.rate)


class EqualisedConv2d(nn.Conv2d):
    """Keep weights at N(0, 1), scale by gain / root(inputs) in use; Karras et al. 2018 (1710.10196), section 4.1.

    The side is kept (odd `taps`).
    """

    def __init__(self, channels: int, out: int, taps: int, *, gain: float = 1.0) -> None:
        super().__init__(channels, out, taps, padding=taps // 2)
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)
        self.gain = gain / math.sqrt(channels * taps * taps)

    def forward(self, maps: Maps) -> Maps:
        """Convolve with the scaled weight."""
        return F.conv2d(maps, self.weight * self.gain, self.bias, padding=self.padding)


@torch.no_grad()
def refresh_statistics(net: nn.Module, batches: Iterable[Any]) -> None:
    """Replace the running statistics of batch norm by plain averages over batches: standing statistics.

    For averaged weights, whose own statistics nobody saw; Brock et al. 2019 (1809.11096), appendix E. All other layers
    and the mode of every layer stay as they are.
    """
    norms = [layer for layer in net.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    before = [(layer.training, layer.momentum) for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # torch's word for a plain average
        layer.train()
    try:
        for batch in batches:
            net(batch)
    finally:
        for layer, (training, layer.momentum) in zip(norms, before, strict=True):
            layer.train(training)
