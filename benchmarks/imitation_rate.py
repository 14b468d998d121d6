"""GAIL of imitation 1.0.1, timed from outside: runs in the environment that imitation_env.sh builds.

Its argument is a JSON object of numbers. For every line on stdin it trains for `rounds` rounds and answers with a JSON
list: processor seconds and seconds on the wall. It imports nothing of this project.
"""

import json
import sys
import tempfile
import time
import warnings
from typing import Any

import gymnasium
import numpy as np
import torch


def trainer_of(numbers: dict[str, Any]) -> Any:
    """Set up their GAIL on random demonstrations; only its time is of interest."""
    from imitation.algorithms.adversarial.gail import GAIL
    from imitation.data.types import Transitions
    from imitation.data.wrappers import RolloutInfoWrapper
    from imitation.rewards.reward_nets import BasicRewardNet
    from imitation.util import logger
    from imitation.util.networks import RunningNorm
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    venv = DummyVecEnv([lambda: RolloutInfoWrapper(gymnasium.make(numbers["env"]))] * numbers["envs"])
    rows, space = 20_000, venv.observation_space
    obs = np.random.default_rng(0).normal(size=(rows + 1, *space.shape)).astype(np.float32)
    acts = np.array([venv.action_space.sample() for _ in range(rows)])
    expert = Transitions(obs[:-1], acts, np.array([{}] * rows), obs[1:], np.zeros(rows, bool))
    learner = PPO(
        "MlpPolicy", venv, n_steps=numbers["horizon"], batch_size=numbers["minibatch"], n_epochs=numbers["epochs"],
        seed=0, device="cpu",
    )  # fmt: skip
    return GAIL(
        demonstrations=expert,
        demo_batch_size=numbers["d_batch"],
        gen_replay_buffer_capacity=numbers["d_replay"] or None,
        n_disc_updates_per_round=numbers["d_updates"],
        venv=venv,
        gen_algo=learner,
        reward_net=BasicRewardNet(space, venv.action_space, normalize_input_layer=RunningNorm),
        allow_variable_horizon=True,
        custom_logger=logger.configure(tempfile.mkdtemp(), []),
    )


def main() -> None:
    """Serve rounds until stdin ends."""
    warnings.filterwarnings("ignore")
    numbers = json.loads(sys.argv[1])
    torch.set_num_threads(numbers["threads"])
    trainer = trainer_of(numbers)
    steps = numbers["rounds"] * numbers["envs"] * numbers["horizon"]
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        trainer.train(steps)
        print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]), flush=True)


if __name__ == "__main__":
    main()
