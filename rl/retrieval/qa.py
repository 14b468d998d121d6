"""Questions and candidate answers: text on both sides, as words and as numbers of words."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from rl.retrieval.collection import Collection, Split
from rl.retrieval.relevance import Relevance
from rl.runtime.errors import InputError
from rl.runtime.lines import numbered_lines

COLUMNS = ("qid", "cand_id", "label", "question", "answer")
FILLER, UNKNOWN = "<fill>", "<unknown>"  # words 0 and 1


@dataclass
class _Rows:
    """All rows of all files so far; a question belongs to its file, an answer to its question."""

    query_names: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    document_names: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    """of each answer, by name"""


def qa(
    train: Path,
    valid: Path | None,
    test: Path | None,
    *,
    pool: Literal["judged", "all"] = "judged",
    hold_out: float = 0.2,
    seed: int = 0,
    query_length: int = 32,
    document_length: int = 128,
) -> Collection:
    """Read tables split by tabs under a line of names: qid, cand_id, label (0 or 1), question, answer; .gz too.

    Text is lower-cased and split at white space; the words are those of the questions of `train` and of all answers,
    known before anybody asks, the most frequent first; what is longer than the lengths (in words) is cut. A question
    that is spelled in two ways keeps the first. Where `test` or `valid` is None, that share of the questions of `train`
    is held out by `seed`, for test first. Raises InputError naming file and line: a missing field, a label that is not
    0 or 1, an answer's name that stands twice, a name with white space in it, empty text.
    """
    rows = _Rows()
    splits: dict[Split, Path | None] = {"train": train, "valid": valid, "test": test}
    triples = {split: list(_read(path, split, rows)) for split, path in splits.items() if path is not None}
    queries = len(rows.questions)

    def judged(split: Split) -> Relevance:
        query, ids, grades = (torch.tensor(column) for column in zip(*triples[split], strict=True))
        return Relevance.of(query, ids, grades, queries)

    kept = judged("train")
    kept, tested = kept.hold_out_queries(hold_out, seed) if test is None else (kept, judged("test"))
    kept, validated = kept.hold_out_queries(hold_out, seed + 1) if valid is None else (kept, judged("valid"))
    words = _vocabulary(rows, kept)
    return Collection(
        name=train.name,
        kind="qa",
        queries=queries,
        documents=len(rows.answers),
        train=kept,
        valid=validated,
        test=tested,
        shown=Relevance.nothing(queries),
        pool=pool,
        features=torch.zeros(len(rows.answers), 0),
        query_tokens=numbers(rows.questions, words, query_length),
        document_tokens=numbers(rows.answers, words, document_length),
        words=words,
        query_texts=tuple(rows.questions),
        document_texts=tuple(rows.answers),
        query_names=tuple(rows.query_names),
        document_names=tuple(rows.document_names),
    )


def numbers(texts: Iterable[str], words: Sequence[str], length: int) -> Int[Tensor, "texts length"]:
    """Give each word its number, unknown ones 1; cut after `length`, filled with 0 to the longest that is left."""
    number = {word: place for place, word in enumerate(words)}
    rows = [torch.tensor([number.get(word, 1) for word in text.lower().split()[:length]]).long() for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def _vocabulary(rows: _Rows, train: Relevance) -> tuple[str, ...]:
    """Count every question of the training split, and every answer, once."""
    questions = [rows.questions[query] for query in train.counts.nonzero().flatten().tolist()]
    counts = Counter(word for text in questions + rows.answers for word in text.split())
    return (FILLER, UNKNOWN, *sorted(counts, key=lambda word: (-counts[word], word)))


def _read(path: Path, split: Split, rows: _Rows) -> Iterator[tuple[int, int, float]]:
    """Add the rows of a file; yield query, document and grade."""
    (place, header), *lines = numbered_lines(path)
    if (names := tuple(header.strip().split("\t"))) != COLUMNS:
        raise InputError(f"{place}: columns {', '.join(names)}; expected {', '.join(COLUMNS)}, split by tabs")
    here: dict[str, int] = {}
    relevant = False
    for place, line in lines:
        fields = [text.strip() for text in line.split("\t")]
        if len(fields) != len(COLUMNS):
            raise InputError(f"{place}: {len(fields)} fields; expected {', '.join(COLUMNS)}, split by tabs")
        name, document, label, question, answer = fields
        for column, text in zip(COLUMNS, fields, strict=True):
            if not text:
                raise InputError(f"{place}: {column} is empty")
        for column, text in (("qid", name), ("cand_id", document)):
            if len(text.split()) > 1:
                raise InputError(f"{place}: {column} {text!r} holds white space, and files of rankings cannot")
        if label not in ("0", "1"):
            raise InputError(f"{place}: label {label!r} is neither 0 nor 1")
        if document in rows.places:
            raise InputError(f"{place}: answer {document} stands in {rows.places[document]} too")
        rows.places[document] = place
        if name not in here:
            here[name] = len(rows.questions)
            rows.questions.append(question.lower())
            rows.query_names.append(f"{split}-{name}")  # a name counts within its file
        rows.document_names.append(document)
        rows.answers.append(answer.lower())
        relevant |= label == "1"
        yield here[name], len(rows.answers) - 1, float(label)
    if not relevant:
        raise InputError(f"{path}: no answer with label 1: nothing is relevant")
