"""When a run saves: at intervals, and when a signal asks it to leave."""

import time
from collections.abc import Mapping
from pathlib import Path

from rl.runtime import checkpoints, ranks
from rl.runtime.checkpoints import Stateful
from rl.runtime.errors import Stopped
from rl.runtime.signals import Stop


class Keeper:
    """Saves all parts every `seconds`; to be called at the end of each minibatch, where a resumed run can go on."""

    def __init__(self, run_dir: Path, parts: Mapping[str, Stateful], stop: Stop, *, seconds: float) -> None:
        self.run_dir, self.parts, self.stop, self.seconds = run_dir, parts, stop, seconds
        self.saved = time.monotonic()

    def __call__(self, step: int) -> None:
        """Save if it is time; save and raise Stopped if a signal came."""
        signal = self.stop.requested
        due = ranks.largest(int(time.monotonic() - self.saved >= self.seconds))
        if signal or due:
            self.save(step)
        if signal:
            raise Stopped(
                signal, f"checkpoint of step {step} stands; go on: python -m experiments.resume {self.run_dir}"
            )

    def save(self, step: int) -> None:
        """Save now."""
        checkpoints.save(self.run_dir, step, self.parts)
        self.saved = time.monotonic()
