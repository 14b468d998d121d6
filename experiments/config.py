"""From a command line to a configuration, from there to JSON, and back; every mistake is one line."""

import contextlib
import dataclasses
import io
import math
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from rl.runtime import InputError, closest

T = TypeVar("T")
BOX = re.compile(r"\x1b\[[0-9;]*m|[\u2500-\u257f]")  # colours and the frame around tyro's messages


def peek(arguments: Sequence[str], flag: str, *, default: str) -> str:
    """Return the value of a flag that decides the defaults of others."""
    for place, argument in enumerate(arguments):
        if argument == flag and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(flag + "="):
            return argument.removeprefix(flag + "=")
    return default


def parse(rows: Mapping[str, tuple[str, T]], arguments: Sequence[str], *, prog: str, description: str) -> T:
    """Return the row that the first argument names, changed by the flags. Raises InputError in one line."""
    if arguments and not arguments[0].startswith("-") and arguments[0] not in rows:
        raise InputError(f"{arguments[0]}: no such variant{closest(arguments[0], rows)}")
    return one_line_errors(
        lambda: tyro.extras.overridable_config_cli(dict(rows), prog=prog, description=description, args=arguments)
    )


def one_line_errors(command_line: Callable[[], T]) -> T:
    """Return what tyro makes of a command line; its framed complaints become one InputError."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return command_line()
    except SystemExit as end:
        if not end.code:
            raise
        words = " ".join(BOX.sub(" ", complaint.getvalue()).split())
        raise InputError(
            "command line: " + words.removeprefix("Parsing error ").split(" For full helptext")[0]
        ) from None


def to_json(value: Any) -> Any:
    """Return a configuration as plain JSON: dataclasses as objects, paths as text."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return str(value) if isinstance(value, Path) else value


def from_json(kind: type[T], saved: Any, *, place: Path, key: str = "config") -> T:
    """Return the dataclass that `to_json` wrote; raise InputError naming the file and the key that does not fit."""
    if not isinstance(saved, dict):
        raise InputError(f"{place}: {key}: expected an object")
    hints, made = typing.get_type_hints(kind), {}
    for name in sorted(saved.keys() ^ {field.name for field in dataclasses.fields(typing.cast(Any, kind))}):
        raise InputError(f"{place}: {key}.{name}: {'not a setting of this program' if name in saved else 'missing'}")
    for name, value in saved.items():
        made[name] = _fit(hints[name], value, place, f"{key}.{name}")
    return kind(**made)


def _fit(hint: Any, value: Any, place: Path, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type[Any], hint), value, place=place, key=key)
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    for option in options:
        if option is Path and isinstance(value, str):
            return Path(value)
        if typing.get_origin(option) is typing.Literal and value in typing.get_args(option):
            return value
        if option is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(option, type) and type(value) is option:
            return value
    raise InputError(f"{place}: {key}: {value!r} does not fit {hint}")


def check_numbers(value: Any, *, may_be_zero: Collection[str], shares: Collection[str], prefix: str = "--") -> None:
    """Raise InputError for a number below its range: positive, zero or more, or a share in [0, 1); NaN never fits."""
    for field in dataclasses.fields(value):
        number, flag = getattr(value, field.name), prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(number):
            inner = prefix if field.name == "numbers" else f"{prefix}{field.name}."
            check_numbers(number, may_be_zero=may_be_zero, shares=shares, prefix=inner)
        elif isinstance(number, int | float) and not isinstance(number, bool):
            if field.name in shares and not 0 <= number < 1:
                raise InputError(f"{flag} {number}: must be at least 0 and below 1")
            if field.name in may_be_zero and not 0 <= number < math.inf:
                raise InputError(f"{flag} {number}: must be zero or more")
            if field.name not in (*shares, *may_be_zero) and not 0 < number < math.inf:
                raise InputError(f"{flag} {number}: must be above zero")
