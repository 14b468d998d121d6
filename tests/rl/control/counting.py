"""A small environment whose episodes are known beforehand: seed s gives 2 + s % 4 steps that pay 1, 2, 3, ..."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

UNSEEDED = 99.0
"""what the first observation says after a reset without a seed"""


class Counting(gymnasium.Env[Any, Any]):
    """Observes (seed, time); even seeds terminate, odd ones are truncated. An action moves the third number."""

    observation_space = Box(-1e6, 1e6, (3,), np.float32)
    action_space = Box(-1, 1, (1,), np.float32)

    def __init__(self, fault: str = "", endless: bool = False) -> None:
        self.fault, self.endless = fault, endless

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.seed = UNSEEDED if seed is None else seed
        self.time, self.moved = 0, 0.0
        return self.obs(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        self.time, self.moved = self.time + 1, self.moved + float(action[0])
        over = self.time == 2 + self.seed % 4 and not self.endless
        reward = float("nan") if self.fault == "reward" else float(self.time)
        return self.obs(), reward, over and self.seed % 2 == 0, over and self.seed % 2 == 1, {}

    def obs(self) -> Any:
        broken = self.fault == "obs" and self.time
        return np.array([self.seed, self.time, np.inf if broken else self.moved], np.float32)


def expected(seed: int) -> tuple[float, int]:
    """Return what an episode pays, and its length."""
    length = 2 + seed % 4
    return length * (length + 1) / 2, length
