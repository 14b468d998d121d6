"""One round: what was said is paid, the discriminator learns from it, the policy climbs."""

import math
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rl.discriminator import Discriminator, Logits
from rl.estimators import Mask, PerStep, divergence, leave_one_out, ppo_clip
from rl.objectives import Objective
from rl.rollout import returns_to_go
from rl.runtime import Engine
from seqgan.generators import Generator

Rows = Int[Tensor, "batch time"]
Read = Callable[[Logits, Rows], Tensor]  # which logits of a judge count


def said_log_probs(generator: Generator, tokens: Rows, mask: Mask) -> Float[Tensor, "said vocabulary"]:
    """Return the log-probabilities of the whole vocabulary where something was said: prompts cost no logits."""
    return generator.head(generator.features(tokens)[mask]).float().log_softmax(-1)


def policy_round(
    generator: Generator,
    reference: Generator,
    tokens: Rows,
    mask: Mask,
    advantages: PerStep,
    optimizer: torch.optim.Optimizer,
    engine: Engine,
    *,
    epochs: int = 1,
    minibatch: int,
    clip: float = 0.2,
    kl_weight: float = 0.0,
    max_norm: float = math.inf,
) -> dict[str, Tensor]:
    """Climb the advantages by PPO's clipped ratio, less kl_weight times KL(policy || reference); dropout off.

    `epochs` passes over the rows in minibatches, drawn anew each time. The KL is that of whole sentences: exact over
    the vocabulary at each place that was said, where it is differentiated, and a token answers for what it makes later
    places cost. Returns the last pass's means, the share of clipped tokens among them.
    """
    generator.eval()
    old, costs = _as_spoken(generator, reference, tokens, mask, engine, kl=kl_weight > 0)
    advantages = advantages - kl_weight * leave_one_out(returns_to_go(costs, mask) - costs, mask)
    found: list[dict[str, Tensor]] = []
    for epoch in range(epochs):
        for rows in minibatches(len(tokens), minibatch, tokens.device):
            some, said = tokens[rows], mask[rows]
            with engine.autocast():
                log_probs = said_log_probs(generator, some, said)
            chosen = placed(log_probs.gather(1, some[said][:, None])[:, 0], said)
            loss, cost = ppo_clip(chosen, old[rows], advantages[rows], said, clip), torch.zeros((), device=some.device)
            if kl_weight:
                cost = apart(log_probs, reference, some, said, engine).sum(1).mean()
            norm = engine.update(optimizer, loss + kl_weight * cost, name="g/loss", clip=max_norm)
            ratio = (chosen.detach() - old[rows])[said].exp()
            if epoch == epochs - 1:
                outside = ((ratio - 1).abs() > clip).float().mean()
                found.append(
                    {"g/loss": loss.detach(), "g/kl": cost.detach(), "g/grad_norm": norm, "g/clipped": outside}
                )
    return {name: torch.stack([metrics[name] for metrics in found]).mean() for name in found[0]}


@torch.no_grad()
def _as_spoken(
    generator: Generator, reference: Generator, tokens: Rows, mask: Mask, engine: Engine, *, kl: bool
) -> tuple[PerStep, PerStep]:
    """Return the log-probability of each token by the policy that said it, and how far that was from the reference."""
    with engine.autocast():
        log_probs = said_log_probs(generator, tokens, mask)
    chosen = placed(log_probs.gather(1, tokens[mask][:, None])[:, 0], mask)
    return chosen, apart(log_probs, reference, tokens, mask, engine) if kl else torch.zeros_like(chosen)


def apart(
    log_probs: Float[Tensor, "said vocabulary"], reference: Generator, tokens: Rows, mask: Mask, engine: Engine
) -> PerStep:
    """Return KL(policy || reference) at each place that was said, exact over the vocabulary."""
    with torch.no_grad(), engine.autocast():
        before = said_log_probs(reference, tokens, mask)
    everywhere = torch.ones_like(before[:, :1], dtype=torch.bool)
    return placed(divergence(log_probs[:, None], before[:, None], everywhere)[:, 0], mask)


def placed(values: Float[Tensor, "said"], mask: Mask) -> PerStep:
    """Put numbers back where the mask took them from; zero elsewhere."""
    return torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, values)


def minibatches(rows: int, size: int, device: torch.device) -> Iterator[Int[Tensor, "some"]]:
    """Yield all rows once, in a random order, at most `size` at a time."""
    yield from torch.randperm(rows, device=device).split(size)


def judge_round(
    discriminator: nn.Module,
    judge: Discriminator[Tensor],
    read: Read,
    real: Rows,
    fake: Rows,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    engine: Engine,
) -> dict[str, Tensor]:
    """Make one step towards telling `real` from `fake`; one pass for both, dropout on."""
    discriminator.train()
    logits = judge(torch.cat([real, fake]))
    on_real, on_fake = (read(part, rows) for part, rows in zip(logits.split(len(real)), (real, fake), strict=True))
    loss = objective.discriminator_loss(on_real, on_fake)
    engine.update(optimizer, loss, name="d/loss")
    correct = torch.cat([on_real > 0, on_fake < 0]).float().mean()
    return {"d/loss": loss.detach(), "d/accuracy": correct}
