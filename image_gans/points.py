"""Points of a plane whose modes are known: the ring and the grid on which collapse is counted; Dirac-GAN's origin."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from image_gans.samples import Labels


@dataclass(frozen=True)
class Mixture:
    """Gaussians of one spread, all equally likely."""

    centres: Float[Tensor, "modes numbers"]
    sd: float
    """in every direction"""

    def draw(self, rows: int, generator: torch.Generator) -> tuple[Float[Tensor, "rows numbers"], Labels]:
        """Draw points, and the mode that each comes from."""
        modes = torch.randint(len(self.centres), (rows,), generator=generator)
        noise = torch.randn(rows, self.centres.shape[1], generator=generator)
        return self.centres[modes] + self.sd * noise, modes


def ring() -> Mixture:
    """Return 8 Gaussians on the unit circle (PacGAN, Lin et al. 2018, arXiv:1712.04086, section 4.1)."""
    angles = torch.arange(8) * (torch.pi / 4)
    return Mixture(torch.stack([angles.cos(), angles.sin()], dim=1), 0.01)


def grid() -> Mixture:
    """Return 25 Gaussians, 5 by 5, two apart (the same section)."""
    line = torch.arange(-4.0, 5.0, 2.0)
    return Mixture(torch.cartesian_prod(line, line), 0.05)


def origin() -> Mixture:
    """Return the one point 0 (Dirac-GAN, Mescheder et al. 2018, arXiv:1801.04406, section 2)."""
    return Mixture(torch.zeros(1, 1), 0.0)


MIXTURES: dict[str, Callable[[], Mixture]] = {"ring": ring, "grid": grid, "origin": origin}
