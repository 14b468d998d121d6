"""DCGAN: strided convolutions and batch norm; Radford et al. 2016 (1511.06434)."""

from itertools import pairwise

from torch import nn

from image_gans.nets.parts import NORMS, SLOPE, Canvas, FeatureJudge, Flat, channels_at, halvings, small


def smallest(shape: tuple[int, ...]) -> int:
    """Return the side of the smallest map: 4, or 2 where the picture has 8, so that two convolutions are left."""
    return min(4, shape[-1] // 4)


class DCGANGenerator(nn.Sequential):
    """Maps of side 4 are doubled until they are the picture; `width` channels at half of its side.

    A picture has a side of 8, 16, 32, ...; ValueError otherwise.
    """

    def __init__(self, latent: int, shape: tuple[int, ...], width: int) -> None:
        start = smallest(shape)
        count = halvings(shape, start)
        widths = [channels_at(width, halved) for halved in reversed(range(count))]
        layers: list[nn.Module] = [Canvas(latent, widths[0], start, bias=False), *_normed(widths[0])]
        for a, b in pairwise(widths):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), *_normed(b)]
        super().__init__(*layers, nn.ConvTranspose2d(widths[-1], shape[0], 4, 2, 1), nn.Tanh())
        small(self)


class DCGANJudge(FeatureJudge):
    """Sides are halved until they are 4; `width` channels after the first layer, which nothing normalises.

    Features [batch, 16 * channels]. A picture has a side of 8, 16, 32, ...; ValueError otherwise.
    """

    def __init__(self, shape: tuple[int, ...], width: int, norm: str) -> None:
        rules, end = NORMS[norm], smallest(shape)
        widths = [channels_at(width, halved) for halved in range(halvings(shape, end))]
        layers: list[nn.Module] = [nn.Conv2d(shape[0], width, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=rules.bias), rules.maps(b), nn.LeakyReLU(SLOPE)]
        super().__init__(rules.weights(nn.Sequential(*layers, Flat())), end * end * widths[-1], norm)


def _normed(channels: int) -> tuple[nn.Module, nn.Module]:
    norm = nn.BatchNorm2d(channels)
    nn.init.normal_(norm.weight, 1.0, 0.02)
    return norm, nn.ReLU()
