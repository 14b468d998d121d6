"""Changes that the discriminator sees on real and fake pictures alike, so that it cannot learn the data by heart.

A picture is a floating-point tensor [batch, channels, height, width] anywhere in a sample; labels and points stay as
they are. Every picture is changed in its own way, in float32, and derivatives of any order flow through.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from image_gans.numbers import Numbers
from image_gans.samples import Pictures
from rl.discriminator import full_precision

PerPicture = Float[Tensor, "batch"]
Places = Float[Tensor, "batch height width"]


@runtime_checkable
class Augmentation(Protocol):
    """Changes samples on their way to the discriminator."""

    def __call__(self, sample: Any, /) -> Any:
        """Change every picture of a sample in its own random way; the gradient flows through."""
        ...

    def observe(self, logits: Float[Tensor, "..."], /) -> None:
        """Take note of how real samples are judged; an adaptive augmentation sets its strength by that."""
        ...


class Unchanged:
    """No change."""

    def __call__(self, sample: Any) -> Any:
        """Give the sample."""
        return sample

    def observe(self, logits: Float[Tensor, "..."]) -> None:
        """Ignore."""


@dataclass(frozen=True)
class DiffAugment:
    """Colour, translation and cutout on every picture; Zhao et al. 2020 (2006.10738), numbers as in their code."""

    shift: float = 1 / 8
    """largest translation, in sides of the picture; what moves in is mid-grey"""
    cut: float = 1 / 2
    """side of the mid-grey square, in sides of the picture; it may hang over the edge; 0: none"""

    def __call__(self, sample: Any) -> Any:
        """Change every picture."""
        return over_pictures(self.change, sample)

    def change(self, x: Pictures) -> Pictures:
        """Change one batch of pictures."""
        rows, (height, width) = len(x), x.shape[2:]
        x = brightened(x, uniform(x, -0.5, 0.5))
        x = saturated(x, uniform(x, 0, 2))
        x = contrasted(x, uniform(x, 0.5, 1.5))
        down, right = round(height * self.shift), round(width * self.shift)
        x = shifted(x, integers(x, -down, down), integers(x, -right, right))
        tall, wide = round(height * self.cut), round(width * self.cut)
        top = integers(x, -(tall // 2), height - (tall + 1) // 2)
        left = integers(x, -(wide // 2), width - (wide + 1) // 2)
        return x * ~(within(top, tall, height).view(rows, 1, -1, 1) & within(left, wide, width).view(rows, 1, 1, -1))

    def observe(self, logits: Float[Tensor, "..."]) -> None:
        """Ignore."""


class ADA(nn.Module):
    """Changes each picture with a probability that follows the overfitting; Karras et al. 2020 (2006.06676).

    `strength` is the probability of each of the changes. It rises while E sign(logit of a real), averaged over about
    four steps, lies above the target and falls while it lies below (r_t, eq. 1): fit for objectives whose discriminator
    says real where l > 0. Amounts are Gaussian, also that of the rotation, which is uniform in the paper: a Gaussian's
    characteristic function has no zero, so that what was changed still tells one distribution of pictures from another.
    """

    strength: Tensor
    signs: Tensor

    def __init__(self, target: float = 0.6, speed: float = 500_000, limit: float = 0.8, mirror: bool = False) -> None:
        """Take the `speed` in real pictures seen while the strength moves by one; it never grows beyond `limit`.

        `mirror` is for pictures that are as real the other way round, which digits are not.
        """
        super().__init__()
        self.target, self.speed, self.limit, self.mirror = target, speed, limit, mirror
        self.register_buffer("strength", torch.zeros(()))
        self.register_buffer("signs", torch.full((), target))

    def forward(self, sample: Any) -> Any:
        """Change some of the pictures."""
        return over_pictures(self.change, sample)

    def change(self, x: Pictures) -> Pictures:
        """Change one batch of pictures."""
        x = transformed(
            x,
            zoom=torch.exp2(self.amount(x, 0.2)),
            angle=self.amount(x, torch.pi / 8),
            down=self.amount(x, 1 / 8),
            right=self.amount(x, 1 / 8),
            mirror=1 - 2 * self.chosen(x, self.mirror / 2),
        )
        x = brightened(x, self.amount(x, 0.2))
        x = contrasted(x, torch.exp2(self.amount(x, 0.5)))
        return saturated(x, torch.exp2(self.amount(x, 1.0)))

    @torch.no_grad()
    def observe(self, logits: Float[Tensor, "..."]) -> None:
        """Move the strength by the batch's share of the speed."""
        self.signs.lerp_(logits.float().sign().mean(), 1 / 4)
        self.strength.add_((self.signs - self.target).sign() * len(logits) / self.speed).clamp_(0, self.limit)

    def chosen(self, x: Tensor, share: float = 1.0) -> PerPicture:
        """Give one for the pictures that a change happens to, zero for the others."""
        return (uniform(x, 0, 1) < self.strength * share).float()

    def amount(self, x: Tensor, spread: float) -> PerPicture:
        """Draw how much each picture changes: N(0, spread^2) for those chosen, zero for the others."""
        return self.chosen(x) * spread * torch.randn(len(x), device=x.device)


def of(n: Numbers) -> Augmentation:
    """Return the augmentation that the numbers name."""
    return {"none": Unchanged, "diffaugment": DiffAugment, "ada": ADA}[n.augmentation]()


def over_pictures(change: Callable[[Pictures], Pictures], sample: Any) -> Any:
    """Change the pictures of a sample: a tensor, or a tuple or named tuple of samples."""
    if isinstance(sample, tuple):
        parts = [over_pictures(change, part) for part in sample]
        return tuple(parts) if type(sample) is tuple else type(sample)(*parts)
    return change(full_precision(sample)) if sample.dim() == 4 and sample.is_floating_point() else sample


def brightened(x: Pictures, by: PerPicture) -> Pictures:
    """Add a number to each picture."""
    return x + by.view(-1, 1, 1, 1)


def contrasted(x: Pictures, factor: PerPicture) -> Pictures:
    """Scale how far each picture's numbers lie from their mean."""
    return around(x.mean((1, 2, 3), keepdim=True), x, factor)


def saturated(x: Pictures, factor: PerPicture) -> Pictures:
    """Scale how far each pixel's channels lie from their mean: nothing to a grey picture."""
    return around(x.mean(1, keepdim=True), x, factor)


def around(mean: Tensor, x: Pictures, factor: PerPicture) -> Pictures:
    """Scale distances from a mean; a factor of one changes no bit."""
    return x + (x - mean) * (factor - 1).view(-1, 1, 1, 1)


def shifted(x: Pictures, down: Int[Tensor, "batch"], right: Int[Tensor, "batch"]) -> Pictures:
    """Move each picture by whole pixels; zeros move in."""
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device) - down[:, None]
    columns = torch.arange(width, device=x.device) - right[:, None]
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None, :]
    return inside * at(x, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :])


def transformed(
    x: Pictures, *, zoom: PerPicture, angle: PerPicture, down: PerPicture, right: PerPicture, mirror: PerPicture
) -> Pictures:
    """Look each pixel up where it came from: further from the middle, turned, moved by shares of the side, mirrored.

    `zoom` 2 halves what is seen, `angle` is in radians, `mirror` is -1 or 1.
    """
    (height, width), angle = x.shape[2:], angle.view(-1, 1, 1)
    zoom, down, right, mirror = (each.view(-1, 1, 1) for each in (zoom, down, right, mirror))
    rows = (torch.arange(height, device=x.device) - (height - 1) / 2).view(1, -1, 1)
    columns = (torch.arange(width, device=x.device) - (width - 1) / 2).view(1, 1, -1)
    turned = zoom * (angle.cos() * rows - angle.sin() * columns), zoom * (angle.sin() * rows + angle.cos() * columns)
    return resampled(
        x, turned[0] + height * down + (height - 1) / 2, mirror * (turned[1] + width * right) + (width - 1) / 2
    )


def resampled(x: Pictures, rows: Places, columns: Places) -> Pictures:
    """Look each pixel up at a place between pixels, bilinearly; beyond its edges a picture is mirrored.

    Places are in pixels, (0, 0) the centre of the first. Unlike `grid_sample`, whole places give the pixel to the bit
    and derivatives of every order exist in every version of torch.
    """
    height, width = x.shape[2:]
    rows, columns = reflected(rows, height), reflected(columns, width)
    top, left = rows.floor().clamp(max=height - 2), columns.floor().clamp(max=width - 2)
    down, right = (rows - top)[:, None].to(x), (columns - left)[:, None].to(x)
    top, left = top.long(), left.long()
    above = torch.lerp(at(x, top, left), at(x, top, left + 1), right)
    below = torch.lerp(at(x, top + 1, left), at(x, top + 1, left + 1), right)
    return torch.lerp(above, below, down)


def at(x: Pictures, rows: Int[Tensor, "batch _ _"], columns: Int[Tensor, "batch _ _"]) -> Pictures:
    """Look pixels up, for every picture at places of its own."""
    places = (rows * x.shape[3] + columns).flatten(1)[:, None]
    return x.flatten(2).gather(2, places.expand(-1, x.shape[1], -1)).view(x.shape)


def reflected(places: Tensor, side: int) -> Tensor:
    """Fold places back into 0 .. side - 1, as mirrors at both ends would."""
    return (side - 1) - ((places % (2 * side - 2)) - (side - 1)).abs()


def within(first: Int[Tensor, "batch"], length: int, side: int) -> Tensor:
    """Say which of a side's places lie in a stretch: bool [batch, side]."""
    places = torch.arange(side, device=first.device) - first[:, None]
    return (places >= 0) & (places < length)


def uniform(x: Tensor, low: float, high: float) -> PerPicture:
    """Draw a number for each picture."""
    return low + (high - low) * torch.rand(len(x), device=x.device)


def integers(x: Tensor, low: int, high: int) -> Int[Tensor, "batch"]:
    """Draw an integer for each picture, both ends included."""
    return torch.randint(low, high + 1, (len(x),), device=x.device)
