"""What can go wrong in a run, and how a script says so: one line on stderr and an exit code."""

import difflib
import errno
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

# What a user can mend: a full disk, a missing file, a forbidden one. Any other OSError keeps its traceback.
_USER_ERRNOS = frozenset(
    (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.ENOENT,
        errno.EEXIST,
        errno.ENOTEMPTY,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    )
)


class InputError(Exception):
    """The user's input is wrong; the message reads `path:place: reason`. Exit code 2."""


class Diverged(Exception):
    """Training went non-finite; raised before the step, so the weights are still good. Exit code 3."""


class Stopped(Exception):
    """A signal asked the run to end, and its checkpoint stands. Exit code 128 + signal: 130 or 143."""

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(message or f"by {signal.Signals(signum).name}")
        self.signal = signum


def closest(word: str, allowed: Iterable[str]) -> str:
    """Give a hint for a mistyped word: `; did you mean 'seqgan'?`, or all that is allowed when nothing is near."""
    options = sorted(allowed)
    near = difflib.get_close_matches(word, options, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; allowed: {', '.join(options)}"


def one_line(text: object) -> str:
    """Return the text with every run of white space turned into one space."""
    return " ".join(str(text).split())


def warn(message: str) -> None:
    """One `warning:` line on stderr, from rank 0 only."""
    _say("warning", message)


def _say(kind: str, message: object) -> None:
    if os.environ.get("RANK", "0") == "0":
        print(f"{kind}: {one_line(message)}", file=sys.stderr, flush=True)


def drop_stdout() -> None:
    """Point stdout at nothing: its reader is gone, and Python's flush at exit would complain."""
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.close(sink)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what a run may end with into one line on stderr and an exit code.

    Used as `with exit_codes(): main(...)`, or as a decorator of main.
    InputError and an OSError that the user can mend: 2. Diverged: 3. Stopped and Ctrl-C: 130, SIGTERM: 143.
    Out of memory: 1, with a line instead of a traceback. A reader of stdout that went away: 1, silently.
    Everything else is a fault of the program and keeps its traceback. Ranks other than 0 say nothing.
    """
    try:
        yield
    except InputError as error:
        _say("error", error)
        sys.exit(2)
    except Diverged as error:
        _say("error", error)
        sys.exit(3)
    except Stopped as stop:
        _say("stopped", stop)
        sys.exit(128 + stop.signal)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        drop_stdout()
        sys.exit(1)
    except (MemoryError, torch.OutOfMemoryError) as error:
        _say("error", f"out of memory, a smaller batch needs less: {error}")
        sys.exit(1)
    except OSError as error:
        if error.errno not in _USER_ERRNOS:
            raise
        _say("error", f"{error.filename or 'writing'}: {error.strerror}")
        sys.exit(2)
