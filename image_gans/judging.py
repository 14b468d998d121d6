"""What a discriminator of pictures says: one logit, and the features that it found on the way."""

from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from rl.discriminator import Logits


class Verdict(NamedTuple):
    """What is said of a batch of samples."""

    logits: Logits
    """high = real"""
    features: Float[Tensor, "batch features"]
    """what the logits were made from; auxiliary losses and heads read them"""


class Seen(NamedTuple):
    """Samples and what was said of them."""

    sample: Any
    logits: Logits
    features: Float[Tensor, "batch features"]


class Judge(nn.Module):
    """A discriminator of pictures: subclasses write `judge`; called, it gives the logits alone, as penalties want.

    `heads` are read by auxiliary losses (the class, a code, ...); they learn with the discriminator.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleDict()

    def judge(self, x: Any) -> Verdict:
        """Say what is real, and why."""
        raise NotImplementedError

    def forward(self, x: Any) -> Logits:
        """Give the logits."""
        return self.judge(x).logits
