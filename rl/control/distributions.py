"""What a policy's outputs say about actions: a choice among several, or numbers with independent Gaussian noise.

Both speak of outputs [rows outputs] and of `extra`, weights of the policy that do not depend on the state: no number
for a choice, the logarithms of the standard deviations for numbers. `slopes` is `log_prob` with its derivative.
"""

import math
from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from rl.control.spaces import Actions
from rl.discriminator import full_precision
from rl.policies import categorical_entropy, categorical_log_prob, categorical_sample

Outputs = Float[Tensor, "rows outputs"]
Extra = Float[Tensor, "extra"]
PerRow = Float[Tensor, "rows"]
Taken = Shaped[Tensor, "rows ..."]
Slope = Callable[[PerRow, float], tuple[Outputs, Extra]]
"""From dL/d log_prob of each row, and dL/d entropy of a row, to dL/d outputs and dL/d extra."""


class Distribution(Protocol):
    """Turns a policy's outputs into actions and says how likely these were."""

    outputs: int
    volume: Tensor
    """log of how many of the space's units one of the outputs' units covers, summed over an action's numbers"""

    def extra(self) -> Extra:
        """Give the initial extra weights."""
        ...

    def sample(self, outputs: Outputs, extra: Extra) -> Taken:
        """Draw actions in the space's units, without a gradient."""
        ...

    def mode(self, outputs: Outputs) -> Taken:
        """Choose the likeliest action, in the space's units."""
        ...

    def units(self, actions: Taken) -> Taken:
        """Turn actions from the space's units into the outputs'."""
        ...

    def log_prob(self, outputs: Outputs, extra: Extra, actions: Taken) -> tuple[PerRow, PerRow]:
        """Log-probabilities and entropies in nats; actions and densities in the outputs' units."""
        ...

    def slopes(self, outputs: Outputs, extra: Extra, actions: Taken) -> tuple[PerRow, PerRow, Slope]:
        """`log_prob`, and what leads its derivative back."""
        ...

    def kl(self, old: Outputs, old_extra: Extra, outputs: Outputs, extra: Extra) -> PerRow:
        """KL(old || new) in nats, exact."""
        ...


def distribution(actions: Actions, log_std: float = 0.0) -> "Choice | Gaussian":
    """Give the distribution that fits the space; `log_std` is where spreads begin, in the outputs' units."""
    return Choice(actions.size) if actions.kind == "discrete" else Gaussian(actions, log_std)


class Choice(nn.Module):
    """One of several actions; outputs are logits."""

    volume: Tensor

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.register_buffer("volume", torch.zeros(()), persistent=False)

    def extra(self) -> Extra:
        """Nothing."""
        return torch.zeros(0)

    def sample(self, outputs: Outputs, extra: Extra) -> Int[Tensor, "rows"]:
        """Draw."""
        return categorical_sample(outputs)

    def mode(self, outputs: Outputs) -> Int[Tensor, "rows"]:
        """Choose the largest logit."""
        return outputs.argmax(-1)

    def units(self, actions: Taken) -> Taken:
        """Give them back as they are."""
        return actions

    def log_prob(self, outputs: Outputs, extra: Extra, actions: Taken) -> tuple[PerRow, PerRow]:
        """Log-probabilities of the actions, and entropies."""
        return categorical_log_prob(outputs, actions), categorical_entropy(outputs)

    def slopes(self, outputs: Outputs, extra: Extra, actions: Taken) -> tuple[PerRow, PerRow, Slope]:
        """Lead back by d log p_a / d logits = onehot_a - p, d entropy / d logits = -p (log p + entropy)."""
        log_probs = full_precision(outputs).log_softmax(1)
        probs, index = log_probs.exp(), actions.unsqueeze(1)
        entropies = -(probs * log_probs).sum(1)

        def slope(of_log_prob: PerRow, of_entropy: float) -> tuple[Outputs, Extra]:
            d = of_log_prob.unsqueeze(1)
            back = -d * probs
            back.scatter_add_(1, index, d)
            if of_entropy:
                back -= of_entropy * probs * (log_probs + entropies.unsqueeze(1))
            return back, extra

        return log_probs.gather(1, index).squeeze(1), entropies, slope

    def kl(self, old: Outputs, old_extra: Extra, outputs: Outputs, extra: Extra) -> PerRow:
        """Sum over the actions."""
        before, after = full_precision(old).log_softmax(-1), full_precision(outputs).log_softmax(-1)
        return (before.exp() * (before - after)).sum(-1)


class Gaussian(nn.Module):
    """Independent numbers; outputs are means, extra the log of the standard deviations, whatever the state.

    Where a number is bounded, outputs are half ranges from the middle: 1 is the upper bound. Nothing is clipped here.
    """

    middle: Tensor
    half_range: Tensor
    volume: Tensor

    def __init__(self, actions: Actions, log_std: float = 0.0) -> None:
        super().__init__()
        self.outputs, self.log_std = actions.size, log_std
        middle, half_range = actions.scale
        self.register_buffer("middle", middle, persistent=False)
        self.register_buffer("half_range", half_range, persistent=False)
        self.register_buffer("volume", half_range.log().sum(), persistent=False)

    def extra(self) -> Extra:
        """Equal spreads."""
        return torch.full((self.outputs,), self.log_std)

    def sample(self, outputs: Outputs, extra: Extra) -> Float[Tensor, "rows numbers"]:
        """Draw."""
        return self._to_space(torch.addcmul(outputs, torch.randn_like(outputs), extra.exp()).detach())

    def mode(self, outputs: Outputs) -> Float[Tensor, "rows numbers"]:
        """Choose the means."""
        return self._to_space(outputs)

    def units(self, actions: Taken) -> Taken:
        """Measure from the middle, in half ranges."""
        return (actions - self.middle) / self.half_range

    def log_prob(self, outputs: Outputs, extra: Extra, actions: Taken) -> tuple[PerRow, PerRow]:
        """Log-densities of the actions, and entropies, both summed over the action's numbers."""
        scaled = (actions - full_precision(outputs)) * (-extra).exp()
        spread = extra.sum()
        log_probs = -0.5 * scaled.square().sum(-1) - spread - 0.5 * self.outputs * math.log(2 * math.pi)
        entropy = spread + 0.5 * self.outputs * math.log(2 * math.pi * math.e)
        return log_probs, entropy.expand_as(log_probs)

    def slopes(self, outputs: Outputs, extra: Extra, actions: Taken) -> tuple[PerRow, PerRow, Slope]:
        """Lead back by, with z = (a - mean) / std: d log p / d mean = z / std, d log p / d log_std = z^2 - 1."""
        narrow = (-extra).exp()
        scaled = (actions - full_precision(outputs)) * narrow
        squared = scaled.square()
        spread = extra.sum()
        log_probs = squared.sum(1).mul_(-0.5).sub_(spread + 0.5 * self.outputs * math.log(2 * math.pi))
        entropy = spread + 0.5 * self.outputs * math.log(2 * math.pi * math.e)

        def slope(of_log_prob: PerRow, of_entropy: float) -> tuple[Outputs, Extra]:
            d = of_log_prob.unsqueeze(1)
            return scaled * d * narrow, of_log_prob @ squared - of_log_prob.sum() + of_entropy * len(scaled)

        return log_probs, entropy.expand_as(log_probs), slope

    def kl(self, old: Outputs, old_extra: Extra, outputs: Outputs, extra: Extra) -> PerRow:
        """Sum over numbers of log s'/s + (s^2 + (m - m')^2) / 2 s'^2 - 1/2."""
        narrow = (-2 * extra).exp()
        gaps = (full_precision(old) - full_precision(outputs)).square() + (2 * old_extra).exp()
        return (extra - old_extra + 0.5 * gaps * narrow - 0.5).sum(-1)

    def _to_space(self, outputs: Outputs) -> Outputs:
        return torch.addcmul(self.middle, outputs, self.half_range)
