"""Who plays: a generator that ranks, a discriminator that judges, and the moves that a run makes with them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from rl.retrieval.numbers import Numbers
from rl.retrieval.scorers import Scorer
from rl.runtime.checkpoints import Stateful

Metrics = dict[str, Tensor]


class Net(Scorer, Protocol):
    """A scorer with weights: an `nn.Module`."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Give the weights."""
        ...

    def train(self, mode: bool = True, /) -> Any:
        """Leave out at random what is left out in training, or nothing."""
        ...

    def state_dict(self) -> Any:
        """Give weights and buffers by name."""
        ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> Any:
        """Take them."""
        ...


class Players(Protocol):
    """What a run asks of those who play; an epoch is a pass over all queries that have something to teach."""

    @property
    def generator(self) -> Net:
        """Name who is measured."""
        ...

    @property
    def discriminator(self) -> Net:
        """Name who judges."""
        ...

    def imitate(self) -> Metrics:
        """Learn from the relevant documents, for an epoch, before the game."""
        ...

    def deal(self) -> None:
        """Draw, or retrieve, anew what the discriminator learns from."""
        ...

    def judge(self, done: float, /) -> Metrics:
        """Let the discriminator learn for an epoch, when that share of the game is done."""
        ...

    def improve(self, done: float, /) -> Metrics:
        """Let the generator learn for an epoch."""
        ...

    def parts(self) -> dict[str, Stateful]:
        """Return everything that has a state."""
        ...


def share_of_rate(n: Numbers, done: float) -> float:
    """Return which share of its rate a player learns with: all, then less and less towards the end."""
    return min(1.0, (1 - done) / n.lr_decay) if n.lr_decay else 1.0


class Hand:
    """Documents that were dealt; part of a checkpoint."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.tensors: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return them."""
        return dict(self.tensors)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take them."""
        self.tensors = {name: tensor.to(self.device) for name, tensor in state.items()}


class Still:
    """A method without a game: a scorer that one function fits, at once or sweep by sweep."""

    def __init__(self, generator: Net, fit: Callable[[], float]) -> None:
        self.generator = self.discriminator = generator
        self.fit = fit

    def imitate(self) -> Metrics:
        """Fit."""
        return {"pretrain/loss": torch.tensor(self.fit())}

    def deal(self) -> None:
        """Deal nothing."""

    def judge(self, done: float) -> Metrics:
        """Judge nothing."""
        return {}

    def improve(self, done: float) -> Metrics:
        """Stay."""
        return {}

    def parts(self) -> dict[str, Stateful]:
        """Return the scorer."""
        return {"generator": self.generator}
