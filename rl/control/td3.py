"""Twin delayed deep deterministic policy gradients; Fujimoto, van Hoof & Meger 2018 (1802.09477), algorithm 1."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rl.control.flat import Flat, FlatAdam, check_finite
from rl.control.offpolicy_agents import Bounds, Numbers, PerRow, Rows, StackedMLP, TwinQ
from rl.control.offpolicy_batches import Batch, batches, learns, teach
from rl.control.passes import Passes
from rl.control.transitions import Transitions

if TYPE_CHECKING:  # the layouts need gymnasium, their users do not
    from rl.control.spaces import Actions


@dataclass(frozen=True)
class TD3:
    """How TD3 learns; noise in units of actions scaled to [-1, 1]."""

    gamma: float = 0.99
    """discount"""
    tau: float = 0.005
    """share of the networks that the targets take over when they move"""
    batch: int = 128
    """steps per update"""
    actor_lr: float = 3e-4
    """Adam's, for the actor"""
    critic_lr: float = 3e-4
    """Adam's, for the critics and an encoder that learns"""
    delay: int = 2
    """updates of the critics for one of the actor and the targets"""
    target_noise: float = 0.2
    """standard deviation of the noise on the target actor's actions"""
    target_clip: float = 0.5
    """largest size of that noise"""


class TD3Agent(nn.Module):
    """A deterministic actor, twin critics and targets of all three, on one encoder of the observations.

    `encoder` as for SACAgent. `exploration` is the standard deviation of the noise that `act` adds, in units of actions
    scaled to [-1, 1]. Raises InputError for actions without finite bounds.
    """

    def __init__(
        self,
        encoder: nn.Module,
        features: int,
        actions: "Actions",
        hidden: tuple[int, ...] = (128, 128),
        exploration: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder, self.exploration = encoder, exploration
        self.bounds, self.numbers = Bounds(actions), actions.size
        self.actor = StackedMLP(1, (features, *hidden, actions.size))
        self.critics = TwinQ(features, actions.size, hidden)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)

    @torch.no_grad()
    def act(self, obs: Rows) -> Numbers:
        """Give the actor's actions with noise, within the bounds."""
        unit = self.actor(self.encoder(obs))[0].tanh()
        return self.bounds.to_env((unit + self.exploration * torch.randn_like(unit)).clamp_(-1, 1))

    @torch.no_grad()
    def mode(self, obs: Rows) -> Numbers:
        """Give the actor's actions."""
        return self.bounds.to_env(self.actor(self.encoder(obs))[0].tanh())


class TD3Optimizer:
    """Adam for the critics (with the encoder) and for the actor; made after the agent has its device."""

    def __init__(self, agent: TD3Agent, numbers: TD3) -> None:
        self.actor = Flat(agent.actor.parameters())
        self.critics = Flat((*agent.critics.parameters(), *agent.encoder.parameters()))
        self.target_actor = Flat(agent.target_actor.parameters())
        self.target_critics = Flat(agent.target_critics.parameters())
        self.parts = (self.actor, self.critics, self.target_actor, self.target_critics)
        self.followed = self.critics.values[: len(self.target_critics.values)]
        self.actor_adam = FlatAdam((self.actor,), (numbers.actor_lr,))
        self.critics_adam = FlatAdam((self.critics,), (numbers.critic_lr,))
        self.updates = 0
        self.work = _Work(agent, numbers)

    def set_share(self, share: float) -> None:
        """Take this share of all rates from now on."""
        self.actor_adam.share = self.critics_adam.share = share

    def state_dict(self) -> dict[str, Any]:
        """Give Adam's moments and the number of updates, on which the delay depends."""
        adams = {"actor": self.actor_adam.state_dict(), "critics": self.critics_adam.state_dict()}
        return {**adams, "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the moments where they were."""
        self.actor_adam.load_state_dict(state["actor"])
        self.critics_adam.load_state_dict(state["critics"])
        self.updates = state["updates"]


def td3_round(
    agent: TD3Agent, optimizer: TD3Optimizer, steps: Transitions, rewards: PerRow, numbers: TD3
) -> dict[str, Tensor]:
    """Make one update for every `numbers.batch` rows, in their order; the metrics of the last one, as tensors.

    Target of the critics: r + gamma (1 - terminated) min of the target critics at the target actor's noisy action in
    next_obs, so a truncated step bootstraps; what a termination is worth belongs into r. Every `delay`-th update the
    actor climbs the first critic, and the targets move. Raises as `sac_round` does.
    """
    work = optimizer.work
    for part in optimizer.parts:
        part.require_intact()
    for batch in batches(agent.encoder, agent.bounds.to_unit, steps, rewards, work.rows, numbers.gamma):
        with torch.no_grad():
            work.critics_gradients(batch, numbers)
        if learns(agent.encoder):
            teach(agent.encoder, batch.features, work.of_features())
        optimizer.critics_adam.step()
        optimizer.updates += 1
        if optimizer.updates % numbers.delay == 0:
            with torch.no_grad():
                work.actor_gradients()
            optimizer.actor_adam.step()
            optimizer.target_actor.values.lerp_(optimizer.actor.values, numbers.tau)
            optimizer.target_critics.values.lerp_(optimizer.followed, numbers.tau)
    check_finite(agent, optimizer.parts)
    return work.metrics()


class _Work:
    """What every update works in, and views of it."""

    def __init__(self, agent: TD3Agent, numbers: TD3) -> None:
        width = agent.critics.net.sizes[0]
        features, acts = slice(0, width - agent.numbers), slice(width - agent.numbers, width)
        self.rows = rows = numbers.batch
        self.inputs = torch.zeros(3, rows, width, device=next(agent.actor.parameters()).device)
        done, would, after = self.inputs
        self.would, self.after = would[:, acts], after[:, acts]
        self.actor = Passes(agent.actor, would[:, features], back=rows, learn=rows)
        self.critics = Passes(agent.critics.net, done, back=rows, learn=rows)
        self.judge = Passes(agent.critics.net, would, back=rows, nets=slice(1))
        self.target_actor = Passes(agent.target_actor, after[:, features])
        self.target_critics = Passes(agent.target_critics.net, after)
        first = agent.critics.net.weights[0].detach()
        self.to_features, self.to_actions = first[:, features].mT, first[0, acts].mT

    def critics_gradients(self, batch: Batch, numbers: TD3) -> None:
        """Write the gradients of the squared errors, halved."""
        self.inputs.copy_(batch.inputs)
        noise = (numbers.target_noise * batch.noise[1]).clamp_(-numbers.target_clip, numbers.target_clip)
        torch.clamp(self.target_actor.forward()[0].tanh() + noise, -1, 1, out=self.after)
        worth = self.target_critics.forward()[..., 0].amin(0)
        targets = torch.addcmul(batch.rewards, batch.discounts, worth)
        torch.sub(self.critics.forward()[..., 0], targets, out=self.critics.gradients[..., 0])
        self.critics.gradients.div_(self.rows)
        self.critics.backward()

    def actor_gradients(self) -> None:
        """Write the gradient of -(the first critic's value)."""
        unit = self.actor.forward()[0].tanh()
        self.would.copy_(unit)
        self.judge.forward()
        self.judge.gradients.fill_(-1 / self.rows)
        of_unit = torch.mm(self.judge.backward()[0], self.to_actions)
        torch.addcmul(of_unit, of_unit, unit.square(), value=-1, out=self.actor.gradients[0])
        self.actor.backward()

    def of_features(self) -> Rows:
        """Give the gradient of the critics' loss in the features."""
        return torch.bmm(self.critics.first, self.to_features).sum(0)

    def metrics(self) -> dict[str, Tensor]:
        """Tell how the critics stood in the last update."""
        loss = 0.5 * self.rows * self.critics.gradients.square().sum()
        return {"critic_loss": loss, "q": self.critics.answers.mean()}
