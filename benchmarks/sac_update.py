"""Updates of soft actor-critic from replay, ours against Stable-Baselines3's SAC.train at equal sizes.

Both draw their batches from 5,000 random steps of 17 observed numbers and 6 actions (HalfCheetah's sizes) and update
actor, twin critics, temperature and targets. Ours steps actor and critics together, theirs one after the other.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box

from benchmarks.timing import Row, Work, paired, report
from rl.control.normaliser import Normaliser
from rl.control.replay import Replay
from rl.control.sac import SAC, SACAgent, SACOptimizer, sac_round
from rl.control.spaces import actions, observations
from rl.control.transitions import Transitions

STEPS = 5_000
SIZES = {"sac_update": 256, "sac_update_128": 128}  # width of both hidden layers, and the batch


@dataclass(frozen=True)
class Config:
    """Updates of SAC, ours against Stable-Baselines3's."""

    json: Path | None = None
    """write the result here as a flat JSON object"""
    updates: int = 50
    """per repeat"""
    repeats: int = 9
    threads: int = 1
    """CPU threads"""


class Spaces(gymnasium.Env[Any, Any]):
    """Only says how large things are."""

    observation_space = Box(-np.inf, np.inf, (17,), np.float32)
    action_space = Box(-1, 1, (6,), np.float32)


def ours(size: int, updates: int) -> Work:
    """Set up this repository's."""
    layout = observations(Spaces.observation_space, where="benchmark")
    acts = actions(Spaces.action_space, where="benchmark")
    agent, numbers = SACAgent(Normaliser(layout.width), layout.width, acts, (size, size)), SAC(batch=size)
    optimizer, replay = SACOptimizer(agent, numbers), Replay(STEPS, layout, acts)
    obs, next_obs = torch.randn(2, STEPS, layout.width)
    done = torch.rand(STEPS) < 0.01
    steps = Transitions(obs, torch.rand(STEPS, acts.size) * 2 - 1, next_obs, done)
    replay.add(steps, torch.randn(STEPS))
    agent.encoder.add(obs)

    def work() -> None:
        drawn, index = replay.sample(updates * size)
        sac_round(agent, optimizer, drawn, replay.rewards[index], numbers)

    return work


def theirs(size: int, updates: int) -> Work:
    """Set up Stable-Baselines3's."""
    import stable_baselines3
    from stable_baselines3.common.logger import configure

    kwargs: dict[str, Any] = {"batch_size": size, "buffer_size": STEPS, "device": "cpu"}
    model = stable_baselines3.SAC("MlpPolicy", Spaces(), policy_kwargs={"net_arch": [size, size]}, **kwargs)
    model.set_logger(configure(None, []))
    random = np.random.default_rng(0)
    for _ in range(STEPS):
        obs, next_obs = random.standard_normal((2, 1, 17))
        done, reward = random.random(1) < 0.01, random.standard_normal(1)
        model.replay_buffer.add(obs, next_obs, random.uniform(-1, 1, (1, 6)), reward, done, [{}])
    return lambda: model.train(updates, size)


def main(config: Config) -> None:
    """Time and report."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(0)
    rows = []
    for what, size in SIZES.items():
        timing = paired(ours(size, config.updates), theirs(size, config.updates), config.repeats)
        note = f"{size}x{size}, batch {size}, {config.updates} updates"
        rows.append(Row(what, "Stable-Baselines3", timing, note))
    rates = {f"updates_per_second/{row.what}": config.updates / row.timing.ours.cpu.median for row in rows}
    report(rows, config.json, numbers=rates)


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Config, description=__doc__))
