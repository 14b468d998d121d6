"""Soft actor-critic: off-policy learning of reward plus entropy, with automatic temperature; Haarnoja et al. 2018."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.control.offpolicy_agents import Bounds, Flat, Numbers, PerRow, Rows, SquashedGaussian, TwinQ
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
        self.actor = Flat(agent.actor)
        self.critics = Flat(agent.critics, agent.encoder)
        self.targets = Flat(agent.targets)
        agent.log_alpha.grad = torch.zeros_like(agent.log_alpha)
        self.adam = torch.optim.Adam(
            [
                {"params": [self.actor.values], "lr": numbers.actor_lr},
                {"params": [self.critics.values], "lr": numbers.critic_lr},
                {"params": [agent.log_alpha], "lr": numbers.alpha_lr},
            ],
            fused=True,
        )

    def state_dict(self) -> dict[str, Any]:
        """Give Adam's moments."""
        return self.adam.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the moments where they were."""
        self.adam.load_state_dict(dict(state))


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
    noise = torch.randn(updates, 2, numbers.batch, agent.numbers, device=rewards.device)
    metrics: dict[str, Tensor] = {}
    for update in range(updates):
        part = slice(update * numbers.batch, (update + 1) * numbers.batch)
        batch = Transitions(*(field[part] for field in steps))
        loss, metrics = sac_loss(agent, batch, rewards[part], noise[update], numbers)
        optimizer.adam.zero_grad(set_to_none=False)
        torch.autograd.backward(loss)
        optimizer.adam.step()
        weights = optimizer.targets.values.data
        weights.lerp_(optimizer.critics.values.data[: len(weights)], numbers.tau)
    check_finite(agent)
    return metrics


def sac_loss(
    agent: SACAgent, batch: Transitions, rewards: PerRow, noise: Float[Tensor, "2 rows numbers"], numbers: SAC
) -> tuple[Tensor, dict[str, Tensor]]:
    """Add the losses of critics, actor and temperature; each reaches its own parameters alone. Eq. 5, 7 and 18."""
    features = agent.encoder(batch.obs)
    alpha = agent.log_alpha.detach().exp()
    with torch.no_grad():
        next_features = agent.encoder(batch.next_obs)
        next_actions, next_log_probs = agent.actor.sample_with_log_prob(next_features, noise[1])
        worth = agent.targets(next_features, next_actions).amin(0) - alpha * next_log_probs
        targets = rewards + numbers.gamma * worth.masked_fill(batch.terminated, 0)
    values = agent.critics(features, agent.bounds.to_unit(batch.actions))
    critic_loss = 0.5 * (values - targets).square().mean(1).sum()
    actions, log_probs = agent.actor.sample_with_log_prob(features.detach(), noise[0])
    of_actions = _frozen(agent.critics, features.detach(), actions).amin(0)
    actor_loss = (alpha * log_probs - of_actions).mean()
    excess = log_probs.detach().mean() + numbers.entropy_per_number * agent.numbers
    alpha_loss = -agent.log_alpha * excess
    metrics = {
        "critic_loss": critic_loss.detach(),
        "actor_loss": actor_loss.detach(),
        "alpha": alpha,
        "entropy": -log_probs.detach().mean(),
        "q": values.detach().mean(),
    }
    return critic_loss + actor_loss + alpha_loss, metrics


def _frozen(critics: TwinQ, features: Rows, unit: Numbers) -> Float[Tensor, "2 rows"]:
    weights = {name: weight.detach() for name, weight in critics.named_parameters()}
    values: Tensor = torch.func.functional_call(critics, weights, (features, unit))
    return values


def check_finite(agent: nn.Module) -> None:
    """Raise Diverged naming the first parameter that is not finite."""
    if torch.stack([weight.isfinite().all() for weight in agent.parameters()]).all():
        return
    name = next(name for name, weight in agent.named_parameters() if not weight.isfinite().all())
    raise Diverged(f"{type(agent).__name__}.{name} is not finite")
