"""From flat observation rows to features: numbers on one scale, pixels through a small convolutional net."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from rl.control.normaliser import Normaliser
from rl.control.spaces import Observations, Part

_NATURE = 36  # pixels a side that the large net needs


class Encoder(nn.Module):
    """Features of observation rows: the numbers standardised, then `hidden` features for each image.

    For observations without pixels it is the normaliser alone, and `features` the rows' width. Images of 36 pixels a
    side or more pass the net of Mnih et al. 2015 ("Nature DQN"), smaller ones two strided convolutions.
    """

    def __init__(self, layout: Observations, hidden: int = 256) -> None:
        super().__init__()
        self._numbers = [part.place for part in layout.parts if part.kind == "vector"]
        self._pixels = [part for part in layout.parts if part.kind == "pixels"]
        numbers = sum(part.size for part in layout.parts if part.kind == "vector")
        self.normaliser = Normaliser(numbers)
        self.convolutions = nn.ModuleList(_convolutions(part, hidden) for part in self._pixels)
        self.features = numbers + hidden * len(self._pixels)

    def add(self, rows: Shaped[Tensor, "rows width"]) -> None:
        """Take rows into the statistics of the numbers; pixels have none."""
        if self._numbers:
            self.normaliser.add(self._numbers_of(rows))

    def forward(self, rows: Shaped[Tensor, "rows width"]) -> Float[Tensor, "rows features"]:
        """Encode."""
        numbers: Tensor = self.normaliser(self._numbers_of(rows))
        if not self._pixels:
            return numbers
        images = (rows[:, part.place].reshape(-1, *part.shape).float() / 255 for part in self._pixels)
        encoded = [net(image) for net, image in zip(self.convolutions, images, strict=True)]
        return torch.cat([numbers, *encoded], dim=1)

    def _numbers_of(self, rows: Tensor) -> Tensor:
        if not self._pixels:
            return rows
        return torch.cat([rows[:, :0].float(), *(rows[:, place] for place in self._numbers)], dim=1)


def random_shift(
    rows: Shaped[Tensor, "rows width"], layout: Observations, pad: int = 4
) -> Shaped[Tensor, "rows width"]:
    """Shift each row's images by up to `pad` pixels each way, edges repeated; Kostrikov et al. 2020 (2004.13649).

    Every row and every image has a shift of its own, its channels a common one. Numbers stay as they are.
    """
    shifted = rows.clone()
    for part in (part for part in layout.parts if part.kind == "pixels"):
        channels, height, width = part.shape
        images = rows[:, part.place].reshape(-1, channels, height, width)
        by = torch.randint(-pad, pad + 1, (2, len(rows), 1), device=rows.device)
        down = (torch.arange(height, device=rows.device) + by[0]).clamp(0, height - 1)
        right = (torch.arange(width, device=rows.device) + by[1]).clamp(0, width - 1)
        picked = images.gather(2, down[:, None, :, None].expand(images.shape))
        shifted[:, part.place] = picked.gather(3, right[:, None, None, :].expand(images.shape)).flatten(1)
    return shifted


def _convolutions(part: Part, hidden: int) -> nn.Sequential:
    channels, height, width = part.shape
    if min(height, width) >= _NATURE:
        layers = [nn.Conv2d(channels, 32, 8, 4), nn.Conv2d(32, 64, 4, 2), nn.Conv2d(64, 64, 3)]
    else:
        layers = [nn.Conv2d(channels, 32, 3, 2, padding=1), nn.Conv2d(32, 64, 3, 2, padding=1)]
    body = nn.Sequential(*(step for layer in layers for step in (_orthogonal(layer), nn.ReLU())), nn.Flatten())
    with torch.no_grad():
        flat = body(torch.zeros(1, *part.shape)).shape[1]
    return nn.Sequential(*body, _orthogonal(nn.Linear(flat, hidden)), nn.ReLU())


def _orthogonal(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    nn.init.orthogonal_(layer.weight, math.sqrt(2))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
