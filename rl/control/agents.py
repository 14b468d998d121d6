"""An agent that learns from its own steps: a policy and a value, two networks behind one encoder."""

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from rl.control.encoder import Encoder
from rl.control.spaces import Actions, Observations
from rl.policies import CategoricalHead, GaussianHead, ValueHead

Obs = Shaped[Tensor, "rows width"]
Taken = Shaped[Tensor, "rows ..."]
PerRow = Float[Tensor, "rows"]


class OnPolicyAgent(nn.Module):
    """A policy with exact log-probabilities, and a value; tanh layers, initialised orthogonally.

    In a bounded box the head's numbers are half ranges from the middle: its mean 1 is the upper bound, and exp(log_std)
    a share of half the range. Actions are not clipped here, and log_prob speaks of the unclipped ones.
    """

    middle: Tensor
    half_range: Tensor

    def __init__(
        self, observations: Observations, actions: Actions, hidden: Sequence[int] = (64, 64), log_std: float = 0.0
    ) -> None:
        super().__init__()
        self.encoder = Encoder(observations)
        features = self.encoder(torch.zeros(1, observations.width, dtype=observations.dtype)).shape[1]
        widths = (features, *hidden)
        self.policy, self.baseline = tanh_layers(widths), tanh_layers(widths)
        self.head = (
            CategoricalHead(widths[-1], actions.size)
            if actions.kind == "discrete"
            else GaussianHead(widths[-1], actions.size, log_std=log_std)
        )
        self.value_head = ValueHead(widths[-1])
        middle, half_range = _range(actions)
        self.register_buffer("middle", middle)
        self.register_buffer("half_range", half_range)
        self.discrete = actions.kind == "discrete"

    @property
    def fixed_encoder(self) -> bool:
        """Whether the encoder has no weights, so that a rollout's features stay while it is learned from."""
        return next(self.encoder.parameters(), None) is None

    def add(self, obs: Obs) -> None:
        """Take observations into the encoder's statistics: after an update, never between acting and learning."""
        self.encoder.add(obs)

    @torch.no_grad()
    def act(self, obs: Obs) -> Taken:
        """Sample, without a gradient."""
        return self.to_actions(self.head.act(self.policy(self.encoder(obs))))

    @torch.no_grad()
    def mode(self, obs: Obs) -> Taken:
        """Choose the likeliest action, without a gradient."""
        return self.to_actions(self.head.mode(self.policy(self.encoder(obs))))

    def log_prob(self, obs: Obs, actions: Taken) -> tuple[PerRow, PerRow]:
        """Log-probabilities of the actions, and entropies; densities where actions are numbers."""
        return self.log_prob_at(self.encoder(obs), actions)

    def value(self, obs: Obs) -> PerRow:
        """Estimate the return from each state."""
        return self.value_at(self.encoder(obs))

    def log_prob_at(self, features: Float[Tensor, "rows features"], actions: Taken) -> tuple[PerRow, PerRow]:
        """`log_prob`, from the encoder's features."""
        log_probs, entropies = self.head.log_prob(self.policy(features), self.from_actions(actions))
        volume = self.half_range.log().sum()
        return log_probs - volume, entropies + volume

    def value_at(self, features: Float[Tensor, "rows features"]) -> PerRow:
        """`value`, from the encoder's features."""
        values: Tensor = self.value_head(self.baseline(features))
        return values

    def to_actions(self, outputs: Taken) -> Taken:
        """Turn the head's numbers into the space's."""
        return outputs if self.discrete else torch.addcmul(self.middle, outputs, self.half_range)

    def from_actions(self, actions: Taken) -> Taken:
        """Turn the space's numbers into the head's."""
        return actions if self.discrete else (actions - self.middle) / self.half_range


def tanh_layers(widths: Sequence[int]) -> nn.Sequential:
    """Hidden layers of these widths, the first being the input's."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        nn.init.orthogonal_(linear.weight, math.sqrt(2))
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers)


def _range(actions: Actions) -> tuple[Tensor, Tensor]:
    """Middle and half range of every number; 0 and 1 where a bound is infinite, and nothing for choices."""
    if actions.kind == "discrete":
        return torch.zeros(0), torch.ones(0)
    low, high = (torch.tensor(bound, dtype=torch.float32) for bound in (actions.low, actions.high))
    bounded = low.isfinite() & high.isfinite()
    middle = torch.where(bounded, (low + high) / 2, 0)
    return middle, torch.where(bounded, (high - low) / 2, 1)
