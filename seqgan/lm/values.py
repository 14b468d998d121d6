"""What a state is expected to bring: a value head on the policy's features, for GAE; or nothing."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from rl.policies import ValueHead
from rl.rollout import Rollout, gae
from rl.runtime import Engine
from rl.runtime.checkpoints import Stateful
from seqgan.generators import Generator


class NoValues:
    """No value is asked for."""

    def parts(self) -> dict[str, Stateful]:
        """Give nothing."""
        return {}

    def foresee(self, policy: Generator, rollout: Rollout[Tensor]) -> Rollout[Tensor]:
        """Leave the rollout as it is."""
        return rollout

    def learn(self, policy: Generator, rollout: Rollout[Tensor]) -> dict[str, Tensor]:
        """Learn nothing."""
        return {}


class Values(NoValues):
    """A linear head that reads the policy's features and does not move them."""

    def __init__(self, hidden: int, engine: Engine, *, lr: float, lam: float) -> None:
        self.head, self.engine, self.lam = engine.place(ValueHead(hidden)), engine, lam
        self.optimizer = torch.optim.Adam(self.head.parameters(), lr)

    def parts(self) -> dict[str, Stateful]:
        """Give head and optimizer."""
        return {"value": self.head, "value_optimizer": self.optimizer}

    @torch.no_grad()
    def foresee(self, policy: Generator, rollout: Rollout[Tensor]) -> Rollout[Tensor]:
        """Fill in the values of the states before and after each token."""
        values = self._values(policy, rollout).masked_fill(~rollout.mask, 0)
        return replace(rollout, values=values, next_values=F.pad(values[:, 1:], (0, 1)))

    def learn(self, policy: Generator, rollout: Rollout[Tensor]) -> dict[str, Tensor]:
        """Make one step towards the targets of GAE; the mean squared error over what was said."""
        _, targets = gae(rollout, 1.0, self.lam)
        error = (self._values(policy, rollout) - targets)[rollout.mask].square().mean()
        self.engine.update(self.optimizer, error, name="value/loss")
        return {"value/loss": error.detach()}

    def _values(self, policy: Generator, rollout: Rollout[Tensor]) -> Tensor:
        with torch.no_grad(), self.engine.autocast():
            features = policy.features(rollout.steps)
        return self.head(features.float())
