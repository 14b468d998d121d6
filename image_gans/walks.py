"""Ways through the space of latents: between two of them, and close to the middle."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Noise = Float[Tensor, "*rows size"]
Between = Callable[[Noise, Noise, Float[Tensor, "*rows 1"]], Noise]


def truncated_normal(rows: int, size: int, bound: float, device: torch.device) -> Float[Tensor, "rows size"]:
    """Draw normal noise, again where a number is larger than `bound`; BigGAN: Brock et al. 2019 (1809.11096), 3.1.

    A smaller bound gives likelier pictures that differ less. Raises ValueError for a bound that is not positive.
    """
    if not bound > 0:
        raise ValueError(f"bound is {bound}, it must be positive")
    noise = torch.randn(rows, size, device=device)
    while (beyond := noise.abs() > bound).any():
        noise[beyond] = torch.randn(int(beyond.sum()), device=device)
    return noise


def lerp(start: Noise, end: Noise, share: Tensor) -> Noise:
    """Go straight from start (share 0) to end (share 1)."""
    return start + share * (end - start)


def slerp(start: Noise, end: Noise, share: Tensor) -> Noise:
    """Go along the great circle, so that noise keeps its usual length; White 2016 (1609.04468), 2.1.

    Directions that are equal, or opposite, leave no circle to choose: between these it goes straight.
    """
    cosine = torch.nn.functional.cosine_similarity(start, end, dim=-1).unsqueeze(-1)
    angle = cosine.clamp(-1, 1).acos()
    sine = angle.sin()
    arc = (((1 - share) * angle).sin() * start + (share * angle).sin() * end) / sine
    return torch.where(sine > 1e-3, arc, lerp(start, end, share))


def walk(start: Any, end: Any, steps: int, between: Between = slerp) -> Any:
    """Give latents on the way from each row of start to that of end, both ends included: steps rows for each row.

    A latent is a tensor or a tuple of such. What is not floating-point (a class) stays as it starts.
    """
    if isinstance(start, tuple):
        parts = [walk(a, b, steps, between) for a, b in zip(start, end, strict=True)]
        return tuple(parts) if type(start) is tuple else type(start)(*parts)
    if not start.is_floating_point():
        return start.repeat_interleave(steps, 0)
    share = torch.linspace(0, 1, steps, device=start.device).view(-1, 1)
    return between(start.unsqueeze(1), end.unsqueeze(1), share).flatten(0, 1)
