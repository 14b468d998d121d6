"""Which round is kept: chosen by an outside measure on held-out demonstrations, never by the reward."""

from typing import Any

from seqgan.generators import Generator
from seqgan.pretraining import Best


class Choice(Best):
    """The weights with the lowest measure so far and their round; the last round, and how long none was lower."""

    def __init__(self, generator: Generator) -> None:
        super().__init__(generator)
        self.round, self.last, self.waited = 0, 0, 0

    def measure(self, generator: Generator, loss: float, round_: int) -> None:
        """Take a measurement."""
        self.last = round_
        self.waited = 0 if loss < self.loss else self.waited + 1
        self.round = round_ if loss < self.loss else self.round
        self.offer(generator, loss)

    def state_dict(self) -> dict[str, Any]:
        """Return what was chosen, and when."""
        return super().state_dict() | {"round": self.round, "last": self.last, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it."""
        super().load_state_dict(state)
        self.round, self.last, self.waited = state["round"], state["last"], state["waited"]
