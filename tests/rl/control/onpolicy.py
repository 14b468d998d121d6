"""Agents and rollouts that the tests of on-policy learning share."""

import torch
from torch import Tensor

from rl.control.agents import OnPolicyAgent
from rl.control.spaces import Actions, Observations, Part
from rl.control.transitions import Transitions
from rl.rollout import Rollout

VECTOR = Observations(4, torch.float32, (Part("", "vector", (4,), 0, 4),))
PIXELS = Observations(3 * 8 * 8, torch.uint8, (Part("", "pixels", (3, 8, 8), 0, 192),))
CHOICE = Actions("discrete", 3)
BOX = Actions("box", 2, (-1.0, 2.0), (1.0, 6.0))


def agent_of(actions: Actions, observations: Observations = VECTOR, shake: float = 0.3) -> OnPolicyAgent:
    """Give a small agent that has opinions."""
    agent = OnPolicyAgent(observations, actions, hidden=(8, 8))
    with torch.no_grad():
        for net in (agent.policy, agent.baseline):
            net.weights.add_(shake * torch.randn_like(net.weights))
    return agent


def rollout_of(agent: OnPolicyAgent, rows: int, time: int, obs: Tensor | None = None) -> Rollout[Transitions]:
    """Give a rollout of random observations (or of these) and rewards, without ends."""
    width, dtype = (192, torch.uint8) if not agent.fixed_encoder else (4, torch.float32)
    if obs is None:
        obs = torch.randn(rows, time, width) if dtype == torch.float32 else torch.randint(256, (rows, time, width))
    obs = obs.to(dtype)
    actions = agent.act(obs.flatten(0, 1)).unflatten(0, (rows, time))
    following = torch.cat([obs[:, 1:], torch.randn_like(obs[:, :1].float()).to(dtype)], 1)
    no, zeros = torch.zeros(rows, time, dtype=torch.bool), torch.zeros(rows, time)
    steps = Transitions(obs, actions, following, no)
    return Rollout(steps, ~no, zeros, torch.randn(rows, time), zeros, zeros, no, no)
