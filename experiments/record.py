"""Record an expert's whole episodes as a demonstration file.

`python -m experiments.record --policy FILE.npz|RUN_DIR --env ID --episodes N --output FILE`; FILE.npz holds a policy as
plain arrays (rl/control/stored_policy.py says which), RUN_DIR an agent that was trained here. `cartpole-controller` is
a linear controller of our own; the bundled demonstrations are `python -m experiments.record --policy
cartpole-controller --env CartPole-v1 --episodes 4 --output experiments/data/cartpole_expert.npz`.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from experiments.config import LARGEST, one_line_errors
from rl.runtime import InputError, exit_codes

if TYPE_CHECKING:
    from torch import Tensor

    from rl.control.demonstrations import Agent
    from rl.control.spaces import Actions, Observations


@dataclass(frozen=True)
class Arguments:
    """Record an expert's whole episodes as a demonstration file."""

    policy: str
    """an .npz with a policy's weights, the folder of a run, or cartpole-controller"""
    env: str
    """the environment's id"""
    output: Path
    """the .npz to write"""
    episodes: int = 4
    """whole episodes, none left out"""
    env_kwargs: str = "{}"
    """the environment's arguments, a JSON object"""
    seed: int = 0
    """episode i is reset with seed + i"""
    deterministic: bool = False
    """take the likeliest action, not a sampled one"""


class CartPoleController:
    """Push to the side that a weighted sum of position, speed, angle and angular speed points to."""

    weights = (0.05, 0.1, 1.0, 0.3)
    noise = 0.05
    """the share of actions that `act` takes at random"""

    def mode(self, obs: "Tensor") -> "Tensor":
        """Push against the fall."""
        return (obs @ obs.new_tensor(self.weights) > 0).long()

    def act(self, obs: "Tensor") -> "Tensor":
        """Push against the fall, mostly."""
        import torch

        return torch.where(torch.rand(len(obs)) < self.noise, torch.randint(2, (len(obs),)), self.mode(obs))


def load_policy(name: str, layout: "Observations", actions: "Actions") -> "Agent":
    """Return the policy of that name; raise InputError where it does not fit the environment."""
    from rl.control import stored_policy

    width = layout.width
    if name == "cartpole-controller":
        if (width, actions.kind, actions.size) != (4, "discrete", 2):
            raise InputError(f"--policy {name}: is for CartPole, not for observations of {width} numbers")
        return CartPoleController()
    if Path(name).is_dir():
        from experiments.gail_setup import trained_agent

        agent: Agent = trained_agent(Path(name), layout, actions)
        return agent
    policy = stored_policy.load(Path(name))
    if policy.width != width:
        raise InputError(f"--policy {name}: obs_mean: sees {policy.width} numbers, the environment gives {width}")
    chooses = isinstance(policy.head, stored_policy.Categorical)
    if chooses is not (actions.kind == "discrete") or policy.size != actions.size:
        gives = f"{policy.size} {'choices' if chooses else 'numbers'}"
        raise InputError(f"--policy {name}: head: {gives}, the environment takes {actions.kind} of {actions.size}")
    return policy


def read_kwargs(text: str) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        kwargs = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"--env-kwargs {text}: {error}") from None
    if not isinstance(kwargs, dict):
        raise InputError(f"--env-kwargs {text}: expected a JSON object")
    return kwargs


def main(arguments: Sequence[str]) -> None:
    """Record, write, and say what was recorded."""
    a = one_line_errors(
        lambda: tyro.cli(Arguments, args=arguments, prog="python -m experiments.record", description=__doc__)
    )
    if a.episodes < 1:
        raise InputError(f"--episodes {a.episodes}: at least one")
    if not 0 <= a.seed < LARGEST:
        raise InputError(f"--seed {a.seed}: must be zero or more, and below 2^62")
    if a.output.suffix != ".npz":
        raise InputError(f"--output {a.output}: must end in .npz")
    from rl.control import demonstrations, environments, spaces

    kwargs = read_kwargs(a.env_kwargs)
    env = environments.make(a.env, min(a.episodes, 8), kwargs, native=False)  # so that each episode has its own seed
    try:
        layout = spaces.observations(env.single_observation_space, where=a.env)
        actions = spaces.actions(env.single_action_space, where=a.env)
        policy = load_policy(a.policy, layout, actions)
        recorded = demonstrations.record(
            policy, env, a.episodes, a.seed, deterministic=a.deterministic, env_kwargs=kwargs
        )
    finally:
        env.close()
    demonstrations.write(a.output, recorded, actions)
    returns, lengths = recorded.returns, recorded.lengths
    print(f"{a.output}: {len(returns)} episodes, {int(lengths.sum())} steps")
    print(f"return: mean {returns.mean():.1f}, least {returns.min():.1f}, largest {returns.max():.1f}")


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
