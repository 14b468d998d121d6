"""An environment of a few steps for every kind of space and fault, and demonstrations of random actions."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

from experiments.gail_setup import EVALUATION_SEED
from rl.control import demonstrations, environments, spaces

PIXELS = partial(Box, 0, 255, (12, 12, 3), np.uint8)
OBSERVATIONS: dict[str, Callable[[], gymnasium.Space[Any]]] = {
    "vector": lambda: Box(-1, 1, (3,)),
    "matrix": lambda: Box(-1, 1, (2, 3), np.float64),
    "pixels": PIXELS,
    "vector and pixels": lambda: Dict(numbers=Box(-1, 1, (3,)), picture=PIXELS()),
    "choice": lambda: Discrete(5),
    "choices": lambda: MultiDiscrete([2, 3]),
    "tuple": lambda: Tuple([Box(-1, 1, (3,)), Discrete(2)]),
    "text": lambda: Dict(words=Text(3)),
    "nothing": lambda: Box(-1, 1, (0,)),
}
ACTIONS: dict[str, Callable[[], gymnasium.Space[Any]]] = {
    "numbers": lambda: Box(np.array([-1, 0], np.float32), np.array([2, 1], np.float32)),
    "choice": lambda: Discrete(3, start=1),
    "choices": lambda: MultiDiscrete([2, 2]),
    "bits": lambda: MultiBinary(3),
    "matrix": lambda: Box(-1, 1, (2, 2)),
    "whole_numbers": lambda: Box(0, 3, (2,), np.int32),
    "without_bounds": lambda: Box(-np.inf, np.inf, (2,)),
}


class Toy(gymnasium.Env[Any, Any]):
    """Shows what it draws, pays what is done, and ends after 4 to 9 steps, by termination or truncation.

    A fault comes at step `at` of its life, or, "in evaluation", at a step of an episode that only measuring plays.
    """

    def __init__(self, observes: str = "vector", acts: str = "choice", fault: str = "", at: int = 11) -> None:
        self.observation_space, self.action_space = OBSERVATIONS[observes](), ACTIONS[acts]()
        self.fault, self.at, self.life, self.left, self.measured = fault, at, 0, 0, False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin."""
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.measured = seed == EVALUATION_SEED
        self.left = self.length = int(self.np_random.integers(4, 10))
        if self.fault == "no_reset":
            raise RuntimeError("the door\nis shut")
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Go on."""
        assert self.action_space.contains(action), action
        self.life, self.left = self.life + 1, self.left - 1
        obs, reward = self.observation_space.sample(), float(self.np_random.random() + np.sum(action))
        if self.life == self.at or (self.measured and "in evaluation" in self.fault):
            match self.fault.removesuffix(" in evaluation"):
                case "raises":
                    raise RuntimeError("out of\nthe world")
                case "observes nan":
                    obs[0] = np.nan
                case "pays inf":
                    reward = np.inf
        over = self.left == 0
        return obs, reward, over and self.length % 2 == 1, over and self.length % 2 == 0, {}


@contextmanager
def registered() -> Iterator[None]:
    """Know the environment inside, as Toy-v0, also without bounds on its actions."""
    gymnasium.register("Toy-v0", entry_point=Toy)
    yield
    del gymnasium.registry["Toy-v0"]


def record(path: Path, env_id: str = "Toy-v0", episodes: int = 3, seed: int = 0, **kwargs: Any) -> Path:
    """Write demonstrations of random actions."""
    env = environments.make(env_id, 1, kwargs)
    actions = spaces.actions(env.single_action_space, where=env_id)
    recorded = demonstrations.record(
        demonstrations.Aimless(actions, seed), env, episodes, seed, deterministic=False, env_kwargs=kwargs
    )
    demonstrations.write(path, recorded, actions)
    env.close()
    return path


def toy(folder: Path, **kwargs: Any) -> list[str]:
    """Return the flags of the environment, with demonstrations written in a folder."""
    faultless = {name: value for name, value in kwargs.items() if name in ("observes", "acts")}
    demos = record(folder / "toy.npz", **faultless)
    return ["--env", "Toy-v0", "--env-kwargs", json.dumps(kwargs), "--demos", str(demos)]
