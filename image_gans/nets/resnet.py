"""Residual nets: SNGAN (Miyato et al. 2018, 1802.05957, appendix B), SAGAN's attention, BigGAN's conditioning."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from image_gans.layers import ConditionalBatchNorm2d, DownConv2d, Maps, Rows, SelfAttention2d, UpConv2d
from image_gans.nets.parts import NORMS, Canvas, FeatureJudge, Normalisation, channels_at, halvings, scaled
from image_gans.samples import Labels, Pair, Pictures
from rl.runtime import InputError

SHARED = 32
"""numbers of BigGAN's one embedding of the class, which all blocks read"""


class UnconditionalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm where there is no condition."""

    def forward(self, maps: Maps, condition: Rows) -> Maps:
        """Normalise over the batch."""
        return super().forward(maps)


class UpBlock(nn.Module):
    """Twice the side: norm, ReLU, convolution, twice, beside a 1x1 convolution."""

    def __init__(self, channels: int, out: int, conditions: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = _norm(channels, conditions), _norm(out, conditions)
        self.first, self.second = UpConv2d(channels, out, bias=False), nn.Conv2d(out, out, 3, padding=1)
        self.short = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, maps: Maps, condition: Rows) -> Maps:
        """Give maps of twice the side under a condition [batch, conditions]."""
        found = self.first(torch.relu(self.first_norm(maps, condition)))
        found = self.second(torch.relu(self.second_norm(found, condition)))
        # 1x1 convolutions and repetition commute: the cheaper comes first
        return found + F.interpolate(self.short(maps), scale_factor=2)


class OneHot(nn.Module):
    """Classes as rows with a single one."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, labels: Labels) -> Float[Tensor, "batch classes"]:
        """Give rows."""
        return F.one_hot(labels, self.classes).float()


class ResNetGenerator(nn.Module):
    """Maps of side 4 are doubled until they are the picture; `width` channels at its full side.

    Paints from noise [batch, latent] or, with `classes`, from a Pair of noise and class, which every block's batch norm
    reads. `hierarchical`: each block's norm also reads its own chunk of the noise, and all share one embedding of the
    class (Brock et al. 2019, 1809.11096, figure 15). Attention stands at half of the side. ValueError for a side that
    is not 8, 16, 32, ..., or for less noise than there are chunks.
    """

    def __init__(
        self,
        latent: int,
        shape: tuple[int, ...],
        width: int,
        classes: int = 0,
        attention: bool = False,
        hierarchical: bool = False,
    ) -> None:
        super().__init__()
        count = halvings(shape, 4)
        self.chunks = _chunks(latent, count) if hierarchical else [latent] + [0] * count
        self.tell = nn.Embedding(classes, SHARED) if hierarchical and classes else OneHot(classes)
        told = SHARED if hierarchical and classes else classes
        widths = [channels_at(width, halved) for halved in reversed(range(count + 1))]
        self.start = Canvas(self.chunks[0], widths[0], 4)
        self.blocks = nn.ModuleList(
            UpBlock(a, b, chunk + told) for (a, b), chunk in zip(pairwise(widths), self.chunks[1:], strict=True)
        )
        self.before = nn.ModuleList(nn.Identity() for _ in range(count))
        if attention:
            self.before[-1] = SelfAttention2d(widths[-2])
        end = nn.Conv2d(width, shape[0], 3, padding=1)
        self.end = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), end, nn.Tanh())
        scaled(self)

    def forward(self, latent: Rows | Pair) -> Pictures:
        """Paint."""
        noise, told = (latent.x, self.tell(latent.label)) if isinstance(latent, Pair) else (latent, latent[:, :0])
        first, *chunks = noise.split(self.chunks, 1)
        maps = self.start(first)
        for before, block, chunk in zip(self.before, self.blocks, chunks, strict=True):
            maps = block(before(maps), torch.cat([chunk, told], 1))
        return self.end(maps)


def _chunks(latent: int, blocks: int) -> list[int]:
    """Cut the noise evenly for the start and each block; what is left over goes to the start."""
    each = latent // (blocks + 1)
    if each == 0:
        raise InputError(f"--latent {latent}: cannot be cut into {blocks + 1} chunks of noise")
    return [latent - each * blocks] + [each] * blocks


def _norm(channels: int, conditions: int) -> nn.Module:
    return ConditionalBatchNorm2d(channels, conditions) if conditions else UnconditionalBatchNorm2d(channels)


class FirstBlock(nn.Module):
    """From a picture to maps of half its side; nothing stands before the first convolution."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), DownConv2d(out, out))
        self.short = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, pictures: Pictures) -> Maps:
        """Give maps of half the side."""
        return self.body(pictures) + self.short(F.avg_pool2d(pictures, 2))


class DownBlock(nn.Module):
    """Half the side: norm, ReLU, convolution, twice, beside a 1x1 convolution."""

    def __init__(self, channels: int, out: int, rules: Normalisation) -> None:
        super().__init__()
        self.body = _residual(channels, rules, DownConv2d(channels, out))
        self.short = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, maps: Maps) -> Maps:
        """Give maps of half the side."""
        return self.body(maps) + self.short(F.avg_pool2d(maps, 2))


class FlatBlock(nn.Module):
    """The same side and channels: norm, ReLU, convolution, twice, beside nothing."""

    def __init__(self, channels: int, rules: Normalisation) -> None:
        super().__init__()
        self.body = _residual(channels, rules, nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, maps: Maps) -> Maps:
        """Give maps of the same shape."""
        return maps + self.body(maps)


class SumOfPlaces(nn.Module):
    """What is left above zero, summed over all places."""

    def forward(self, maps: Maps) -> Rows:
        """Give a number for each channel."""
        return torch.relu(maps).sum((2, 3))


class ResNetJudge(FeatureJudge):
    """Sides are halved until they are 4, one more block, the sum over all places; `width` channels after the first.

    Features [batch, channels]. Attention stands at half of the picture's side. ValueError for a side that is not 8,
    16, 32, ...
    """

    def __init__(self, shape: tuple[int, ...], width: int, norm: str, attention: bool = False) -> None:
        rules = NORMS[norm]
        widths = [channels_at(width, halved) for halved in range(halvings(shape, 4))]
        layers = [
            FirstBlock(shape[0], width),
            *([SelfAttention2d(width)] if attention else []),
            *(DownBlock(a, b, rules) for a, b in pairwise(widths)),
            FlatBlock(widths[-1], rules),
            SumOfPlaces(),
        ]
        super().__init__(rules.weights(nn.Sequential(*layers)), widths[-1], norm)


def _residual(channels: int, rules: Normalisation, last: nn.Module) -> nn.Sequential:
    first = nn.Conv2d(channels, channels, 3, padding=1, bias=rules.bias)
    return nn.Sequential(rules.maps(channels), nn.ReLU(), first, rules.maps(channels), nn.ReLU(), last)
