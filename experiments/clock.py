"""What a run cost."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Clock:
    """Seconds of processor time spent on training, over all threads; part of a checkpoint."""

    def __init__(self) -> None:
        self.before, self.begun, self.left_out = 0.0, time.process_time(), 0.0

    @property
    def seconds(self) -> float:
        """Return the seconds so far, those before a resume included."""
        return self.before + time.process_time() - self.begun - self.left_out

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Leave out what is done inside: measuring is not training."""
        begun = time.process_time()
        yield
        self.left_out += time.process_time() - begun

    def state_dict(self) -> dict[str, float]:
        """Return the seconds."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from there."""
        self.before, self.begun, self.left_out = float(state["seconds"]), time.process_time(), 0.0
