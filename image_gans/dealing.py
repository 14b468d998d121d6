"""What a round starts from: real samples, and as many latents to paint from; a method's idea of both is a Dealer."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from image_gans.samples import Labels, Pair, Pictures

Stored = Float[Tensor, "batch *shape"]  # pictures from -1 to 1, or points


class Deal(NamedTuple):
    """Real samples, and what the generator paints its own from."""

    real: Any
    latent: Any


@runtime_checkable
class Dealer(Protocol):
    """Decides what is judged and what it is painted from."""

    def deal(self, pictures: Stored, labels: Labels, /) -> Deal:
        """Make the real samples of a round from a batch of data, and a latent for each."""
        ...

    def free(self, rows: int, labels: Labels | None, device: torch.device, /) -> Any:
        """Draw latents that need no data, of these classes if the method knows classes."""
        ...

    def show(self, generator: nn.Module, latent: Any, /) -> Pictures:
        """Give the pictures that a generator (or its average) paints from free latents."""
        ...


@dataclass(frozen=True)
class Plain:
    """Noise to picture, no classes: N(0, 1) numbers."""

    size: int
    """numbers in a latent"""

    def deal(self, pictures: Stored, labels: Labels) -> Deal:
        """Judge the pictures as they are."""
        return Deal(pictures, self.free(len(pictures), None, pictures.device))

    def free(self, rows: int, labels: Labels | None, device: torch.device) -> Float[Tensor, "rows size"]:
        """Draw noise."""
        return torch.randn(rows, self.size, device=device)

    def show(self, generator: nn.Module, latent: Any) -> Pictures:
        """Paint."""
        return generator(latent)


@dataclass(frozen=True)
class Classes:
    """Noise and a class to a picture of that class. In training the classes are those of the real pictures."""

    size: int
    """numbers in a latent"""
    classes: int

    def deal(self, pictures: Stored, labels: Labels) -> Deal:
        """Judge pictures together with their classes."""
        return Deal(Pair(pictures, labels), Pair(torch.randn(len(pictures), self.size, device=pictures.device), labels))

    def free(self, rows: int, labels: Labels | None, device: torch.device) -> Pair:
        """Draw noise, and classes evenly where none are given."""
        if labels is None:
            labels = torch.randint(self.classes, (rows,), device=device)
        return Pair(torch.randn(rows, self.size, device=device), labels)

    def show(self, generator: nn.Module, latent: Any) -> Pictures:
        """Paint."""
        return generator(latent).x
