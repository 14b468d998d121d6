"""What is earned: from a judge's logits to one number per step, in one batched pass without a gradient.

A judge is used as it stands: put its network into eval mode, or not, before calling. Rewards are zero off the mask.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.discriminator import Discriminator, Logits
from rl.objectives import Objective
from rl.rollout import Rollout, last_step

Steps = TypeVar("Steps")
PerStepFloats = Float[Tensor, "batch time"]
Tokens = Int[Tensor, "batch time"]
Completions = Int[Tensor, "prefixes batch samples time"]


@runtime_checkable
class Reward(Protocol[Steps]):
    """Anything that pays the steps of a rollout."""

    def __call__(self, rollout: Rollout[Steps], /) -> PerStepFloats:
        """Give one number per step, zero off the mask, without a gradient."""
        ...


@dataclass(frozen=True)
class PerStep(Generic[Steps]):
    """Every step is judged by itself: judge(steps) gives logits [batch time] (GAIL and its relatives, MaskGAN)."""

    judge: Discriminator[Steps]
    objective: Objective

    @torch.no_grad()
    def __call__(self, rollout: Rollout[Steps]) -> PerStepFloats:
        """Pay each step what its own logit is worth."""
        return self.objective.reward(self.judge(rollout.steps)).masked_fill(~rollout.mask, 0)


@dataclass(frozen=True)
class Terminal(Generic[Steps]):
    """Only the whole is judged: judge(steps) gives logits [batch], and a row is paid at its last counted step."""

    judge: Discriminator[Steps]
    objective: Objective

    @torch.no_grad()
    def __call__(self, rollout: Rollout[Steps]) -> PerStepFloats:
        """Pay each row once."""
        rewards = self.objective.reward(self.judge(rollout.steps))
        return torch.where(last_step(rollout.mask), rewards.unsqueeze(1), 0)


@runtime_checkable
class Complete(Protocol):
    """Carries sentences on: row p of the answer completes the first p + 1 tokens, `samples` times."""

    def __call__(self, tokens: Tokens, samples: int, /) -> Completions:
        """Give whole sentences [prefixes batch samples time], with prefixes = time - 1."""
        ...


@runtime_checkable
class JudgeCompletions(Protocol):
    """Judges sentences and their completions together, so that equal sentences need be judged only once."""

    def __call__(
        self, tokens: Tokens, completions: Completions, /
    ) -> tuple[Float[Tensor, "batch"], Float[Tensor, "prefixes batch samples"]]:
        """Give the logits of the sentences and of the completions."""
        ...


@dataclass(frozen=True)
class MonteCarlo:
    """The value of each prefix, estimated by completing it; Yu et al. 2017 (1609.05473), eq. 4.

    The number at t (from 0) is the mean reward of `samples` completions of tokens 0..t, and at the last t the reward
    of the sentence itself. These are action values Q(prefix, token): use them as the return of each token, without
    summing over later ones. An objective that normalises over the batch (MaliGAN) does so for every prefix and sample.
    """

    complete: Complete
    judge_completions: JudgeCompletions
    objective: Objective
    samples: int = 16
    """completions per prefix"""

    @torch.no_grad()
    def __call__(self, rollout: Rollout[Tensor]) -> PerStepFloats:
        """Complete every prefix, judge all of it at once; raises ValueError where a shape is not the promised one."""
        tokens = rollout.steps
        batch, time = tokens.shape
        completions = self.complete(tokens, self.samples)
        _expect("complete", completions, (time - 1, batch, self.samples, time))
        whole, completed = self.judge_completions(tokens, completions)
        _expect("judge_completions, sentences", whole, (batch,))
        _expect("judge_completions, completions", completed, (time - 1, batch, self.samples))
        # an objective's first dimension is the batch
        of_prefixes = self.objective.reward(completed.transpose(0, 1)).mean(2)
        values = torch.cat([of_prefixes, self.objective.reward(whole).unsqueeze(1)], dim=1)
        return values.masked_fill(~rollout.mask, 0)


def _expect(who: str, given: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(given.shape) != shape:
        raise ValueError(f"MonteCarlo: {who} gave shape {tuple(given.shape)}, expected {shape}")


@dataclass(frozen=True)
class Constant:
    """The same for every counted step, whatever was done: the control that shows what survival alone is worth."""

    value: float = 1.0

    def __call__(self, rollout: Rollout[Steps]) -> PerStepFloats:
        """Pay the constant."""
        return torch.full_like(rollout.rewards, self.value).masked_fill(~rollout.mask, 0)


@dataclass(frozen=True)
class Noise:
    """Uniform between 0 and 1 and independent of what was done: the control that nothing can be learned from."""

    def __call__(self, rollout: Rollout[Steps]) -> PerStepFloats:
        """Pay by the dice."""
        return torch.rand_like(rollout.rewards).masked_fill(~rollout.mask, 0)


@dataclass(frozen=True)
class Scaled(Generic[Steps]):
    """reward * scale + shift at every counted step."""

    reward: Reward[Steps]
    scale: float = 1.0
    shift: float = 0.0

    def __call__(self, rollout: Rollout[Steps]) -> PerStepFloats:
        """Pay more or less."""
        return (self.reward(rollout) * self.scale + self.shift).masked_fill(~rollout.mask, 0)


@dataclass(frozen=True)
class Clipped(Generic[Steps]):
    """The reward of every counted step, held between low and high."""

    reward: Reward[Steps]
    low: float = -math.inf
    high: float = math.inf

    def __call__(self, rollout: Rollout[Steps]) -> PerStepFloats:
        """Pay within bounds."""
        return self.reward(rollout).clamp(self.low, self.high).masked_fill(~rollout.mask, 0)


@dataclass(frozen=True)
class Gated(Generic[Steps]):
    """The reward, multiplied by a verdict on the whole row: a verifier says 0 (wrong) to 1 (right), [batch]."""

    reward: Reward[Steps]
    verifier: Callable[[Rollout[Steps]], Float[Tensor, "batch"]]

    def __call__(self, rollout: Rollout[Steps]) -> PerStepFloats:
        """Pay only what passes."""
        return self.reward(rollout) * self.verifier(rollout).unsqueeze(1)


class Normalised(Generic[Steps]):
    """(reward - mean) / std with the mean and the standard deviation of all counted steps paid so far.

    Every call first adds its own steps. Subtracting a mean changes what an agent with episodes of varying length
    wants (each step alive is worth less): `centre=False` only divides. Each process keeps its own statistics.
    """

    def __init__(self, reward: Reward[Steps], centre: bool = True) -> None:
        self.reward = reward
        self.centre = centre
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0  # sum of squared distances from the mean

    def __call__(self, rollout: Rollout[Steps]) -> PerStepFloats:
        """Take the steps into the statistics, then pay."""
        rewards = self.reward(rollout)
        self._add(rewards[rollout.mask])
        std = math.sqrt(self.squares / max(self.count, 1))
        centred = rewards - self.mean if self.centre else rewards
        return (centred / (std + 1e-8)).masked_fill(~rollout.mask, 0)

    def _add(self, rewards: Float[Tensor, "steps"]) -> None:
        """Merge two sets' moments; Chan, Golub & LeVeque 1983."""
        new = rewards.numel()
        if new == 0:
            return
        mean = rewards.mean().item()
        gap, total = mean - self.mean, self.count + new
        self.squares += (rewards - mean).square().sum().item() + gap * gap * self.count * new / total
        self.mean += gap * new / total
        self.count = total

    def state_dict(self) -> dict[str, float]:
        """Give the statistics."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take up the statistics where they were."""
        self.count, self.mean, self.squares = int(state["count"]), float(state["mean"]), float(state["squares"])


def judge_in_chunks(judge: Discriminator[Tensor], rows: Tensor, chunk: int) -> Logits:
    """Judge rows [batch ...] at most `chunk` at a time, so that memory has a bound; the answer is the same."""
    return torch.cat([judge(part) for part in torch.split(rows, chunk)])
