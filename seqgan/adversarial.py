"""The adversarial round: the generator climbs its reward, the discriminator learns to tell."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.estimators import Mask, PerStep, divergence, reinforce
from rl.objectives import Objective
from rl.penalties import Penalty
from rl.rewards import Reward
from rl.rollout import Rollout, returns_to_go
from rl.runtime import Engine
from seqgan.generators import Generator
from seqgan.likelihood import action_log_probs, counted
from seqgan.sampling import speak

Baseline = Callable[[PerStep, Mask], PerStep]  # returns -> advantages


@dataclass(frozen=True)
class GeneratorGoal:
    """What a generator climbs: E[reward - kl_weight * (log g - sharpness * log start)] + entropy_weight * entropy.

    The logarithms are those of whole sentences. At sharpness 1 the second term is the KL to the start; above 1 it
    prefers whole sentences that the start finds likely, which sharpening each token by a temperature does not.
    """

    reward: Reward[Tensor]
    baseline: Baseline
    kl_weight: float = 0.0
    sharpness: float = 1.0
    entropy_weight: float = 0.0


def generator_round(
    generator: Generator,
    start: Generator,
    goal: GeneratorGoal,
    optimizer: torch.optim.Optimizer,
    engine: Engine,
    *,
    given: Int[Tensor, "batch time"],
    clip: float,
) -> dict[str, Tensor]:
    """Speak where nothing is given, be paid, and make one policy-gradient step.

    Dropout is off, so that the policy is the one that spoke.
    """
    generator.eval()
    with engine.autocast():
        tokens = speak(generator, *given.shape, given=given)
        rollout = Rollout.of(tokens, counted(tokens, generator.end, generator.prompt)).relabel(goal.reward)
        log_probs = action_log_probs(generator, tokens)
    chosen, returns = log_probs.gather(2, tokens[..., None])[..., 0], rollout.rewards
    cost = torch.zeros_like(returns)
    if goal.kl_weight or goal.entropy_weight:
        with torch.no_grad(), engine.autocast():
            start_log_probs = action_log_probs(start, tokens)
        cost = goal.kl_weight * divergence(log_probs, start_log_probs, rollout.mask, goal.sharpness)
        cost = cost + goal.entropy_weight * divergence(log_probs, start_log_probs, rollout.mask, 0.0)
        # a token answers for what it makes later places cost; its own place is differentiated exactly
        returns = returns - (returns_to_go(cost.detach(), rollout.mask) - cost.detach())
    loss = reinforce(chosen, goal.baseline(returns, rollout.mask), rollout.mask) + cost.sum(1).mean()
    norm = engine.update(optimizer, loss, name="g/loss", clip=clip)
    return {
        "g/reward": rollout.rewards[rollout.mask].mean(),
        "g/length": rollout.mask.float().sum(1).mean(),
        "g/cost": cost.detach().sum(1).mean(),
        "g/loss": loss.detach(),
        "g/grad_norm": norm,
    }


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
