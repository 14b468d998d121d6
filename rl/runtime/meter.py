"""Means of metrics over the minibatches of a round."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


class Meter:
    """Adds up metrics without waiting for the device; part of a checkpoint, so a resumed round reports its whole."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Take one minibatch's metrics."""
        for name, value in metrics.items():
            self.sums[name] = self.sums[name] + value.detach() if name in self.sums else value.detach()
            self.counts[name] = self.counts.get(name, 0) + 1

    def flush(self) -> dict[str, Tensor]:
        """Return the means and forget them."""
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return sums and counts."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take sums and counts."""
        self.sums, self.counts = dict(state["sums"]), dict(state["counts"])
