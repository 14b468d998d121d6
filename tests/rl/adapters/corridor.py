"""A corridor whose every step can be told from every other, and a reward that shows what it was called on."""

from itertools import cycle

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete

from rl import AIRL
from rl.control import spaces
from rl.control.discriminators import StepDiscriminator
from rl.control.encoder import Encoder
from rl.control.learned_reward import LearnedReward
from rl.control.transitions import Transitions, concatenate

WALKS = ((1, 1, 0, 1, 1, 0), (0, 0, 1, 1, 0, 1, 0))
"""what two walkers do, over and over: the first reaches the end at times, the second never does"""


class Corridor(gymnasium.Env):
    """Begin at 10 times the episode's number and step right (1) or left (0).

    Three steps from the begin to the right it ends, after seven steps it is cut off.
    """

    observation_space = Box(-np.inf, np.inf, (2,), np.float32)
    action_space = Discrete(2)

    def __init__(self):
        self.obs = np.zeros(2, np.float32)
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.obs[:] = (10 * self.episode, 0)
        return self.obs.copy(), {}

    def step(self, action):
        self.obs += (2 * action - 1, 1)
        ended = bool(self.obs[0] == 10 * self.episode + 3)
        return self.obs.copy(), float(self.obs[1]) / 2, ended, bool(self.obs[1] == 7) and not ended, {}


class Reused(gymnasium.ObservationWrapper):
    """Returns the same array at every step, as some environments do."""

    def __init__(self, env):
        super().__init__(env)
        self.held = np.zeros(2, np.float32)

    def observation(self, observation):
        self.held[:] = observation
        return self.held


class Rooms(gymnasium.ObservationWrapper):
    """The same in a dict."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = Dict({"place": Box(-np.inf, np.inf, (1,)), "time": Box(-np.inf, np.inf, (1,))})

    def observation(self, observation):
        return {"place": observation[:1].copy(), "time": observation[1:].copy()}


class Exact:
    """Each number that goes into a step stands at a digit of its own; the steps are kept. It can be made to learn."""

    def __init__(self):
        self.seen = []
        self.scale = 1

    def __call__(self, steps):
        self.seen.append(Transitions(*(field.clone() for field in steps)))
        place, after = steps.obs[:, 0], steps.next_obs[:, 0]
        return self.scale * (
            place + 100 * after + 10_000 * steps.actions.reshape(len(after), -1)[:, 0] + 100_000 * steps.terminated
        )

    @property
    def steps(self):
        return concatenate(*self.seen)


def expected(walk, episodes):
    """Give what the steps of that walk pay, with terminated and truncated, worked out by arithmetic alone."""
    rows, actions = [], cycle(walk)
    for episode in range(1, episodes + 1):
        place, time, over = 10 * episode, 0, False
        while not over:
            action = next(actions)
            after, time = place + 2 * action - 1, time + 1
            terminated = after == 10 * episode + 3
            truncated = time == 7 and not terminated
            rows.append((place + 100 * after + 10_000 * action + 100_000 * terminated, terminated, truncated))
            place, over = after, terminated or truncated
    return rows


def learned(env, **numbers):
    """Give a learned reward on the spaces of a single environment."""
    observations = spaces.observations(env.observation_space, where="env")
    actions = spaces.actions(env.action_space, where="env")
    torch.manual_seed(0)
    net = StepDiscriminator(observations.width, actions)
    return LearnedReward(Encoder(observations), net, AIRL(), observations, actions, **numbers)
