"""A painter's world in gymnasium: one stroke a step on a black canvas, a fixed number of strokes an episode.

Nothing here pays: what a canvas is worth is the reward's business.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rl.runtime import InputError

ID = "Painting-v0"
NUMBERS = 8
"""of a stroke, each from -1 to 1: x and y of where it begins, bends to and ends; width; ink"""
PIECES = 8  # straight ones that a curve is made of
WIDEST = 0.25  # of the canvas's side
Floats = NDArray[np.float32]


class Painting(VectorEnv[dict[str, NDArray[Any]], Floats, Floats]):
    """Canvases side by side; observed are the canvas [side * side], the class asked for, the strokes left.

    An episode's class is drawn from its seed. The environment itself pays nothing. Who steps must reset (DISABLED).
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(self, num_envs: int, side: int = 8, strokes: int = 4, classes: int = 10) -> None:
        for name, number in (("side", side), ("strokes", strokes), ("classes", classes)):
            if number < 1:
                raise InputError(f"{ID}: {name} {number}: must be at least 1")
        self.num_envs, self.side, self.strokes, self.classes = num_envs, side, strokes, classes
        canvas = Box(-1, 1, (side * side,), np.float32)
        self.single_observation_space = Dict(canvas=canvas, asked=Discrete(classes), left=Discrete(strokes + 1))
        self.single_action_space = Box(-1, 1, (NUMBERS,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.canvas = np.full((num_envs, side, side), -1, np.float32)
        self.asked, self.left = np.zeros((2, num_envs), np.int64)

    def reset(
        self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Clear all canvases, or those of `options["reset_mask"]`; one seed is counted up, a list has one for each."""
        seeds: Any = [None] * self.num_envs if seed is None else seed
        seeds = [seed + index for index in range(self.num_envs)] if isinstance(seed, int) else seeds
        for index in np.flatnonzero((options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))):
            self.canvas[index], self.left[index] = -1, self.strokes
            self.asked[index] = np.random.default_rng(seeds[index]).integers(self.classes)
        return self._observed(), {}

    def step(
        self, actions: Floats
    ) -> tuple[dict[str, NDArray[Any]], Floats, NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Paint a stroke on every canvas; an episode terminates with its last one."""
        self.canvas, self.left = paint(self.canvas, actions), self.left - 1
        nothing = np.zeros(self.num_envs, np.float32)
        return self._observed(), nothing, self.left == 0, np.zeros(self.num_envs, np.bool_), {}

    def _observed(self) -> dict[str, NDArray[Any]]:
        canvas = self.canvas.reshape(self.num_envs, -1).copy()
        return {"canvas": canvas, "asked": self.asked.copy(), "left": self.left.copy()}


def paint(canvases: Floats, strokes: Floats) -> Floats:
    """Lay one stroke [canvases 8] over each canvas [canvases side side]; pure.

    A stroke is a quadratic Bezier curve of round ends, as wide as a fraction of the side; ink -1 is black, 1 white.
    A pixel takes the share of the ink by which its centre lies inside, over one pixel from edge to edge.
    """
    side = canvases.shape[1]
    first, bend, last = (side * (strokes[:, None, at : at + 2] + 1) / 2 for at in (0, 2, 4))
    t = np.linspace(0, 1, PIECES + 1, dtype=np.float32)[:, None]
    curve = (1 - t) ** 2 * first + 2 * t * (1 - t) * bend + t**2 * last  # [canvases, PIECES + 1, (x, y)]
    half_width = side * WIDEST * (strokes[:, 6] + 1) / 4
    cover = np.clip(half_width[:, None, None] + 0.5 - distance(curve, side), 0, 1)
    painted: Floats = canvases + cover * (strokes[:, 7, None, None] - canvases)
    return painted


def distance(curve: Floats, side: int) -> Floats:
    """Return how far, in pixels, each pixel's centre is from a line of straight pieces: [canvases side side]."""
    centres = np.stack(np.meshgrid(*[np.arange(side, dtype=np.float32) + 0.5] * 2), -1)  # [y, x, (x, y)]
    nearest = np.full((len(curve), side, side), np.inf, np.float32)
    for piece in range(curve.shape[1] - 1):
        begin, along = curve[:, piece, None, None], (curve[:, piece + 1] - curve[:, piece])[:, None, None]
        away = centres - begin
        share = (away * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-12)
        gap = away - np.clip(share, 0, 1)[..., None] * along
        np.minimum(nearest, (gap * gap).sum(-1), out=nearest)
    return np.sqrt(nearest)


gymnasium.register(ID, vector_entry_point=Painting)
