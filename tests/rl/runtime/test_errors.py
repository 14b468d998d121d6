import errno
import signal

import pytest
import torch

from rl.runtime.errors import Diverged, InputError, Stopped, closest, exit_codes, warn


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("data.txt:3: no\n\n  word"), 2, "error: data.txt:3: no word\n"),
        (Diverged("g: update 3: the loss is nan"), 3, "error: g: update 3: the loss is nan\n"),
        (Stopped(signal.SIGINT), 130, "stopped: by SIGINT\n"),
        (Stopped(signal.SIGTERM, "see you"), 143, "stopped: see you\n"),
        (KeyboardInterrupt(), 130, ""),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a"), 2, "error: runs/a: No space left on device\n"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "error: x: Permission denied\n"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 2, "error: x: No such file\n"),
        (torch.OutOfMemoryError("tried 3 GiB"), 1, "error: out of memory, a smaller batch needs less: tried 3 GiB\n"),
    ],
)
def test_each_end_has_its_code_and_at_most_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught, exit_codes():
        raise error
    assert caught.value.code == code
    assert capsys.readouterr().err == line


def test_it_decorates_a_main_and_lets_faults_and_results_through() -> None:
    @exit_codes()
    def main(error: Exception | None) -> str:
        if error is not None:
            raise error
        return "done"

    assert main(None) == "done"
    assert main(None) == "done"
    with pytest.raises(ZeroDivisionError):
        main(ZeroDivisionError())
    with pytest.raises(OSError, match="timed out"):
        main(TimeoutError(errno.ETIMEDOUT, "timed out"))


def test_other_ranks_say_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("RANK", "1")
    warn("x")
    with pytest.raises(SystemExit) as caught, exit_codes():
        raise InputError("x")
    assert caught.value.code == 2
    assert capsys.readouterr().err == ""


def test_the_closest_word_or_all_of_them() -> None:
    assert closest("seqgna", ["seqgan", "maligan", "leakgan"]) == "; did you mean 'seqgan'?"
    assert closest("zzz", ["b", "a"]) == "; allowed: a, b"
