"""The adversarial round: the generator climbs its reward, the discriminator learns to tell."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.estimators import Mask, PerStep, entropy, kl_to, reinforce
from rl.objectives import Objective
from rl.penalties import Penalty
from rl.rewards import Reward
from rl.rollout import Rollout
from rl.runtime import Engine
from seqgan.generators import Generator
from seqgan.likelihood import action_log_probs, counted
from seqgan.sampling import speak

Baseline = Callable[[PerStep, Mask], PerStep]  # returns -> advantages


@dataclass(frozen=True)
class GeneratorGoal:
    """What a generator round climbs: a reward, what is subtracted from it, and how far it may leave the start."""

    reward: Reward[Tensor]
    baseline: Baseline
    kl_weight: float = 0.0
    entropy_weight: float = 0.0


def generator_round(
    generator: Generator,
    reference: Generator,
    goal: GeneratorGoal,
    optimizer: torch.optim.Optimizer,
    engine: Engine,
    *,
    batch: int,
    length: int,
    clip: float,
) -> dict[str, Tensor]:
    """Speak, be paid, and make one policy-gradient step; dropout off, so that the policy is the one that spoke.

    The loss is minus [the score-function estimate of the reward - kl_weight * KL(generator || reference) +
    entropy_weight * entropy], summed over a sentence, mean over sentences; KL and entropy are exact at each place.
    """
    generator.eval()
    with engine.autocast():
        tokens = speak(generator, batch, length)
        rollout = Rollout.of(tokens, counted(tokens, generator.end)).relabel(goal.reward)
        log_probs = action_log_probs(generator, tokens)
    advantages = goal.baseline(rollout.rewards, rollout.mask)
    chosen = log_probs.gather(2, tokens[..., None])[..., 0]
    loss = reinforce(chosen, advantages, rollout.mask)
    metrics = {"g/reward": rollout.rewards[rollout.mask].mean(), "g/length": rollout.mask.float().sum(1).mean()}
    if goal.kl_weight or goal.entropy_weight:
        with torch.no_grad(), engine.autocast():
            reference_log_probs = action_log_probs(reference, tokens)
        divergence, spread = kl_to(log_probs, reference_log_probs, rollout.mask), entropy(log_probs, rollout.mask)
        loss = loss + goal.kl_weight * divergence - goal.entropy_weight * spread
        metrics |= {"g/kl": divergence.detach(), "g/entropy": spread.detach()}
    norm = engine.update(optimizer, loss, name="g/loss", clip=clip)
    return metrics | {"g/loss": loss.detach(), "g/grad_norm": norm}


def discriminator_round(
    discriminator: torch.nn.Module,
    judge: Callable[[Int[Tensor, "batch time"]], Float[Tensor, "batch"]],
    real: Int[Tensor, "half time"],
    fake: Int[Tensor, "half time"],
    objective: Objective,
    penalty: Penalty,
    optimizer: torch.optim.Optimizer,
    engine: Engine,
) -> dict[str, Tensor]:
    """Make one step towards telling `real` from `fake`; one pass for both, dropout on."""
    discriminator.train()
    penalised = penalty(discriminator, real, fake)  # first: a penalty may clip the weights that then judge
    on_real, on_fake = judge(torch.cat([real, fake])).split([len(real), len(fake)])
    loss = objective.discriminator_loss(on_real, on_fake) + penalised
    engine.update(optimizer, loss, name="d/loss")
    correct = torch.cat([on_real > 0, on_fake < 0]).float().mean()
    return {"d/loss": loss.detach(), "d/accuracy": correct}
