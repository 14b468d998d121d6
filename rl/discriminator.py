"""What judges: a callable that turns samples into logits, where high means real."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

X_contra = TypeVar("X_contra", contravariant=True)

Logits = Float[Tensor, "batch *places"]
"""High = real. Places: () per picture or sentence, (time) per token, (height width) per patch."""


@runtime_checkable
class Discriminator(Protocol[X_contra]):
    """Anything that judges a batch of samples: a network, a compiled network, a plain function."""

    def __call__(self, x: X_contra, /) -> Logits:
        """Give one logit per place of every sample, high where it looks real."""
        ...


def full_precision(x: Tensor) -> Tensor:
    """Cast bfloat16 and float16 to float32; leave float32 and float64 as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def row_means(logits: Float[Tensor, "rows *places"], counted: Bool[Tensor, "rows places"]) -> Float[Tensor, "rows"]:
    """Return one number a row: the mean over the places that count, or the row's own logit where there is but one."""
    if logits.dim() == 1:
        return logits
    return logits.masked_fill(~counted, 0).sum(1) / counted.sum(1).clamp(min=1)


def ranked_right(real: Float[Tensor, "pairs"], fake: Float[Tensor, "pairs"]) -> float:
    """Return the share of pairs in which the real one has the higher logit, ties half: the area under the curve.

    Only what stands beside each other is compared: where an objective learns from differences, a function of the
    prompt may be added to all logits and changes nothing.
    """
    return float(((real > fake).float() + (real == fake).float() / 2).mean())


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Switch off the gradient of the network's weights inside, and restore each weight's own setting after.

    This only saves work: the gradient with respect to the network's input still flows.
    """
    weights = list(net.parameters())
    before = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_(False)
        yield
    finally:
        for weight, required in zip(weights, before, strict=True):
            weight.requires_grad_(required)


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Switch dropout and batch statistics off inside, and put the network back into the mode it was in."""
    training = net.training
    try:
        net.eval()
        yield
    finally:
        net.train(training)
