"""Where an agent's rewards come from: a discriminator that learns with it, the environment, a stored reward, a number.

Agents that learn from their own steps have a whole rollout paid (`pay`); those that learn from replay have a batch paid
when it is drawn (`lesson`), so that a reward is never older than the discriminator that gives it.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.control.demonstrations import Subsampled
from rl.control.discriminator_updates import VERDICTS, AutogradUpdates
from rl.control.discriminators import embed
from rl.control.earning import Earned, Ends, absorbing_logit, ending
from rl.control.fused_discriminator import fast
from rl.control.replay import Replay
from rl.control.spaces import Actions
from rl.control.transitions import Transitions
from rl.objectives import Objective
from rl.penalties import Penalty
from rl.rollout import Rollout
from rl.runtime.engine import Engine

Rewards = Float[Tensor, "rows"]
Metrics = dict[str, Tensor]


class Source(Protocol):
    """Pays an agent, and may learn how."""

    def learn(self, fake: Callable[[int], Transitions], updates: int, agent: Ends) -> Metrics:
        """Learn from the agent's steps, of which `fake` draws some, and from how often they terminated."""
        ...

    def pay(self, rollout: Rollout[Transitions]) -> Float[Tensor, "batch time"]:
        """Give one number per step of a rollout."""
        ...

    def lesson(self, replay: Replay, rows: int) -> tuple[Transitions, Rewards]:
        """Draw steps to learn from, with their rewards."""
        ...


class Environment:
    """The environment's own rewards: for experts and for comparison, never for imitation."""

    def learn(self, fake: Callable[[int], Transitions], updates: int, agent: Ends) -> Metrics:
        """Nothing to learn."""
        return {}

    def pay(self, rollout: Rollout[Transitions]) -> Float[Tensor, "batch time"]:
        """Leave the rewards as they are."""
        return rollout.rewards

    def lesson(self, replay: Replay, rows: int) -> tuple[Transitions, Rewards]:
        """Draw steps with the rewards they had."""
        steps, index = replay.sample(rows)
        return steps, replay.rewards[index]


class Given:
    """A reward that stays as it is: one that was learned elsewhere, or a constant."""

    def __init__(self, reward: Callable[[Transitions], Tensor]) -> None:
        self.reward = reward

    def learn(self, fake: Callable[[int], Transitions], updates: int, agent: Ends) -> Metrics:
        """Nothing to learn."""
        return {}

    def pay(self, rollout: Rollout[Transitions]) -> Float[Tensor, "batch time"]:
        """Ask the reward."""
        paid = self.reward(rollout.steps.flat()).view(rollout.mask.shape)
        return paid.masked_fill(~rollout.mask, 0)

    def lesson(self, replay: Replay, rows: int) -> tuple[Transitions, Rewards]:
        """Draw steps, and ask the reward."""
        steps, _ = replay.sample(rows)
        return steps, self.reward(steps)


class ExpertOrNot:
    """1 for the expert's steps, 0 for one's own, drawn in equal parts: SQIL; Reddy et al. 2020 (1905.11108), alg. 1.

    A termination earns the same number for ever after, so that ending is neither a gain nor a loss by itself.
    """

    def __init__(self, demonstrations: Subsampled, batch: int, discount: float) -> None:
        self.demonstrations, self.batch, self.forever = demonstrations, batch, 1 / (1 - discount)

    def learn(self, fake: Callable[[int], Transitions], updates: int, agent: Ends) -> Metrics:
        """Nothing to learn."""
        return {}

    def pay(self, rollout: Rollout[Transitions]) -> Float[Tensor, "batch time"]:
        """Own steps earn nothing."""
        return torch.zeros_like(rollout.rewards)

    def lesson(self, replay: Replay, rows: int) -> tuple[Transitions, Rewards]:
        """Draw minibatches whose first half is the expert's."""
        half = self.batch // 2
        expert = self.demonstrations.pairs(rows // self.batch * half)
        own, _ = replay.sample(rows // self.batch * (self.batch - half))
        paid = torch.where(expert.terminated, self.forever, 1.0)
        steps = interleave(expert, own, half, self.batch - half)
        rewards = torch.cat([paid.view(-1, half), torch.zeros(own.rows).view(-1, self.batch - half)], 1)
        return steps, rewards.flatten()


def interleave(first: Transitions, second: Transitions, some: int, others: int) -> Transitions:
    """Alternate `some` rows of the first with `others` of the second."""
    joined = (
        torch.cat([a.view(-1, some, *a.shape[1:]), b.view(-1, others, *b.shape[1:])], 1).flatten(0, 1)
        for a, b in zip(first, second, strict=True)
    )
    return Transitions(*joined)


class Rules(NamedTuple):
    """How a discriminator learns beside an agent."""

    batch: int
    """the expert's steps in a batch, and as many of the agent's"""
    entropy: float
    """weight of the entropy of its verdicts, in nats"""
    limit: float
    """of the size of a logit that is paid for"""
    discount: float
    """of the agent"""
    absorbing: bool
    """whether terminations are judged, or simply end"""


class Adversary:
    """A discriminator, its objective, penalty and optimizer, and the demonstrations that it knows."""

    def __init__(
        self,
        encoder: Callable[[Tensor], Tensor],
        actions: Actions,
        discriminator: nn.Module,
        demonstrations: Subsampled,
        objective: Objective,
        penalty: Penalty,
        optimizer: torch.optim.Optimizer,
        rules: Rules,
        engine: Engine,
        minus: "Callable[[Transitions], Tensor]",
    ) -> None:
        """`minus` is subtracted from the discriminator's output: AIRL's log pi; see `nothing`."""
        self.encoder, self.actions = encoder, actions
        self.discriminator, self.demonstrations = discriminator, demonstrations
        self.objective, self.rules, self.engine, self.minus = objective, rules, engine, minus
        self.update = fast(
            AutogradUpdates(discriminator, objective, penalty, optimizer, engine, rules.batch, rules.entropy)
        )
        self.ending = 0.0

    def judge(self, steps: Transitions) -> Float[Tensor, "*places"]:
        """Give the logits of raw steps, by which the discriminator learns."""
        return self.potential(steps) - self.minus(steps)

    def potential(self, steps: Transitions) -> Float[Tensor, "*places"]:
        """Give the logits of raw steps without `minus`: AIRL's f.

        The agent is paid for f, and its own entropy weight stands for the rest of f - log pi. Paid for -log pi itself,
        a Gaussian whose actions are clipped grows without bound: it earns by spreading, and does the same as before.
        """
        logits: Tensor = self.discriminator(embed(self.encoder, steps, self.actions))
        return logits

    def reward(self) -> Earned:
        """Return what steps earn now."""
        return Earned(self.potential, self.objective, self.rules.limit, self.ending)

    def learn(self, fake: Callable[[int], Transitions], updates: int, agent: Ends) -> Metrics:
        """Make updates, one at least, then weigh the absorbing state anew; means of the verdicts."""
        n, device = self.rules, self.engine.device
        real, own = self.demonstrations.pairs(updates * n.batch).to(device), fake(updates * n.batch).to(device)
        seen_real, seen_own = (embed(self.encoder, steps, self.actions) for steps in (real, own))
        told = self.update(seen_real, seen_own, (self.minus(real), self.minus(own)))
        if n.absorbing:
            logit = absorbing_logit(self.demonstrations.ends, agent)
            self.ending = ending(self.objective, logit, n.discount, n.limit)
        return dict(zip(VERDICTS, told, strict=True))

    def pay(self, rollout: Rollout[Transitions]) -> Float[Tensor, "batch time"]:
        """Pay a rollout."""
        return Given(self.worth).pay(rollout)

    def lesson(self, replay: Replay, rows: int) -> tuple[Transitions, Rewards]:
        """Draw steps and pay them by what the discriminator says today."""
        return Given(self.worth).lesson(replay, rows)

    def worth(self, steps: Transitions) -> Rewards:
        """Return what steps earn now, on the device that they are on; judged on the engine's."""
        return self.reward()(steps.to(self.engine.device)).to(steps.terminated.device)

    def state_dict(self) -> dict[str, float]:
        """Give what a termination earns; the networks and the optimizer are parts of their own."""
        return {"ending": self.ending}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take it up."""
        self.ending = float(state["ending"])


def nothing(steps: Transitions) -> Float[Tensor, "rows"]:
    """Subtract nothing from the logits."""
    return torch.zeros_like(steps.terminated, dtype=torch.float32)


def log_prob_under(policy: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Callable[[Transitions], Tensor]:
    """Subtract log pi(a | s), as AIRL does; Fu et al. 2018 (1710.11248), section 3: D = e^f / (e^f + pi)."""

    @torch.no_grad()
    def minus(steps: Transitions) -> Float[Tensor, "rows"]:
        return policy(steps.obs, steps.actions)[0]

    return minus
