"""Configurations come back from JSON as they went in; numbers out of range are named by their flag."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.config import LARGEST, check_numbers, from_json, parse, peek, to_json
from experiments.text_gan import Experiment
from rl.runtime import InputError, read_config, write_json
from seqgan.variants import PRESETS, VARIANTS


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    count: int = 3
    dropout: float = 0.0
    best: bool = False


@dataclass(frozen=True)
class Outer:
    numbers: Inner = field(default_factory=Inner)
    runtime: Inner = field(default_factory=Inner)
    name: str = "x"
    kind: Literal["a", "b"] = "a"
    path: Path | None = None


FLOATS = st.floats(allow_nan=False)
INNERS = st.builds(Inner, FLOATS, st.integers(), FLOATS, st.booleans())
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
PATHS = st.none() | st.text("abc/.", min_size=1).map(Path)
OUTERS = st.builds(Outer, INNERS, INNERS, NAMES, st.sampled_from(["a", "b"]), PATHS)


@given(OUTERS)
def test_a_configuration_comes_back_from_json(outer: Outer) -> None:
    saved = json.loads(json.dumps(to_json(outer)))
    assert from_json(Outer, saved, place=Path("config.json")) == outer


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_row_of_the_table_comes_back_from_a_file(tmp_path: Path, variant: str, preset: Any) -> None:
    experiment = Experiment(variant, VARIANTS[variant].presets[preset], preset)
    description = {"family": "f", "variant": variant, "seed": 0, "config": to_json(experiment)}
    write_json(tmp_path / "config.json", description)
    saved = read_config(tmp_path)["config"]
    assert from_json(Experiment, saved, place=tmp_path) == experiment


JUNK = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
)


@given(st.sampled_from(["numbers", "name", "kind", "path", "rate", "count", "best", "more"]), JUNK)
def test_what_does_not_fit_is_named(name: str, junk: Any) -> None:
    saved = to_json(Outer())
    inside = name in ("rate", "count", "best")
    (saved["numbers"] if inside else saved)[name] = junk
    key = f"config.numbers.{name}" if inside else f"config.{name}"
    fits = {
        "name": isinstance(junk, str),
        "kind": junk == "a" or junk == "b",
        "path": junk is None or isinstance(junk, str),
        "rate": isinstance(junk, int | float) and not isinstance(junk, bool),
        "count": isinstance(junk, int) and not isinstance(junk, bool),
        "best": isinstance(junk, bool),
    }.get(name, False)
    if fits:
        from_json(Outer, saved, place=Path("c.json"))
    else:
        with pytest.raises(InputError, match=rf"^c\.json: {key}: "):
            from_json(Outer, saved, place=Path("c.json"))


@given(st.floats() | st.integers(), st.floats() | st.integers(), st.floats() | st.integers())
def test_a_number_passes_if_and_only_if_it_is_in_its_range(rate: Any, count: Any, dropout: Any) -> None:
    outer = Outer(runtime=Inner(rate=rate, count=count, dropout=dropout))
    small = all(math.isfinite(n) and not (isinstance(n, int) and abs(n) >= LARGEST) for n in (rate, count, dropout))
    if small and rate > 0 and count >= 0 and 0 <= dropout < 1:
        check_numbers(outer, may_be_zero=("count",), shares=("dropout",))
    else:
        with pytest.raises(InputError, match=r"^--runtime\.(rate|count|dropout) "):
            check_numbers(outer, may_be_zero=("count",), shares=("dropout",))


def test_a_flag_that_decides_defaults_is_read_first() -> None:
    assert peek(["a", "--preset", "x", "--y"], "--preset", default="d") == "x"
    assert peek(["a", "--preset=x"], "--preset", default="d") == "x"
    assert peek(["a", "--preset"], "--preset", default="d") == "d"
    assert peek(["a", "--presets", "x"], "--preset", default="d") == "d"


def test_flags_change_the_row_that_the_first_argument_names() -> None:
    rows = {"one": ("first", Outer()), "two": ("second", Outer(name="z"))}
    arguments = ["two", "--numbers.count", "7", "--path", "p"]
    made = parse(rows, arguments, prog="p", description="d")
    assert made == Outer(numbers=Inner(count=7), name="z", path=Path("p"))
