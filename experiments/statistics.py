"""Means over seeds, their 95 % intervals, and curves read at a place between their points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

Floats = Sequence[float]
FEWEST = 3  # below this a t-interval says next to nothing


@dataclass(frozen=True)
class Interval:
    """A mean over `n` values and the 95 % t-interval around it; bounds are nan for fewer than three values."""

    n: int
    mean: float
    low: float
    high: float


def interval(values: Floats) -> Interval:
    """Return mean and 95 % t-interval of independent values; nan of none."""
    n = len(values)
    mean = math.fsum(values) / n if n else math.nan
    if n < FEWEST:
        return Interval(n, mean, math.nan, math.nan)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    half = t_quantile(n - 1) * math.sqrt(variance / n)
    return Interval(n, mean, mean - half, mean + half)


def t_quantile(freedom: int, share: float = 0.95) -> float:
    """Return t with P(|T| < t) = share for Student's T of `freedom` degrees, by bisection."""
    low, high = 0.0, 1.0
    while t_cover(high, freedom) < share:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cover(middle, freedom) < share else (low, middle)
    return high


def t_cover(t: float, freedom: int) -> float:
    """Return P(|T| < t) for Student's T: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(1 + odd, freedom, 2):  # 1 + c^2 / 2 + (1 3) c^4 / (2 4) + ..., or c + 2 c^3 / 3 + ...
        total += term
        term *= cosine**2 * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def read_curve(x: Floats, y: Floats, at: float) -> float:
    """Return the lowest y that the line through the points, in their order, has at x = `at`; nan where it never is.

    The lowest, because a curve over temperatures may turn back, and its owner would choose the better temperature.
    """
    points = list(zip(x, y, strict=True))
    found = [b for a, b in points if a == at]
    for (x0, y0), (x1, y1) in pairwise(points):
        if min(x0, x1) < at < max(x0, x1):
            found.append(y0 + (y1 - y0) * (at - x0) / (x1 - x0))
    return min(found, default=math.nan)
