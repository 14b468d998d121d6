"""Soft actor-critic: off-policy learning of reward plus entropy, with automatic temperature; Haarnoja et al. 2018."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rl.control.flat import Flat, FlatAdam
from rl.control.offpolicy_agents import (
    LOG_STD_HIGH,
    LOG_STD_LOW,
    Bounds,
    Numbers,
    PerRow,
    Rows,
    SquashedGaussian,
    TwinQ,
)
from rl.control.passes import Passes
from rl.control.transitions import Transitions
from rl.runtime.errors import Diverged

if TYPE_CHECKING:  # the layouts need gymnasium, their users do not
    from rl.control.spaces import Actions


@dataclass(frozen=True)
class SAC:
    """How soft actor-critic learns."""

    gamma: float = 0.99
    """discount"""
    tau: float = 0.005
    """share of the critics that the targets take over at each update"""
    batch: int = 128
    """steps per update"""
    actor_lr: float = 3e-4
    critic_lr: float = 3e-4
    """also the encoder's"""
    alpha_lr: float = 3e-4
    """learning rate of the temperature's logarithm; 0 keeps the temperature"""
    entropy_per_number: float = -1.0
    """target entropy in nats for each number of the action, scaled to [-1, 1]"""


class SACAgent(nn.Module):
    """A squashed Gaussian actor, twin critics and their targets, on one encoder of the observations.

    `encoder` takes flat rows to features [rows features]: a Normaliser, or the encoder of pixels, which then learns
    from the critics' loss alone. The networks speak of actions in [-1, 1]; act, mode and steps speak of the
    environment's. Raises InputError for actions without finite bounds.
    """

    def __init__(
        self,
        encoder: nn.Module,
        features: int,
        actions: "Actions",
        hidden: tuple[int, ...] = (128, 128),
        alpha: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.bounds = Bounds(actions)
        self.numbers = actions.size
        self.actor = SquashedGaussian(features, actions.size, hidden)
        self.critics = TwinQ(features, actions.size, hidden)
        self.targets = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha)))

    @torch.no_grad()
    def act(self, obs: Rows) -> Numbers:
        """Sample actions within the bounds."""
        means, log_stds = self.actor(self.encoder(obs))
        return self.bounds.to_env((means + log_stds.exp() * torch.randn_like(means)).tanh())

    @torch.no_grad()
    def mode(self, obs: Rows) -> Numbers:
        """Give the squashed means."""
        return self.bounds.to_env(self.actor(self.encoder(obs))[0].tanh())


class SACOptimizer:
    """Adam for the actor, the critics (with the encoder) and the temperature; made after the agent has its device."""

    def __init__(self, agent: SACAgent, numbers: SAC) -> None:
        self.actor = Flat(agent.actor.parameters())
        self.critics = Flat((*agent.critics.parameters(), *agent.encoder.parameters()))
        self.targets = Flat(agent.targets.parameters())
        self.alpha = Flat([agent.log_alpha])
        rates = (numbers.actor_lr, numbers.critic_lr, numbers.alpha_lr)
        self.adam = FlatAdam((self.actor, self.critics, self.alpha), rates)
        self.online = self.critics.values[: len(self.targets.values)]
        self.memory = _Memory(agent, numbers.batch)

    def state_dict(self) -> dict[str, Any]:
        """Give Adam's moments."""
        return self.adam.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the moments where they were."""
        self.adam.load_state_dict(state)


def sac_round(
    agent: SACAgent, optimizer: SACOptimizer, steps: Transitions, rewards: PerRow, numbers: SAC
) -> dict[str, Tensor]:
    """Make one update for every `numbers.batch` rows, in their order; the metrics of the last one, as tensors.

    Actor, critics and temperature step together, each from the weights before the update. Target of the critics:
    r + gamma (1 - terminated) (min of the target critics - alpha log pi) at an action drawn in next_obs, so a truncated
    step bootstraps; what a termination is worth belongs into r. Raises Diverged, naming the net, if weights are not
    finite afterwards; ValueError for rows that do not divide, or for an agent that was moved since its optimizer.
    """
    updates, rest = divmod(steps.rows, numbers.batch)
    if rest or not updates:
        raise ValueError(f"sac_round: {steps.rows} rows are no multiple of the batch {numbers.batch}")
    if not (optimizer.actor.intact() and optimizer.critics.intact() and optimizer.targets.intact()):
        raise ValueError("sac_round: the agent was moved or copied after its optimizer was made")
    if optimizer.memory.batch != numbers.batch:
        raise ValueError(f"sac_round: the optimizer was made for a batch of {optimizer.memory.batch}")
    with torch.no_grad():
        rows = _Rows.of(agent, steps, rewards, updates, numbers)
        for update in range(updates):
            metrics = _update(agent, optimizer, rows, update, numbers)
        check_finite(agent, *optimizer.adam.parts)
        return metrics | optimizer.memory.metrics()


@dataclass(frozen=True)
class _Rows:
    """What the updates of a round need, laid out in one go: [updates batch] each.

    `inputs` are the critics' [updates 3 batch features+numbers]: what was done, what the actor would do, and what it
    would do next. The actor's own samples are filled in later.
    """

    inputs: Tensor
    noise: Tensor
    """standard normal, [updates 2 batch numbers]: for the actions in obs, and in next_obs"""
    log_probs: Tensor
    """the part of the log-densities that the noise settles, [updates 2 batch]"""
    rewards: Tensor
    discounts: Tensor
    """gamma, and 0 where terminated"""

    @classmethod
    def of(cls, agent: "SACAgent", steps: Transitions, rewards: Tensor, updates: int, numbers: SAC) -> "_Rows":
        places = (updates, numbers.batch)
        features = agent.encoder(torch.cat([steps.obs, steps.next_obs])).view(2, *places, -1)
        unit = agent.bounds.to_unit(steps.actions).view(*places, -1)
        inputs = features.new_empty(updates, 3, numbers.batch, features.shape[-1] + agent.numbers)
        width = features.shape[-1]
        inputs[:, 0, :, :width] = inputs[:, 1, :, :width] = features[0]
        inputs[:, 2, :, :width] = features[1]
        inputs[:, 0, :, width:] = unit
        noise = torch.randn(updates, 2, numbers.batch, agent.numbers, device=rewards.device)
        constant = agent.numbers * (0.5 * math.log(2 * math.pi) + 2 * math.log(2))
        settled = noise.square().sum(-1).mul_(-0.5).sub_(constant)
        discounts = torch.full_like(rewards, numbers.gamma).masked_fill_(steps.terminated, 0)
        return cls(inputs, noise, settled, rewards.view(places), discounts.view(places))


class _Memory:
    """What every update of that size works in."""

    def __init__(self, agent: SACAgent, batch: int) -> None:
        width = agent.critics.net.sizes[0]
        self.batch = batch
        self.inputs = torch.zeros(3, batch, width, device=agent.log_alpha.device)
        features, numbers = width - agent.numbers, slice(width - agent.numbers, None)
        self.actions = self.inputs[1:, :, numbers]
        self.actor = Passes(agent.actor.net, self.inputs[1:].flatten(0, 1)[:, :features], back=batch, learn=batch)
        self.critics = Passes(agent.critics.net, self.inputs[:2].flatten(0, 1), back=2 * batch, learn=batch)
        self.targets = Passes(agent.targets.net, self.inputs[2])
        self.of_actions = agent.critics.net.weights[0].detach()[:, numbers].mT
        self.means, self.log_stds = self.actor.answers[0].unflatten(0, (2, batch)).chunk(2, -1)
        self.of_means, self.of_log_stds = self.actor.gradients[0].chunk(2, -1)
        self.done, self.would = self.critics.answers[..., 0].chunk(2, 1)
        self.of_done, self.of_would = self.critics.gradients[..., 0].chunk(2, 1)

    def metrics(self) -> dict[str, Tensor]:
        """Tell how the critics stand after an update."""
        errors = self.of_done * self.batch
        return {"critic_loss": 0.5 * errors.square().mean(1).sum(), "q": self.done.mean()}


def _update(agent: SACAgent, optimizer: SACOptimizer, rows: _Rows, update: int, numbers: SAC) -> dict[str, Tensor]:
    memory, batch = optimizer.memory, numbers.batch
    noise, rewards, discounts = rows.noise[update], rows.rewards[update], rows.discounts[update]
    alpha = agent.log_alpha.exp()
    memory.inputs.copy_(rows.inputs[update])

    # the actor, in obs and in next_obs
    memory.actor.forward()
    log_stds = memory.log_stds.clamp(LOG_STD_LOW, LOG_STD_HIGH)
    spread = log_stds.exp().mul_(noise)
    raw = memory.means + spread
    unit = raw.tanh()
    memory.actions.copy_(unit)
    log_probs = rows.log_probs[update] + F.softplus(-2 * raw).add_(raw).mul_(2).sub_(log_stds).sum(-1)
    entropy = -log_probs[0].mean()

    # the critics: of what was done, and of what the actor would do
    first, second = memory.targets.forward()[..., 0]
    worth = torch.minimum(first, second).sub_(alpha * log_probs[1])
    targets = torch.addcmul(rewards, discounts, worth)
    memory.critics.forward()
    torch.sub(memory.done, targets, out=memory.of_done).div_(batch)
    torch.le(*memory.would, out=memory.of_would[0])
    torch.gt(*memory.would, out=memory.of_would[1])
    memory.of_would.div_(-batch)
    below = memory.critics.backward()
    of_unit = torch.bmm(below[:, batch:], memory.of_actions).sum(0)

    # the actor: d log pi / d raw = 2 tanh(raw), d log pi / d log_std = -1
    of_raw = torch.addcmul(of_unit, of_unit, unit[0].square(), value=-1).add_(unit[0] * (2 / batch * alpha))
    memory.of_means.copy_(of_raw)
    inside = log_stds[0] == memory.log_stds[0]
    torch.mul(of_raw.mul_(spread[0]).sub_(alpha / batch), inside, out=memory.of_log_stds)
    memory.actor.backward()
    torch.sub(entropy, numbers.entropy_per_number * agent.numbers, out=agent.log_alpha.grad)

    optimizer.adam.step()
    optimizer.targets.values.lerp_(optimizer.online, numbers.tau)
    return {"alpha": alpha, "entropy": entropy}


def check_finite(agent: nn.Module, *parts: Flat) -> None:
    """Raise Diverged naming the first parameter that is not finite."""
    if torch.stack([part.values.sum() for part in parts]).isfinite().all():
        return
    for name, weight in agent.named_parameters():
        if not weight.isfinite().all():
            raise Diverged(f"{type(agent).__name__}.{name} is not finite")
