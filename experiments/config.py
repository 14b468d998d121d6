"""From a command line to a configuration, from there to JSON, and back; every mistake is one line."""

import contextlib
import dataclasses
import io
import json
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
CACHE = Path("~/.cache/sparring")  # where what many runs need is kept once it is made
LARGEST = 1 << 62  # of a whole number: seeds are added to, and must stay below 2^63
BOX = re.compile(
    r"\x1b\[[0-9;]*m|[\u2500-\u257f]|-{3,}|(?m:^[|+])|(?m:[|+]$)"
)  # colours and the frame around tyro's messages

WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    type(None): "null",
}
COMPLAINTS = (  # what tyro says, and what is made of it
    (r"misplaced options: (-[^\s=,]+)", "{0}: a flag stands after the variant, and is one of its flags"),
    (r"Unrecognized options: (-[^\s=,]+)", "{0}: no such flag{hint}"),
    (r"Unrecognized options: (\S+)", "command line: {0!r} belongs to no flag"),
    (r"Missing value for argument '([^'/]+)", "{0}: a value is missing"),
    (r"invalid choice '(.*)' for argument '([^'/]+)'\. Expected one of \((.*?),?\s*\)", "{1} {0}: expected one of {2}"),
    (r"Error parsing ([^\s:]+): invalid literal for int\(\) with base 10: '(.*?)'", "{0} {1}: expected a whole number"),
    (r"Error parsing ([^\s:]+): could not convert string to float: '(.*?)'", "{0} {1}: expected a number"),
    (r"Error parsing (\S+): no type matching (\S+) could be instantiated from \['(.*?)'\]", "{0} {2}: expected {1}"),
    (r"Required options Missing from .*?: (\S+) (.*?) \(required\)", "command line: {0} is missing, {1}"),
    (r"Missing subcommand Expected one of {(.*?)}", "command line: the variant is missing, one of {0}"),
)


def of_command_line(
    arguments: Sequence[str],
    family: str,
    presets: Collection[str],
    rows: Callable[[str], Mapping[str, tuple[str, T]]],
    check: Callable[[T], None],
    about: str | None,
) -> T:
    """Return the experiment that a command line asks for. Raises InputError in one line.

    Args:
        arguments: variant and flags.
        family: the script in `experiments/`.
        presets: names that `--preset` may have.
        rows: from a preset to each variant's summary and experiment.
        check: raises InputError for a setting out of its range.
        about: what `--help` says of the script.
    """
    preset = peek(arguments, "--preset", default="default")
    if preset not in presets:
        raise InputError(f"--preset {preset}: no such preset{closest(preset, presets)}")
    e = parse(rows(preset), arguments, prog=f"python -m experiments.{family}", description=about or "")
    check(e)
    return e


def of_run(kind: type[T], variants: Collection[str], check: Callable[[T], None], run_dir: Path, saved: Any) -> T:
    """Return the experiment of a run. Raises InputError naming the file and the setting that is wrong."""
    place = run_dir / "config.json"
    e = from_json(kind, saved, place=place)
    if (variant := typing.cast(Any, e).variant) not in variants:
        raise InputError(f"{place}: config.variant: {variant!r} is no variant{closest(variant, variants)}")
    try:
        check(e)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    return e


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
        raise InputError(_complaint(" ".join(BOX.sub(" ", complaint.getvalue()).split()))) from None


def _complaint(words: str) -> str:
    """Return what tyro says, in short; in tyro's own words, where they are of a kind that is not known here."""
    for pattern, short in COMPLAINTS:
        if found := re.search(pattern, words):
            near = re.search(r"Perhaps you meant: (?:-\w, )?(--[\w.-]+)", words)
            hint = f"; did you mean {near[1]!r}?" if near else ""
            return short.format(*found.groups(), hint=hint)
    return "command line: " + words.split(" For full helptext")[0]


def to_json(value: Any) -> Any:
    """Return a configuration as plain JSON: dataclasses as objects, paths as text."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
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
        if typing.get_origin(option) is tuple and isinstance(value, list):
            return tuple(_fit(typing.get_args(option)[0], item, place, f"{key}[{i}]") for i, item in enumerate(value))
        if isinstance(option, type) and type(value) is option:
            return value
    expected = " or ".join(_in_words(option) for option in options)
    raise InputError(f"{place}: {key}: {json.dumps(value)}, expected {expected}")


def _in_words(option: Any) -> str:
    if typing.get_origin(option) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(option)))
    if typing.get_origin(option) is tuple:
        return "a list"
    return WORDS.get(option, str(option))


def make_cache(cache: Path) -> None:
    """Make the folder of `--cache`: now, not after the training; raise InputError in one line."""
    try:
        cache.expanduser().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--cache {cache}: {error.strerror}") from None


def check_numbers(
    value: Any,
    *,
    may_be_zero: Collection[str],
    shares: Collection[str],
    signed: Collection[str] = (),
    unbounded: Collection[str] = (),
    prefix: str = "--",
) -> None:
    """Raise InputError for a number out of its range: positive, zero or more, of either sign, or a share in [0, 1).

    Only those named in `unbounded` may be infinite.
    """
    for field in dataclasses.fields(value):
        number, flag = getattr(value, field.name), prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(number):
            inner = prefix if field.name == "numbers" else f"{prefix}{field.name}."
            check_numbers(
                number, may_be_zero=may_be_zero, shares=shares, signed=signed, unbounded=unbounded, prefix=inner
            )
        elif isinstance(number, int | float) and not isinstance(number, bool):
            if number != number:
                raise InputError(f"{flag} {number}: no number")
            infinite = not math.isfinite(number) and field.name not in unbounded
            if infinite or (isinstance(number, int) and abs(number) >= LARGEST):
                raise InputError(f"{flag} {number}: too large")
            if field.name in shares and not 0 <= number < 1:
                raise InputError(f"{flag} {number}: must be at least 0 and below 1")
            if field.name in may_be_zero and number < 0:
                raise InputError(f"{flag} {number}: must be zero or more")
            if field.name not in (*shares, *may_be_zero, *signed) and number <= 0:
                raise InputError(f"{flag} {number}: must be above zero")
