"""Ratings of items by users: a good one is a relevant document, and a user is a query."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from rl.retrieval.collection import Collection
from rl.retrieval.relevance import Relevance
from rl.runtime.errors import InputError
from rl.runtime.lines import numbered_lines

Mask = Literal["positives", "all_seen"]
LARGEST_ID = 10_000_000  # one stray large number must not fill the memory with items nobody rated
_SEPARATORS = ("::", "\t", ",")  # white space where none of them stands in the first line


@dataclass(frozen=True, eq=False)
class _File:
    """Rows as they stand."""

    path: Path
    places: list[str]
    users: np.ndarray
    items: np.ndarray
    values: np.ndarray


def ratings(
    train: Path,
    test: Path | None,
    *,
    valid: Path | None = None,
    positive: float = 4.0,
    hold_out: float = 0.2,
    seed: int = 0,
    mask: Mask = "positives",
    documents: int = 0,
) -> Collection:
    """Read lines `user item rating ...`, ids from 0 on, split by tab, comma, `::` or space; .gz too.

    A rating of `positive` or more is relevant. Where `test` or `valid` is None, that share of each user's positives in
    `train` is held out by `seed`, for test first. `mask`: a ranking leaves out the known positives (IRGAN's rule), or
    every item the user rated in `train` ("all_seen"). `documents` 0: the largest id and one (MovieLens-100K in IRGAN's
    split needs 1683: its item 1682 was rated by nobody, yet is ranked). Raises InputError naming file and line.
    """
    files = [_read(path, documents) for path in (train, test, valid) if path is not None]
    _no_row_numbers(train, "users", 1, files[0].users)
    _no_row_numbers(train, "items", 2, files[0].items)
    _no_pair_twice(files)
    users = max(int(file.users.max()) for file in files) + 1
    items = documents or max(int(file.items.max()) for file in files) + 1
    of_file = {file.path: file for file in files}
    positives = partial(_relevance, users=users, positive=positive)
    kept, low = positives(of_file[train])
    if test is None:
        kept, tested = kept.hold_out(hold_out, seed)
    else:
        tested, _ = positives(of_file[test])
    if valid is None:
        kept, validated = kept.hold_out(hold_out, seed + 1)
    else:
        validated, _ = positives(of_file[valid])
    return Collection(
        name=train.name,
        kind="ratings",
        queries=users,
        documents=items,
        train=kept,
        valid=validated,
        test=tested,
        shown=low if mask == "all_seen" else Relevance.nothing(users),
        pool="all",
        features=torch.zeros(items, 0),
        query_names=tuple(map(str, range(users))),
        document_names=tuple(map(str, range(items))),
    )


def _relevance(file: _File, users: int, positive: float) -> tuple[Relevance, Relevance]:
    """Return the positives with grade 1, and the others with grade 0."""
    good = file.values >= positive
    if not good.any():
        raise InputError(f"{file.path}: no rating of {positive:g} or more: nothing is relevant")

    def table(chosen: np.ndarray, grade: float) -> Relevance:
        query, ids = torch.from_numpy(file.users[chosen]), torch.from_numpy(file.items[chosen])
        return Relevance.of(query, ids, torch.full(query.shape, grade), users)

    return table(good, 1.0), table(~good, 0.0)


def _read(path: Path, documents: int) -> _File:
    lines = [(place, line) for place, line in numbered_lines(path) if line.strip()]
    if not lines:
        raise InputError(f"{path}: nothing in it")
    separator = next((mark for mark in _SEPARATORS if mark in lines[0][1]), None)
    rows = [_row(place, line.split(separator), documents) for place, line in lines]
    users, items, values = zip(*rows, strict=True)
    return _File(path, [place for place, _ in lines], np.array(users), np.array(items), np.array(values))


def _row(place: str, fields: list[str], documents: int) -> tuple[int, int, float]:
    if len(fields) < 3:
        raise InputError(f"{place}: {len(fields)} of the fields user, item, rating")
    user, item = _id(place, "user", fields[0]), _id(place, "item", fields[1])
    if documents and item >= documents:
        raise InputError(
            f"{place}: item {item}, where {documents} documents were asked for: ids end at {documents - 1}"
        )
    try:
        value = float(fields[2])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{place}: rating {fields[2].strip()!r} is no number")
    return user, item, value


def _id(place: str, what: str, field: str) -> int:
    field = field.strip()
    if not (field.isascii() and field.isdigit()):
        raise InputError(f"{place}: {what} {field!r} is no whole number from 0 on")
    number = int(field)
    if number > LARGEST_ID:
        raise InputError(f"{place}: {what} {number} is larger than {LARGEST_ID}: number them from 0 on")
    return number


def _no_row_numbers(path: Path, what: str, column: int, ids: np.ndarray) -> None:
    """Refuse a column that counts the lines: an index that was written with the table, and nothing can be learned.

    A test file may well hold one rating of each user, in their order.
    """
    if len(ids) > 2 and bool((np.diff(ids) == 1).all()):
        raise InputError(
            f"{path}: column {column}: the {what} merely count the lines ({ids[0]}, {ids[1]}, ...): no ids"
        )


def _no_pair_twice(files: list[_File]) -> None:
    """Refuse a user's item that was rated twice, in one file or in two: what is trained on must not be tested."""
    places = [place for file in files for place in file.places]
    users, items = (np.concatenate([getattr(file, name) for file in files]) for name in ("users", "items"))
    keys = users.astype(np.int64) * (int(items.max()) + 1) + items
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(np.diff(keys[order]) == 0)
    if len(again):
        earliest = again[order[again + 1].argmin()]
        first, second = order[earliest], order[earliest + 1]
        raise InputError(f"{places[second]}: user {users[second]}, item {items[second]} stands in {places[first]} too")
