"""The lists over which rankers play: for every query its candidates, and which of them are relevant."""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rl.retrieval.collection import Collection
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Queries, Scorer

Mask = Bool[Tensor, "batch list"]


@dataclass(frozen=True, eq=False)
class Slate:
    """Candidates of some queries, filled up on the right."""

    query: Queries
    ids: Int[Tensor, "batch list"]
    mask: Mask
    """where a candidate stands"""
    relevant: Mask
    """which of them answer the query"""

    def scores(self, scorer: Scorer) -> Float[Tensor, "batch list"]:
        """Return what a scorer thinks of the candidates; fillers have a score too."""
        return scorer.score(self.query, self.ids)


class FullSlate(Slate):
    """All documents in their order: one matrix product scores them."""

    def scores(self, scorer: Scorer) -> Float[Tensor, "batch list"]:
        """Return what a scorer thinks of every document."""
        return scorer.score_all(self.query)


class Slates(Protocol):
    """Where slates come from."""

    def of(self, query: Queries, /) -> Slate:
        """Return the slate of these queries."""
        ...


@dataclass(frozen=True, eq=False)
class Everything:
    """All documents stand on every slate, what is hidden from rankings excepted."""

    positive: Relevance
    hidden: Relevance
    documents: int

    def of(self, query: Queries) -> Slate:
        """Return all documents."""
        ids = torch.arange(self.documents, device=query.device).expand(len(query), -1)
        mask = ~self.hidden.marked(query, self.documents)
        return FullSlate(query, ids, mask, self.positive.marked(query, self.documents) & mask)


@dataclass(frozen=True, eq=False)
class Pools:
    """A list of its own for each query, of what was judged or retrieved; relevant is what has a grade above 0."""

    pool: Relevance

    def of(self, query: Queries) -> Slate:
        """Return the lists, as wide as the longest of them."""
        places, mask = self.pool.places(query)
        return Slate(query, self.pool.ids[places].masked_fill(~mask, 0), mask, (self.pool.grades[places] > 0) & mask)


def widest(collection: Collection) -> Slates:
    """Return all that can stand on a slate in training: every document, or those judged for the query."""
    if collection.pool == "judged":
        return Pools(collection.train)
    return Everything(collection.train.positive, collection.shown, collection.documents)


@torch.no_grad()
def retrieved(scorer: Scorer, collection: Collection, length: int, at_once: int = 256) -> Pools:
    """Let each query's positives stand, and the `length` other documents that the scorer ranks highest."""
    positive = collection.train.positive
    known, length = positive.union(collection.shown), min(length, collection.documents)
    query, ids = [positive.query], [positive.ids]
    for rows in torch.split(positive.answered, at_once):
        hidden = known.marked(rows, collection.documents)
        top = scorer.score_all(rows).masked_fill(hidden, -torch.inf).topk(length, dim=1)
        found = top.values > -torch.inf
        query.append(rows[:, None].expand_as(found)[found])
        ids.append(top.indices[found])
    rows = torch.cat(query)
    grades = torch.zeros(len(rows), device=rows.device)
    grades[: len(positive)] = positive.grades
    return Pools(Relevance.of(rows, torch.cat(ids), grades, collection.queries))
