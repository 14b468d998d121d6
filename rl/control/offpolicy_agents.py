"""Networks that learn from replay: several MLPs as one, squashed Gaussian actors, twin critics and their targets."""

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rl.runtime.errors import InputError

if TYPE_CHECKING:  # the layouts need gymnasium, their users do not
    from rl.control.spaces import Actions

LOG_STD_LOW, LOG_STD_HIGH = -20.0, 2.0  # Haarnoja et al. 2018

Rows = Float[Tensor, "rows width"]
Numbers = Float[Tensor, "rows numbers"]
PerRow = Float[Tensor, "rows"]


class StackedMLP(nn.Module):
    """`nets` separate MLPs of equal sizes, evaluated together: ReLU between the layers, weights [nets inputs outputs].

    Each begins as torch's own linear layers do.
    """

    def __init__(self, nets: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes
        self.weights = nn.ParameterList(torch.empty(nets, inputs, outputs) for inputs, outputs in pairwise(sizes))
        self.biases = nn.ParameterList(torch.empty(nets, 1, outputs) for outputs in sizes[1:])
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound)
            nn.init.uniform_(bias, -bound, bound)

    def forward(self, rows: Rows) -> Float[Tensor, "nets rows outputs"]:
        """Give every net's answer to the same rows."""
        hidden = rows.expand(len(self.weights[0]), *rows.shape)
        last = len(self.sizes) - 2
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            hidden = hidden if layer == last else hidden.relu_()
        return hidden


class Bounds(nn.Module):
    """Actions in the environment's numbers, and the same in [-1, 1], which the networks speak."""

    middle: Tensor
    reach: Tensor

    def __init__(self, actions: "Actions") -> None:
        """Raise InputError for actions without finite bounds."""
        super().__init__()
        if actions.kind != "box" or not all(math.isfinite(bound) for bound in (*actions.low, *actions.high)):
            raise InputError(f"actions: {actions.kind} without finite bounds: SAC and TD3 need a bounded Box")
        middle, reach = actions.scale
        self.register_buffer("middle", middle)
        self.register_buffer("reach", reach)

    def to_env(self, unit: Numbers) -> Numbers:
        """Scale [-1, 1] to the bounds."""
        return torch.addcmul(self.middle, unit, self.reach)

    def to_unit(self, actions: Numbers) -> Numbers:
        """Scale the bounds to [-1, 1]."""
        return (actions - self.middle) / self.reach


class Choices(nn.Module):
    """Discrete actions as the networks speak of them: one-hot."""

    def __init__(self, actions: "Actions") -> None:
        """Raise InputError for actions that are no choice."""
        super().__init__()
        if actions.kind != "discrete":
            raise InputError(f"actions: {actions.kind}: discrete SAC needs a Discrete space")
        self.size = actions.size

    def to_unit(self, actions: Int[Tensor, "rows"]) -> Numbers:
        """Write a 1 for what was chosen."""
        return F.one_hot(actions, self.size).float()


class SquashedGaussian(nn.Module):
    """tanh of independent Gaussians whose mean and spread depend on the state; Haarnoja et al. 2018 (1801.01290), C."""

    def __init__(self, features: int, numbers: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.net = StackedMLP(1, (features, *hidden, 2 * numbers))

    def forward(self, features: Rows) -> tuple[Numbers, Numbers]:
        """Give the means and the logarithms of the standard deviations, before squashing."""
        means, log_stds = self.net(features)[0].chunk(2, -1)
        return means, log_stds.clamp(LOG_STD_LOW, LOG_STD_HIGH)

    def sample_with_log_prob(self, features: Rows, noise: Numbers) -> tuple[Numbers, PerRow]:
        """Turn standard normal noise into actions in (-1, 1), and give their log-densities there."""
        means, log_stds = self(features)
        raw = means + log_stds.exp() * noise
        return raw.tanh(), squashed_log_prob(raw, log_stds, noise)


def squashed_log_prob(raw: Numbers, log_stds: Numbers, noise: Numbers) -> PerRow:
    """Log-density of tanh(raw), raw = mean + std * noise; log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u))."""
    gaussian = -0.5 * noise.square() - log_stds - 0.5 * math.log(2 * math.pi)
    return (gaussian - 2 * (math.log(2) - raw - F.softplus(-2 * raw))).sum(-1)


class TwinQ(nn.Module):
    """Two action values [2 rows] of the same features and actions in [-1, 1]; Fujimoto et al. 2018 (1802.09477)."""

    def __init__(self, features: int, numbers: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.net = StackedMLP(2, (features + numbers, *hidden, 1))

    def forward(self, features: Rows, unit: Numbers) -> Float[Tensor, "2 rows"]:
        """Judge both."""
        values: Tensor = self.net(torch.cat([features, unit], -1))
        return values.squeeze(-1)
