"""Soft actor-critic: off-policy learning of reward plus entropy, with automatic temperature; Haarnoja et al. 2018."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rl.control.flat import Flat, FlatAdam, check_finite, gradient_of
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
from rl.control.offpolicy_batches import Batch, batches, learns, teach
from rl.control.passes import Passes
from rl.control.transitions import Transitions

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
    """Adam's, for the actor"""
    critic_lr: float = 3e-4
    """Adam's, for the critics and an encoder that learns"""
    alpha_lr: float = 3e-4
    """learning rate of the temperature's logarithm; 0 keeps the temperature"""
    entropy_per_number: float = -1.0
    """target entropy in nats for each number of the action, scaled to [-1, 1]"""
    entropy_share: float = 0.5
    """target entropy of choices, as a share of log(choices); the paper's 0.98 hardly lets an actor choose"""


class Workplace(Protocol):
    """What the updates of one kind of agent work in."""

    rows: int

    def gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Write the gradients of actor, critics and temperature; give `alpha` and `entropy` before the update."""
        ...

    def of_features(self) -> Rows:
        """Give the gradient of the critics' loss in the features."""
        ...

    def metrics(self) -> dict[str, Tensor]:
        """Tell how the critics stood in the last update: `critic_loss`, `q`."""
        ...


class SoftAgent(nn.Module):
    """An actor, twin critics and their targets, on one encoder of the observations, and the temperature.

    `encoder` takes flat rows to features [rows features]: a Normaliser, or the encoder of pixels, which then learns
    from the critics' loss alone.
    """

    def __init__(self, encoder: nn.Module, actor: nn.Module, critics: nn.Module, alpha: float) -> None:
        super().__init__()
        self.encoder, self.actor, self.critics = encoder, actor, critics
        self.targets = copy.deepcopy(critics).requires_grad_(False)
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha)))

    def act(self, obs: Rows) -> Tensor:
        """Sample actions."""
        raise NotImplementedError

    def mode(self, obs: Rows) -> Tensor:
        """Give the actions that the actor prefers."""
        raise NotImplementedError

    def to_unit(self, actions: Tensor) -> Numbers:
        """Write the environment's actions as the critics see them."""
        raise NotImplementedError

    def workplace(self, numbers: SAC) -> Workplace:
        """Make what updates work in; the parameters must be part of a Flat."""
        raise NotImplementedError


class SACAgent(SoftAgent):
    """For a bounded Box: a squashed Gaussian actor, and critics of features and actions.

    The networks speak of actions in [-1, 1]; act, mode and steps speak of the environment's. Raises InputError for
    actions without finite bounds.
    """

    actor: SquashedGaussian
    critics: TwinQ
    targets: TwinQ

    def __init__(
        self,
        encoder: nn.Module,
        features: int,
        actions: "Actions",
        hidden: tuple[int, ...] = (128, 128),
        alpha: float = 1.0,
    ) -> None:
        bounds, numbers = Bounds(actions), actions.size
        actor, critics = SquashedGaussian(features, numbers, hidden), TwinQ(features, numbers, hidden)
        super().__init__(encoder, actor, critics, alpha)
        self.bounds, self.numbers = bounds, numbers

    @torch.no_grad()
    def act(self, obs: Rows) -> Numbers:
        """Sample actions within the bounds."""
        means, log_stds = self.actor(self.encoder(obs))
        return self.bounds.to_env((means + log_stds.exp() * torch.randn_like(means)).tanh())

    @torch.no_grad()
    def mode(self, obs: Rows) -> Numbers:
        """Give the squashed means."""
        return self.bounds.to_env(self.actor(self.encoder(obs))[0].tanh())

    def to_unit(self, actions: Tensor) -> Numbers:
        """Scale to [-1, 1]."""
        return self.bounds.to_unit(actions)

    def workplace(self, numbers: SAC) -> Workplace:
        """Make what updates work in."""
        return _Work(self, numbers)


class SACOptimizer:
    """Adam for the actor, the critics (with the encoder) and the temperature; made after the agent has its device."""

    def __init__(self, agent: SoftAgent, numbers: SAC) -> None:
        self.actor = Flat(agent.actor.parameters())
        self.critics = Flat((*agent.critics.parameters(), *agent.encoder.parameters()))
        self.targets = Flat(agent.targets.parameters())
        self.alpha = Flat([agent.log_alpha])
        self.followed = self.critics.values[: len(self.targets.values)]
        rates = (numbers.actor_lr, numbers.critic_lr, numbers.alpha_lr)
        self.adam = FlatAdam((self.actor, self.critics, self.alpha), rates)
        self.work = agent.workplace(numbers)

    def set_share(self, share: float) -> None:
        """Take this share of all rates from now on."""
        self.adam.share = share

    def state_dict(self) -> dict[str, Any]:
        """Give Adam's moments."""
        return self.adam.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the moments where they were."""
        self.adam.load_state_dict(state)


def sac_round(
    agent: SoftAgent, optimizer: SACOptimizer, steps: Transitions, rewards: PerRow, numbers: SAC
) -> dict[str, Tensor]:
    """Make one update for every `numbers.batch` rows, in their order; the metrics of the last one, as tensors.

    Actor, critics and temperature step together, each from the weights before the update. Target of the critics:
    r + gamma (1 - terminated) (min of the target critics - alpha log pi) at an action drawn in next_obs, so a truncated
    step bootstraps; what a termination is worth belongs into r. Raises Diverged, naming the net, if weights are not
    finite afterwards; ValueError for rows that do not divide into batches of the optimizer's size, or for an agent that
    was moved since its optimizer was made.
    """
    work = optimizer.work
    for part in (*optimizer.adam.parts, optimizer.targets):
        part.require_intact()
    metrics: dict[str, Tensor] = {}
    for batch in batches(agent.encoder, agent.to_unit, steps, rewards, work.rows, numbers.gamma):
        with torch.no_grad():
            metrics = work.gradients(batch)
        if learns(agent.encoder):
            teach(agent.encoder, batch.features, work.of_features())
        optimizer.adam.step()
        optimizer.targets.values.lerp_(optimizer.followed, numbers.tau)
    check_finite(agent, (*optimizer.adam.parts, optimizer.targets))
    return metrics | work.metrics()


class _Work:
    """What every update works in, and views of it."""

    def __init__(self, agent: SACAgent, numbers: SAC) -> None:
        rows = numbers.batch
        width = agent.critics.net.sizes[0]
        features, acts = slice(0, width - agent.numbers), slice(width - agent.numbers, width)
        self.rows, self.numbers = rows, agent.numbers
        self.target_entropy = numbers.entropy_per_number * agent.numbers
        self.log_alpha, self.of_log_alpha = agent.log_alpha.detach(), gradient_of(agent.log_alpha)
        self.inputs = torch.zeros(3, rows, width, device=agent.log_alpha.device)
        self.actions = self.inputs[1:, :, acts]
        self.actor = Passes(agent.actor.net, self.inputs[1:].flatten(0, 1)[:, features], back=rows, learn=rows)
        self.critics = Passes(agent.critics.net, self.inputs[:2].flatten(0, 1), back=2 * rows, learn=rows)
        self.targets = Passes(agent.targets.net, self.inputs[2])
        self.means, self.log_stds = self.actor.answers.view(2, rows, -1).chunk(2, -1)
        self.of_means, self.of_log_stds = self.actor.gradients[0].chunk(2, -1)
        self.done, self.would = self.critics.answers[..., 0].chunk(2, 1)
        self.of_done, self.of_would = self.critics.gradients[..., 0].chunk(2, 1)
        self.to_features, self.to_actions = (
            agent.critics.net.weights[0].detach().mT.split([features.stop, agent.numbers], -1)
        )

    def gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Write the gradients of eq. 5, 7 and 18 of Haarnoja et al. 2018b (1812.05905)."""
        rows, alpha = self.rows, self.log_alpha.exp()
        self.inputs.copy_(batch.inputs)

        # the actor, in obs and in next_obs; log(1 - tanh(u)^2) = -2 log cosh(u) = 2 (log 2 - u - softplus(-2u))
        self.actor.forward()
        log_stds = self.log_stds.clamp(LOG_STD_LOW, LOG_STD_HIGH)
        spread = log_stds.exp().mul_(batch.noise)
        raw = self.means + spread
        unit = raw.tanh()
        self.actions.copy_(unit)
        squashed = F.softplus(-2 * raw).add_(raw).mul_(2).sub_(log_stds).sum(-1)
        log_probs = squashed.sub_(batch.densities).sub_(self.numbers * (0.5 * math.log(2 * math.pi) + 2 * math.log(2)))
        entropy = -log_probs[0].mean()

        # the critics: of what was done, and of what the actor would do, where the lesser counts
        first, second = self.targets.forward()[..., 0]
        worth = torch.minimum(first, second).sub_(alpha * log_probs[1])
        self.critics.forward()
        torch.sub(self.done, torch.addcmul(batch.rewards, batch.discounts, worth), out=self.of_done)
        torch.le(*self.would, out=self.of_would[0])
        torch.gt(*self.would, out=self.of_would[1])
        self.of_would.neg_()
        self.critics.gradients.div_(rows)
        self.critics.backward()

        # the actor: d log pi / d raw = 2 tanh(raw), d log pi / d log_std = -1, through the noise
        of_unit = self.of_actions()
        of_raw = of_unit.addcmul_(of_unit, unit[0].square(), value=-1).add_(unit[0] * (2 / rows * alpha))
        self.of_means.copy_(of_raw)
        inside = log_stds[0] == self.log_stds[0]
        torch.mul(of_raw.mul_(spread[0]).sub_(alpha / rows), inside, out=self.of_log_stds)
        self.actor.backward()
        self.of_log_alpha.copy_(entropy - self.target_entropy)
        return {"alpha": alpha, "entropy": entropy}

    def of_features(self) -> Tensor:
        """Give the gradient of the critics' loss in the features [rows features]."""
        return torch.bmm(self.critics.first[:, : self.rows], self.to_features).sum(0)

    def of_actions(self) -> Tensor:
        """Give the gradient of -(the lesser value) in the actor's actions [rows numbers]."""
        return torch.bmm(self.critics.first[:, self.rows :], self.to_actions).sum(0)

    def metrics(self) -> dict[str, Tensor]:
        """Tell how the critics stood in the last update."""
        loss = 0.5 * self.rows * self.of_done.square().sum()  # of_done is the error over the rows
        return {"critic_loss": loss, "q": self.done.mean()}
