"""Where demonstrations come from: a column beside each prompt, or a pool of their own."""

import zlib
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from rl.adapters.rows import Columns, Reader, Row
from rl.runtime.errors import InputError, closest


class Demonstrations(Protocol):
    """Gives one demonstration for each row."""

    def __call__(self, columns: Columns, /) -> list[Row]:
        """Return as many rows as there are prompts; a random choice draws from torch's generator."""
        ...


@dataclass(frozen=True)
class Column:
    """The demonstration of a row's own prompt stands in a column of the data set: text, a chat's answer or ids."""

    name: str
    reader: Reader

    def __call__(self, columns: Columns) -> list[Row]:
        """Read the column. Raises InputError where it is missing, or a row's is."""
        if self.name not in columns:
            raise InputError(f"demonstrations: the data have no column {self.name!r}{closest(self.name, columns)}")
        return [
            self.reader.finished(prompt, told) if told is not None else _lacking(self.name, place)
            for place, (prompt, told) in enumerate(zip(columns["prompts"], columns[self.name], strict=True))
        ]


@dataclass(frozen=True)
class Pool:
    """Demonstrations with prompts of their own, drawn with replacement."""

    rows: tuple[Row, ...]

    @classmethod
    def of(cls, examples: Iterable[Mapping[str, Any]], reader: Reader) -> "Pool":
        """Read `prompt` and `completion` of each. Raises InputError for none, or one that is unfit."""
        rows = []
        for place, example in enumerate(examples):
            if "prompt" not in example or "completion" not in example:
                raise InputError(f"demonstrations: number {place}: needs prompt and completion")
            try:
                rows.append(reader.finished(example["prompt"], example["completion"]))
            except InputError as error:
                raise InputError(f"demonstrations: number {place}: {error}") from None
        if not rows:
            raise InputError("demonstrations: there are none")
        return cls(tuple(rows))

    def __call__(self, columns: Columns) -> list[Row]:
        """Draw."""
        drawn = torch.randint(len(self.rows), (len(columns["prompts"]),)).tolist()
        return [self.rows[place] for place in drawn]


def is_held_out(row: Row, share: float) -> bool:
    """Whether a demonstration is one of those, about a `share` of all, that a discriminator never learns from."""
    return zlib.crc32(array("q", [len(row.prompt), *row.prompt, *row.said]).tobytes()) < share * 2**32


def _lacking(name: str, place: int) -> Row:
    raise InputError(f"demonstrations: {name}: row {place} of the batch has none")
