"""Ctrl-C and SIGTERM: finish the step, save, leave."""

import os
import signal
from types import FrameType, TracebackType
from typing import Any, Self

from rl.runtime import ranks
from rl.runtime.errors import Stopped


class Stop:
    """`with Stop() as stop:` remembers the first SIGINT or SIGTERM; a second Ctrl-C raises KeyboardInterrupt at once.

    The script asks `stop.requested` at the end of each minibatch, saves, and raises `Stopped(stop.requested)`. Once all
    is saved it may set `at_once`: a signal then raises Stopped where it strikes.
    The handlers that stood before are put back on leaving. Main thread only.
    """

    def __init__(self) -> None:
        self.at_once = False
        self._seen = 0
        self._before: dict[int, Any] = {}

    @property
    def requested(self) -> int:
        """The signal's number, or 0. With several ranks they agree here, so that all stop at the same step."""
        return ranks.largest(self._seen)

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.at_once:
            raise Stopped(number)
        if not self._seen and number == signal.SIGINT and ranks.rank() == 0:
            # os.write: print is not safe inside a handler that may interrupt another print.
            os.write(2, b"stopping after this step; Ctrl-C again quits at once\n")
        self._seen = self._seen or number
