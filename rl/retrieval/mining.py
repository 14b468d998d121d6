"""Hard negatives from a scorer's rankings, in the columns that sentence-transformers trains on."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rl.retrieval import metrics
from rl.retrieval.collection import Collection, Split
from rl.retrieval.lists import Lists, scored
from rl.retrieval.scorers import Scorer

Row = dict[str, Any]
Eligible = Bool[Tensor, "pairs ranks"]


@dataclass(frozen=True, eq=False)
class Mined:
    """For each pair of a query and a positive the negatives found, the best-scored first."""

    query: Int[Tensor, "pairs"]
    positive: Int[Tensor, "pairs"]
    negatives: Int[Tensor, "pairs wanted"]
    mask: Bool[Tensor, "pairs wanted"]
    """False where fewer than wanted passed the filters"""
    positive_scores: Float[Tensor, "pairs"]
    negative_scores: Float[Tensor, "pairs wanted"]


@dataclass(frozen=True)
class Filters:
    """Which documents may be negatives; the defaults let the best 100 pass. The limits on scores are inclusive.

    Ranks are counted from 0 among the documents that are not relevant, before any other filter. Margins are distances
    from the score of the pair's own positive, absolute or as a share of its magnitude: 0.05 is the TopK-PercPos of
    NV-Retriever, Moreira et al. 2024 (2407.15831) at 95 %, which skips negatives that may be relevant.
    """

    range_min: int = 0
    range_max: int = 100
    """first rank that is too far down"""
    min_score: float = -math.inf
    max_score: float = math.inf
    absolute_margin: float = -math.inf
    relative_margin: float = -math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.range_min < self.range_max:
            raise ValueError(f"Filters: no rank lies in range_min {self.range_min} .. range_max {self.range_max}")

    def highest(self, positive: Float[Tensor, "pairs"]) -> Float[Tensor, "pairs"]:
        """Return the highest score that a negative may have beside a positive of that score."""
        by_share = torch.full_like(positive, math.inf)
        if self.relative_margin > -math.inf:  # 0 * inf is no number
            by_share = positive - positive.abs() * self.relative_margin
        return torch.minimum(positive - self.absolute_margin, by_share).clamp(max=self.max_score)


def mine_hard_negatives(
    scorer: Scorer,
    collection: Collection,
    per_positive: int = 3,
    *,
    split: Split = "train",
    filters: Filters = Filters(),
    strategy: Literal["top", "random"] = "top",
    seed: int = 0,
) -> Mined:
    """Give each positive of the split `per_positive` negatives out of its query's ranking: the first, or any.

    Candidates are what an evaluation of the split would rank, less the relevant. "random" draws evenly from what passes
    the filters, by `seed`. Raises ValueError as `lists.scored`.
    """
    random = torch.Generator().manual_seed(seed)
    parts = [_mine(chunk, per_positive, filters, strategy, random) for chunk in scored(scorer, collection, split)]
    return Mined(*(torch.cat([getattr(part, column.name) for part in parts]) for column in fields(Mined)))


def _mine(chunk: Lists, wanted: int, filters: Filters, strategy: str, random: torch.Generator) -> Mined:
    relevant = chunk.grades > 0
    row, column = (relevant & chunk.among).nonzero(as_tuple=True)
    of_positives = chunk.scores[row, column]
    ranking = metrics.rank(chunk.scores, chunk.grades, chunk.among & ~relevant)
    first = ranking.columns[:, : filters.range_max]
    scores = chunk.scores.gather(1, first)[row]
    ranks = torch.arange(first.shape[1], device=first.device)
    eligible = (ranks >= filters.range_min) & (ranks < ranking.candidates[row, None])
    eligible &= (scores >= filters.min_score) & (scores <= filters.highest(of_positives)[:, None])
    places, mask = _choose(eligible, wanted, strategy, random)
    return Mined(
        query=chunk.query[row],
        positive=chunk.ids[row, column],
        negatives=chunk.ids.gather(1, first)[row].gather(1, places).masked_fill(~mask, 0),
        mask=mask,
        positive_scores=of_positives,
        negative_scores=scores.gather(1, places).masked_fill(~mask, 0),
    )


def _choose(
    eligible: Eligible, wanted: int, strategy: str, random: torch.Generator
) -> tuple[Int[Tensor, "pairs wanted"], Bool[Tensor, "pairs wanted"]]:
    """Take `wanted` of the eligible ranks, ascending, and where there was one."""
    ranks = torch.arange(eligible.shape[1], device=eligible.device).expand(eligible.shape)
    keys = ranks.double()
    if strategy == "random":
        keys = torch.rand(eligible.shape, generator=random, dtype=torch.float64).to(eligible.device)
    chosen = keys.masked_fill(~eligible, math.inf).argsort(1)[:, :wanted]
    found = eligible.gather(1, chosen)
    places = chosen.masked_fill(~found, eligible.shape[1]).sort(1).values
    missing = wanted - places.shape[1]
    places = torch.nn.functional.pad(places, (0, missing), value=eligible.shape[1])
    mask = places < eligible.shape[1]
    return places.masked_fill(~mask, 0), mask


def triplets(mined: Mined, collection: Collection) -> Iterator[Row]:
    """Give rows {anchor, positive, negative}, one for each negative."""
    for anchor, positive, negatives in _texts(mined, collection):
        for negative in negatives:
            yield {"anchor": anchor, "positive": positive, "negative": negative}


def n_tuples(mined: Mined, collection: Collection) -> Iterator[Row]:
    """Give rows {anchor, positive, negative_1, ..., negative_n}, only where all n were found."""
    for anchor, positive, negatives in _texts(mined, collection):
        if len(negatives) == mined.mask.shape[1]:
            row = {f"negative_{number}": negative for number, negative in enumerate(negatives, start=1)}
            yield {"anchor": anchor, "positive": positive} | row


def labeled_pairs(mined: Mined, collection: Collection) -> Iterator[Row]:
    """Give rows {anchor, document, label}, label 1 for a positive and 0 for a negative; no pair stands twice."""
    given: set[tuple[str, str]] = set()
    for anchor, positive, negatives in _texts(mined, collection):
        for document in (positive, *negatives):
            if (anchor, document) not in given:
                given.add((anchor, document))
                yield {"anchor": anchor, "document": document, "label": int(document == positive)}


def labeled_lists(mined: Mined, collection: Collection) -> Iterator[Row]:
    """Give rows {anchor, documents, labels}, the positive first, where a negative was found."""
    for anchor, positive, negatives in _texts(mined, collection):
        if negatives:
            yield {"anchor": anchor, "documents": [positive, *negatives], "labels": [1] + [0] * len(negatives)}


def _texts(mined: Mined, collection: Collection) -> Iterator[tuple[str, str, list[str]]]:
    """Give texts, or names where the collection has no texts."""
    queries, documents = collection.query_texts, collection.document_texts
    of_query = queries.__getitem__ if queries else collection.query_name
    of_document = documents.__getitem__ if documents else collection.document_name
    columns = (mined.query, mined.positive, mined.negatives, mined.mask)
    for query, positive, negatives, mask in zip(*(column.tolist() for column in columns), strict=True):
        kept = [of_document(negative) for negative, held in zip(negatives, mask, strict=True) if held]
        yield of_query(query), of_document(positive), kept


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, as `datasets.load_dataset("json", ...)` reads it."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows)
