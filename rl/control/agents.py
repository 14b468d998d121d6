"""An agent that learns from its own steps: a policy and a value, two networks behind one encoder."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from rl.control.distributions import distribution
from rl.control.encoder import Encoder
from rl.control.layers import TanhLayers
from rl.control.spaces import Actions, Observations

Obs = Shaped[Tensor, "rows width"]
Taken = Shaped[Tensor, "rows ..."]
PerRow = Float[Tensor, "rows"]


class OnPolicyAgent(nn.Module):
    """A policy with exact log-probabilities, and a value; tanh layers, initialised orthogonally.

    Actions in a box are Gaussian with a spread that does not depend on the state, exp(log_std) half ranges at first.
    They are not clipped here, and log_prob speaks of the unclipped ones.
    """

    def __init__(
        self, observations: Observations, actions: Actions, hidden: Sequence[int] = (64, 64), log_std: float = 0.0
    ) -> None:
        super().__init__()
        self.encoder = Encoder(observations)
        self.distribution = distribution(actions, log_std)
        features = self.encoder.features
        self.policy = TanhLayers((features, *hidden, self.distribution.outputs), 0.01, self.distribution.extra())
        self.baseline = TanhLayers((features, *hidden, 1), 1.0)
        self.fixed_encoder = next(self.encoder.parameters(), None) is None
        """the encoder has no weights: a rollout's features stay while it is learned from"""

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return self.policy.weights.device

    def add(self, obs: Obs) -> None:
        """Take observations into the encoder's statistics: after an update, never between acting and learning."""
        self.encoder.add(obs)

    @torch.no_grad()
    def act(self, obs: Obs) -> Taken:
        """Sample, without a gradient."""
        return self.distribution.sample(*self.policy(self.encoder(obs.to(self.device))))

    @torch.no_grad()
    def mode(self, obs: Obs) -> Taken:
        """Choose the likeliest action, without a gradient."""
        return self.distribution.mode(self.policy(self.encoder(obs.to(self.device)))[0])

    def policy_parameters(self) -> list[nn.Parameter]:
        """Give the weights that actions depend on: the encoder's and the policy's."""
        return [*self.encoder.parameters(), self.policy.weights]

    def log_prob(self, obs: Obs, actions: Taken) -> tuple[PerRow, PerRow]:
        """Log-probabilities of the actions, and entropies; densities where actions are numbers."""
        return self.log_prob_at(self.encoder(obs), actions)

    def value(self, obs: Obs) -> PerRow:
        """Estimate the return from each state."""
        return self.value_at(self.encoder(obs))

    def log_prob_at(self, features: Float[Tensor, "rows features"], actions: Taken) -> tuple[PerRow, PerRow]:
        """`log_prob`, from the encoder's features."""
        log_probs, entropies = self.units_log_prob(features, self.distribution.units(actions))
        return log_probs - self.distribution.volume, entropies + self.distribution.volume

    def units_log_prob(self, features: Float[Tensor, "rows features"], units: Taken) -> tuple[PerRow, PerRow]:
        """`log_prob_at`, all in the units of the policy's outputs."""
        outputs, extra = self.policy(features)
        return self.distribution.log_prob(outputs, extra, units)

    def value_at(self, features: Float[Tensor, "rows features"]) -> PerRow:
        """`value`, from the encoder's features."""
        values: Tensor = self.baseline(features)[0]
        return values.squeeze(1)
