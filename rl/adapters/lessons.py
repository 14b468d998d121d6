"""How a discriminator of rows judges and learns, on any number of processes, without a wrapper around it."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rl.adapters.memory import Pair
from rl.adapters.rows import Batch, Row
from rl.discriminator import Logits, row_means
from rl.objectives import Objective
from rl.penalties import Penalty
from rl.runtime import ranks
from rl.runtime.errors import Diverged

Scalar = Float[Tensor, ""]


class Judge(Protocol):
    """A network that judges rows of ids, where the mask is."""

    def __call__(self, tokens: Int[Tensor, "rows time"], mask: Bool[Tensor, "rows time"], /) -> Logits:
        """Give one logit a row, or one a token; high = real."""
        ...


class Verdicts(NamedTuple):
    """Logits, one place a row or one a token, and which of them count: of tokens those that were said."""

    logits: Float[Tensor, "rows places"]
    counted: Bool[Tensor, "rows places"]

    def take(self, rows: Sequence[int]) -> "Verdicts":
        """Choose rows."""
        return Verdicts(self.logits[list(rows)], self.counted[list(rows)])

    def of_rows(self) -> Float[Tensor, "rows"]:
        """Return the mean logit of each row."""
        return row_means(self.logits, self.counted)


def judge_rows(judge: Judge, rows: Sequence[Row], device: torch.device, chunk: int) -> Verdicts:
    """Judge rows, at most `chunk` in one pass."""
    batch = Batch.of(rows, device)
    parts = zip(torch.split(batch.tokens, chunk), torch.split(batch.mask, chunk), strict=True)
    logits = torch.cat([judge(tokens, mask) for tokens, mask in parts])
    if logits.dim() == 2:
        return Verdicts(logits, batch.said)
    return Verdicts(logits[:, None], torch.ones_like(batch.said[:, :1]))


def judge_pairs(
    judge: Judge, pairs: Sequence[Pair], device: torch.device, *, chunk: int, shuffled: bool
) -> tuple[Verdicts, Verdicts]:
    """Judge demonstrations and completions together; a demonstration that many pairs share is judged once."""
    reals = list(dict.fromkeys(pair.real for pair in pairs))
    where = {row: place for place, row in enumerate(reals)}
    rows = [*reals, *(pair.fake for pair in pairs)]
    order = torch.randperm(len(rows)) if shuffled else torch.arange(len(rows))
    judged = judge_rows(judge, [rows[place] for place in order.tolist()], device, chunk).take(order.argsort().tolist())
    return judged.take([where[pair.real] for pair in pairs]), judged.take(range(len(reals), len(rows)))


def earned(objective: Objective, real: Verdicts, fake: Verdicts) -> Float[Tensor, "rows"]:
    """Say what each completion earns: of a judge of tokens, the mean over what was said."""
    if fake.logits.shape[1] == 1:
        return objective.reward(fake.logits[:, 0], real.logits[:, 0])
    return row_means(objective.reward(fake.logits), fake.counted)


def lesson_loss(
    judge: nn.Module, objective: Objective, penalty: Penalty, pairs: Sequence[Pair], device: torch.device
) -> Scalar:
    """Return the loss on pairs, one pass for both in random order; zero for no pairs."""
    if not pairs:
        return torch.zeros((), device=device)
    batch = Batch.of([row for pair in pairs for row in (pair.real, pair.fake)], device)
    sides = ((batch.tokens[first::2], batch.mask[first::2]) for first in (0, 1))
    penalised: Scalar = penalty(judge, *sides)  # first: a penalty may clip the weights that then judge
    real, fake = judge_pairs(judge, pairs, device, chunk=2 * len(pairs), shuffled=True)
    return objective.discriminator_loss(real.logits[real.counted], fake.logits[fake.counted]) + penalised


def step(optimizer: torch.optim.Optimizer, loss: Scalar, pairs: int, clip: float) -> tuple[float, float]:
    """Step down the mean loss over all ranks' pairs; the loss and the norm of its gradient, equal on all ranks.

    A rank may have no pairs, but one of them must. Raises Diverged, on all ranks, before a step that is not finite.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    weighed = loss * pairs
    gradients = [torch.zeros_like(weight) for weight in weights]
    if weighed.requires_grad:
        gradients = list(torch.autograd.grad(weighed, weights, allow_unused=True, materialize_grads=True))
    count = torch.tensor(float(pairs), device=loss.device)
    total, lost, *gradients = ranks.summed([count, weighed.detach(), *gradients])
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = (gradient / total).to(weight.dtype)
    norm, mean_loss = float(nn.utils.get_total_norm([weight.grad for weight in weights])), float(lost / total)
    if not (math.isfinite(norm) and math.isfinite(mean_loss)):
        raise Diverged(f"discriminator: the loss is {mean_loss}, the norm of its gradient {norm}")
    nn.utils.clip_grads_with_norm_(weights, clip, torch.tensor(norm))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return mean_loss, norm


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, and leave torch's generators outside as they were: the trainer's numbers stay its."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
