"""TREC files: judgements (qrels) and rankings (runs), as dictionaries by name and as tables by number."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch

from rl.retrieval.collection import Collection
from rl.retrieval.evaluation import Rankings
from rl.retrieval.relevance import Relevance
from rl.runtime.errors import InputError
from rl.runtime.lines import numbered_lines

Value = TypeVar("Value", int, float)
Row = tuple[str, str, str, Value]
"""place (file:line), query, document, grade or score"""

LOWEST_GRADE, HIGHEST_GRADE = -2, 30  # below 0: spam and the like, not relevant; above: 2^grade leaves what floats hold


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Read lines `query iteration document grade`, .gz too, into grades by query and document.

    Raises InputError naming file and line: fields too many or too few, a grade that is no whole number from -2 to 30,
    a pair that stands twice.
    """
    return _nested(_qrels(path))


def read_run(path: Path) -> dict[str, dict[str, float]]:
    """Read lines `query Q0 document rank score tag`, .gz too, into scores by query and document; ranks are not read.

    Raises InputError naming file and line: fields too many or too few, a score that is no number, a pair that stands
    twice.
    """
    return _nested(_run(path))


def qrels_of(path: Path, collection: Collection) -> Relevance:
    """Read judgements of the collection's queries and documents, grades below 0 as 0.

    Raises InputError as `read_qrels`, and for a query or document that the collection does not have.
    """
    table = _table(_qrels(path), collection)
    return Relevance(table.offsets, table.ids, table.grades.clamp(min=0))


def run_of(path: Path, collection: Collection) -> Relevance:
    """Read a ranking of the collection's queries and documents; the grades are its scores (`evaluation.evaluate_run`).

    Raises InputError as `read_run`, and for a query or document that the collection does not have.
    """
    return _table(_run(path), collection)


def write_qrels(path: Path, relevance: Relevance, collection: Collection) -> None:
    """Write judgements; raises InputError for a name with white space in it."""
    triples = zip(relevance.query.tolist(), relevance.ids.tolist(), relevance.grades.tolist(), strict=True)
    names = _names(path, collection)
    path.write_text("".join("{} 0 {} {:g}\n".format(*names(query, ids), grade) for query, ids, grade in triples))


def write_run(path: Path, rankings: Rankings, collection: Collection, tag: str = "sparring") -> None:
    """Write rankings, ranks from 1, scores to float32's last bit; raises InputError for a name with white space in it.

    Where scores are equal trec_eval goes by names, not by ranks: `ties="higher_id"` agrees with it where names ascend
    with numbers as text.
    """
    names = _names(path, collection)
    with path.open("w", encoding="utf-8") as file:
        for query, *row in zip(*(table.tolist() for table in rankings), strict=True):
            for rank, (document, score, held) in enumerate(zip(*row, strict=True), start=1):
                if held:
                    query_name, document_name = names(query, document)
                    file.write(f"{query_name} Q0 {document_name} {rank} {score:.9g} {tag}\n")


def _qrels(path: Path) -> Iterator[Row[int]]:
    for place, (query, _, document, text) in _fields(path, ("query", "iteration", "document", "grade")):
        try:
            grade = int(text)
        except ValueError:
            raise InputError(f"{place}: grade {text!r} is no whole number") from None
        if not LOWEST_GRADE <= grade <= HIGHEST_GRADE:
            raise InputError(f"{place}: grade {grade} is not in {LOWEST_GRADE}..{HIGHEST_GRADE}")
        yield place, query, document, grade


def _run(path: Path) -> Iterator[Row[float]]:
    for place, (query, _, document, _, text, _) in _fields(path, ("query", "Q0", "document", "rank", "score", "tag")):
        try:
            score = float(text)
        except ValueError:
            score = math.nan
        if math.isnan(score):
            raise InputError(f"{place}: score {text!r} of query {query}, document {document} is no number")
        yield place, query, document, score


def _fields(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """Split each line; refuse another count of fields, and a document that stands twice for a query."""
    column = names.index("document")
    places: dict[tuple[str, str], str] = {}
    for place, line in numbered_lines(path):
        fields = line.split()
        if len(fields) != len(names):
            raise InputError(f"{place}: {len(fields)} fields; expected {', '.join(names)}")
        pair = fields[0], fields[column]
        if pair in places:
            raise InputError(f"{place}: query {pair[0]}, document {pair[1]} stands in {places[pair]} too")
        places[pair] = place
        yield place, fields


def _nested(rows: Iterator[Row[Value]]) -> dict[str, dict[str, Value]]:
    nested: dict[str, dict[str, Value]] = {}
    for _, query, document, value in rows:
        nested.setdefault(query, {})[document] = value
    return nested


def _table(rows: Iterator[Row[Value]], collection: Collection) -> Relevance:
    """Replace names by numbers: documents are looked up among what may be ranked for the query."""
    queries = {collection.query_name(query): query for query in range(collection.queries)}
    documents = _judged(collection) if collection.pool == "judged" else _everything(collection)
    triples = []
    for place, query, document, value in rows:
        if query not in queries:
            raise InputError(f"{place}: query {query} is unknown")
        if (number := documents(queries[query], document)) is None:
            raise InputError(f"{place}: document {document} is unknown to query {query}")
        triples.append((queries[query], number, float(value)))
    numbers, ids, values = (torch.tensor(column) for column in zip(*triples, strict=True))
    return Relevance.of(numbers, ids, values, collection.queries)


def _everything(collection: Collection) -> Callable[[int, str], int | None]:
    numbers = {collection.document_name(document): document for document in range(collection.documents)}
    return lambda query, name: numbers.get(name)


def _judged(collection: Collection) -> Callable[[int, str], int | None]:
    """Documents of two queries may share a name: learning to rank knows them by query."""
    judged = collection.train.union(collection.valid).union(collection.test)
    pairs = zip(judged.query.tolist(), judged.ids.tolist(), strict=True)
    numbers = {(query, collection.document_name(document)): document for query, document in pairs}
    return lambda query, name: numbers.get((query, name))


def _names(path: Path, collection: Collection) -> Callable[[int, int], tuple[str, str]]:
    def names(query: int, document: int) -> tuple[str, str]:
        both = collection.query_name(query), collection.document_name(document)
        for name in both:
            if len(name.split()) != 1:
                raise InputError(f"{path}: the name {name!r} holds white space, and a TREC file cannot hold it")
        return both

    return names
