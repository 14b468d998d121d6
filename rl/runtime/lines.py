"""Reading text files: lines with their places, and one clear line for what cannot be read."""

import gzip
import zlib
from pathlib import Path

from rl.runtime.errors import InputError


def numbered_lines(path: Path) -> list[tuple[str, str]]:
    """Return the lines of a UTF-8 text file, `.gz` or not, each with its place, `file:line`; a blank last one is none.

    Raises InputError, naming file, line and column, for a file that is missing, damaged, empty or not UTF-8.
    """
    text = _decode(path, _read_bytes(path)).removeprefix("\ufeff")
    lines = text.removesuffix("\n").split("\n")
    if not lines[-1].strip():
        lines.pop()
    if not lines:
        raise InputError(f"{path}: nothing in it")
    return [(f"{path}:{number}", line) for number, line in enumerate(lines, start=1)]


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip file ({error})") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise InputError(f"{path}:{line}:{column}: not UTF-8 (byte 0x{data[error.start]:02x})") from None
