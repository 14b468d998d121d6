"""Learning to rank: judged documents of a query as rows of features; LETOR, also called SVMrank, lines."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from rl.retrieval.collection import Collection
from rl.retrieval.relevance import Relevance
from rl.runtime.errors import InputError
from rl.runtime.lines import numbered_lines

HIGHEST_GRADE = 4  # of every public set
NOT_JUDGED = -1  # in the semi-supervised sets of LETOR 4.0: a candidate like any other, and not relevant
MOST_FEATURES = 100_000
LARGEST_FEATURE = torch.finfo(torch.float32).max


@dataclass
class _Rows:
    """All rows of all files so far: a document is a row, since its features belong to its query."""

    queries: dict[str, int] = field(default_factory=dict)
    file_of: list[Path] = field(default_factory=list)
    """by query"""
    documents: list[str] = field(default_factory=list)
    places: dict[tuple[str, str], str] = field(default_factory=dict)
    """of each query and document, by their names"""
    features: list[dict[int, float]] = field(default_factory=list)


def letor(train: Path, valid: Path | None, test: Path | None, *, hold_out: float = 0.2, seed: int = 0) -> Collection:
    """Read lines `grade qid:Q 1:x 2:x ... #docid = D ...`, .gz too; a feature that is not written is 0.

    Grades are 0..4; -1 (not judged) counts as 0. Where `test` or `valid` is None, that share of the queries of `train`
    is held out by `seed`, for test first. Only the documents of its query are ranked. Raises InputError naming file and
    line: a missing or malformed field, a grade out of range, a feature that is no number of float32, a document that
    stands twice, a query in two files; or one file given twice.
    """
    rows = _Rows()
    paths = [path for path in (train, valid, test) if path is not None]
    if len({path.resolve() for path in paths}) < len(paths):
        raise InputError(f"{train}: the files of training, validation and test must be different ones")
    triples = {path: list(_read(path, rows)) for path in paths}
    queries = len(rows.queries)

    def judged(path: Path) -> Relevance:
        query, ids, grades = (torch.tensor(column) for column in zip(*triples[path], strict=True))
        return Relevance.of(query, ids, grades, queries)

    kept = judged(train)
    kept, tested = kept.hold_out_queries(hold_out, seed) if test is None else (kept, judged(test))
    kept, validated = kept.hold_out_queries(hold_out, seed + 1) if valid is None else (kept, judged(valid))
    return Collection(
        name=train.name,
        kind="letor",
        queries=queries,
        documents=len(rows.documents),
        train=kept,
        valid=validated,
        test=tested,
        shown=Relevance.nothing(queries),
        pool="judged",
        features=_table(rows.features),
        query_names=tuple(rows.queries),
        document_names=tuple(rows.documents),
    )


def _read(path: Path, rows: _Rows) -> Iterator[tuple[int, int, float]]:
    """Add the rows of a file; yield query, document and grade."""
    relevant = False
    for place, line in numbered_lines(path):
        content, _, comment = line.partition("#")
        if not content.strip():
            continue
        fields = content.split()
        grade, name = _grade(place, fields[0]), _query(place, fields)
        query = rows.queries.setdefault(name, len(rows.queries))
        if query == len(rows.file_of):
            rows.file_of.append(path)
        elif rows.file_of[query] != path:
            raise InputError(f"{place}: query {name} stands in {rows.file_of[query]} too")
        document = _document(comment) or f"{name}-{len(rows.documents)}"
        if (name, document) in rows.places:
            raise InputError(f"{place}: query {name}, document {document} stands in {rows.places[name, document]} too")
        rows.places[name, document] = place
        rows.features.append(_features(place, fields[2:]))
        rows.documents.append(document)
        relevant |= grade > 0
        yield query, len(rows.documents) - 1, float(max(grade, 0))
    if not relevant:
        raise InputError(f"{path}: no grade above 0: nothing is relevant")


def _grade(place: str, text: str) -> int:
    try:
        grade = int(text)
    except ValueError:
        raise InputError(f"{place}: grade {text!r} is no whole number") from None
    if not NOT_JUDGED <= grade <= HIGHEST_GRADE:
        raise InputError(f"{place}: grade {grade} is not in 0..{HIGHEST_GRADE} (or {NOT_JUDGED}: not judged)")
    return grade


def _query(place: str, fields: list[str]) -> str:
    key, _, name = fields[1].partition(":") if len(fields) > 1 else ("", "", "")
    if key != "qid" or not name:
        raise InputError(f"{place}: no query: the second field must read qid:NAME")
    return name


def _document(comment: str) -> str:
    """Return the name in `docid = NAME ...`, or nothing."""
    key, _, rest = comment.partition("=")
    return next(iter(rest.split()), "") if key.strip() == "docid" else ""


def _features(place: str, fields: list[str]) -> dict[int, float]:
    features: dict[int, float] = {}
    last = 0
    for text in fields:
        number, _, value = text.partition(":")
        try:
            column, features[column] = int(number), float(value)
        except ValueError:
            raise InputError(f"{place}: feature {text!r} does not read NUMBER:VALUE") from None
        if not last < column <= MOST_FEATURES:
            raise InputError(f"{place}: feature {column} after {last}: numbers must ascend from 1 to {MOST_FEATURES}")
        if not abs(features[column]) <= LARGEST_FEATURE:
            raise InputError(f"{place}: feature {column} is {value}")
        last = column
    return features


def _table(features: list[dict[int, float]]) -> Float[Tensor, "documents features"]:
    width = max((max(row, default=0) for row in features), default=0)
    return torch.tensor([[row.get(column, 0.0) for column in range(1, width + 1)] for row in features])
