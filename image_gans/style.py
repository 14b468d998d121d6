"""StyleGAN: pictures whose coarse and fine sides may come from two latents; Karras et al. 2019 and 2020."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from image_gans.dealing import Deal
from image_gans.nets.style import Crossed, StyleGenerator, StyleJudge
from image_gans.numbers import Facts, Numbers
from image_gans.players import Players
from image_gans.samples import Labels, Pictures


@dataclass(frozen=True)
class Mixing:
    """Two latents for a share of the pictures in training, one for each that is shown; 1812.04948, section 3.1."""

    size: int
    """numbers in a latent"""
    levels: int
    """of the generator: 4 x 4, 8 x 8, ..., its pictures' side"""
    mixing: float
    """share of the pictures painted with two latents, which cross at a level drawn evenly"""
    truncation: float
    """shown styles lie this share of their way from the average one; 1812.04948, appendix B"""

    def deal(self, pictures: Pictures, labels: Labels) -> Deal:
        """Judge the pictures as they are."""
        rows, device = len(pictures), pictures.device
        crossing = torch.randint(1, self.levels, (rows,), device=device)
        mixed = torch.rand(rows, device=device) < self.mixing
        return Deal(pictures, self._noise(rows, torch.where(mixed, crossing, self.levels)))

    def free(self, rows: int, labels: Labels | None, device: torch.device) -> Crossed:
        """Draw latents of which the first does it all."""
        return self._noise(rows, torch.full((rows,), self.levels, device=device))

    def show(self, generator: nn.Module, latent: Crossed) -> Pictures:
        """Paint with styles drawn towards the average."""
        return generator.paint(generator.average.lerp(generator.styles(latent), self.truncation))

    def _noise(self, rows: int, crossing: Tensor) -> Crossed:
        first, second = torch.randn(2, rows, self.size, device=crossing.device)
        return Crossed(first, second, crossing)


def styled(n: Numbers, facts: Facts) -> Players:
    """Noise to style to picture."""
    generator = StyleGenerator(n.latent, facts.shape, n.width)
    dealer = Mixing(n.latent, generator.levels, n.mixing, n.truncation)
    return Players(generator, StyleJudge(facts.shape, n.width), dealer)
