"""What may be ranked for a query, scored: all documents but the known ones, or only those judged."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rl.discriminator import full_precision
from rl.retrieval.collection import Collection, Split
from rl.retrieval.metrics import nan_places
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Scorer

CELLS = 1 << 18  # scores that stand in memory at once


class Lists(NamedTuple):
    """What may be ranked for some queries; the ids of a row ascend, and only those with a mark are candidates."""

    query: Int[Tensor, "batch"]
    ids: Int[Tensor, "batch width"]
    among: Bool[Tensor, "batch width"]
    grades: Float[Tensor, "batch width"]
    scores: Float[Tensor, "batch width"]


@torch.no_grad()
def scored(scorer: Scorer, collection: Collection, split: Split) -> Iterator[Lists]:
    """Score the candidates of every query that has a positive, some queries at a time, without a gradient.

    Raises ValueError where no query has a positive, and for a score that is NaN, naming query and document.
    """
    judged = collection.judged(split)
    match collection.pool:
        case "all":
            known = collection.known(split)
            everything = torch.arange(collection.documents, device=judged.ids.device)
            for query in _chunks(judged, collection, split, collection.documents):
                ids = everything.expand(len(query), -1)
                among = ~known.marked(query, collection.documents)
                grades = judged.dense(query, collection.documents)
                yield _without_nan(Lists(query, ids, among, grades, scorer.score_all(query)), collection)
        case "judged":
            for query in _chunks(judged, collection, split, int(judged.counts.max())):
                places, among = judged.places(query)
                ids, grades = judged.ids[places], judged.grades[places].masked_fill(~among, 0)
                yield _without_nan(Lists(query, ids, among, grades, scorer.score(query, ids)), collection)


def stored(run: Relevance, collection: Collection, split: Split) -> Iterator[Lists]:
    """Give what a run ranked, and the positives it lacks; the grades of a run are its scores."""
    judged = collection.judged(split)
    both = judged.union(run)
    for query in _chunks(judged, collection, split, int(both.counts.max())):
        places, mask = both.places(query)
        ids, rows = both.ids[places], query[:, None].expand_as(places)
        among = run.holds(rows, ids) & mask
        grades = judged.of_pairs(rows, ids).masked_fill(~mask, 0)
        yield _without_nan(Lists(query, ids, among, grades, run.of_pairs(rows, ids)), collection)


def _chunks(judged: Relevance, collection: Collection, split: Split, width: int) -> Iterator[Int[Tensor, "batch"]]:
    if len(judged.answered) == 0:
        raise ValueError(f"{collection.name}: no query of the split {split!r} has a relevant document")
    yield from torch.split(judged.answered, max(1, CELLS // width))


def _without_nan(chunk: Lists, collection: Collection) -> Lists:
    if len(found := nan_places(chunk.scores, chunk.among)):
        row, column = found[0].tolist()
        query = collection.query_name(int(chunk.query[row]))
        document = collection.document_name(int(chunk.ids[row, column]))
        raise ValueError(f"{collection.name}: the score of query {query}, document {document} is NaN")
    return chunk._replace(scores=full_precision(chunk.scores))
