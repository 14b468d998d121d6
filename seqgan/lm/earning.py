"""What a completion earns: a learned reward, a verifier's verdict, and the two ways to compose them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic

import torch
from torch import Tensor, nn

from rl.discriminator import Discriminator, Logits, evaluating, full_precision
from rl.estimators import PerStep as PerStepFloats
from rl.objectives import AIRL, Objective, Relativistic, Scalar
from rl.policies import SequencePolicy
from rl.rewards import Constant, Gated, MonteCarlo, PerStep, Reward, Steps, Terminal
from rl.rollout import Rollout, last_step
from seqgan.generators import State
from seqgan.likelihood import counted
from seqgan.lm.verifiers import Verifier
from seqgan.sampling import complete


@dataclass(frozen=True)
class BradleyTerry:
    """A demonstration should beat the answer to the same prompt; GAD, Ye et al. 2025 (2511.10643), section 2."""

    def discriminator_loss(self, real: Logits, fake: Logits) -> Scalar:
        """E softplus(fake - real), paired by position."""
        return Relativistic().discriminator_loss(real, fake)

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Give the logit itself: a group's baseline stands where the demonstration's logit would."""
        return full_precision(fake)


@dataclass(frozen=True)
class Added(Generic[Steps]):
    """The reward, and at the last step a verdict on the whole row: [batch], 0 (wrong) to 1 (right)."""

    reward: Reward[Steps]
    verifier: Callable[[Rollout[Steps]], Tensor]

    def __call__(self, rollout: Rollout[Steps]) -> PerStepFloats:
        """Pay both."""
        return self.reward(rollout) + torch.where(last_step(rollout.mask), self.verifier(rollout).unsqueeze(1), 0)


Compose = Callable[[Reward[Tensor], Verifier], Reward[Tensor]]


def ungated(reward: Reward[Tensor], verifier: Verifier) -> Reward[Tensor]:
    """Pay the learned reward alone."""
    return reward


def gated(reward: Reward[Tensor], verifier: Verifier) -> Reward[Tensor]:
    """Pay the learned reward times the verdict; VARL (2607.01181)."""
    return Gated(reward, verifier)


def added(reward: Reward[Tensor], verifier: Verifier) -> Reward[Tensor]:
    """Pay the learned reward plus the verdict."""
    return Added(reward, verifier)


def verdict(reward: Reward[Tensor], verifier: Verifier) -> Reward[Tensor]:
    """Pay the verdict alone (RLVR)."""
    return Added(Constant(0.0), verifier)


def whole(judge: Discriminator[Tensor], net: nn.Module, objective: Objective) -> Reward[Tensor]:
    """Pay a row once, at its last token, what its one logit is worth; dropout off."""
    return _calm(Terminal(judge, objective), net)


def each(judge: Discriminator[Tensor], net: nn.Module, objective: Objective) -> Reward[Tensor]:
    """Pay every token what its own logit is worth; dropout off."""
    return _calm(PerStep(judge, objective), net)


def _calm(reward: Reward[Tensor], net: nn.Module) -> Reward[Tensor]:
    def paid(rollout: Rollout[Tensor]) -> PerStepFloats:
        with evaluating(net):
            return reward(rollout)

    return paid


def by_rollouts(policy: SequencePolicy[State], reward: Reward[Tensor], *, prompt: int, samples: int) -> Reward[Tensor]:
    """Pay each token the mean total that `samples` completions of its prefix earn: SeqGAN's action values."""

    def totals(rows: Tensor) -> Tensor:
        return reward(Rollout.of(rows, counted(rows, policy.end, prompt))).sum(1)

    def both(tokens: Tensor, completions: Tensor) -> tuple[Tensor, Tensor]:
        prefixes, batch, count, time = completions.shape
        return totals(tokens), totals(completions.reshape(-1, time)).view(prefixes, batch, count)

    return MonteCarlo(partial(complete, policy), both, AIRL(), samples)  # AIRL's reward is the number itself
