"""Which documents were judged for which query: a sparse table of grades, sorted by query and document."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Queries = Int[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class Relevance:
    """Judged documents of queries 0..Q-1, in compressed rows; the ids of a query ascend, and none stands twice."""

    offsets: Int[Tensor, "queries_plus_1"]
    """the documents of query q are ids[offsets[q]:offsets[q + 1]]"""
    ids: Int[Tensor, "judged"]
    grades: Float[Tensor, "judged"]
    """0 not relevant; the higher, the more relevant"""

    @classmethod
    def of(
        cls, query: Int[Tensor, "judged"], ids: Int[Tensor, "judged"], grades: Float[Tensor, "judged"], queries: int
    ) -> "Relevance":
        """Sort triples; raises ValueError for a query or document out of range, or a pair that stands twice."""
        if not query.shape == ids.shape == grades.shape:
            raise ValueError(f"Relevance: {len(query)} queries, {len(ids)} ids, {len(grades)} grades: one of each")
        if len(ids) and not (int(query.min()) >= 0 and int(query.max()) < queries and int(ids.min()) >= 0):
            raise ValueError(f"Relevance: queries must lie in 0..{queries - 1}, ids from 0")
        keys = _keys(query, ids, _width(ids))
        order = keys.argsort()
        if bool((keys[order].diff() == 0).any()):
            raise ValueError("Relevance: a pair of query and document stands twice")
        return cls(_offsets(query, queries), ids[order].long(), grades[order].float())

    @classmethod
    def nothing(cls, queries: int) -> "Relevance":
        """No document judged."""
        none = torch.zeros(0, dtype=torch.long)
        return cls(torch.zeros(queries + 1, dtype=torch.long), none, none.float())

    def __len__(self) -> int:
        """Return how many pairs were judged."""
        return len(self.ids)

    @property
    def queries(self) -> int:
        """How many queries there are, judged or not."""
        return len(self.offsets) - 1

    @cached_property
    def counts(self) -> Int[Tensor, "queries"]:
        """How many documents each query has."""
        return self.offsets.diff()

    @cached_property
    def query(self) -> Int[Tensor, "judged"]:
        """The query of each judged pair."""
        return torch.repeat_interleave(self.counts)

    @cached_property
    def positive(self) -> "Relevance":
        """Only what has a grade above 0."""
        return self.only(self.grades > 0)

    @cached_property
    def answered(self) -> Int[Tensor, "answered"]:
        """The queries with a positive, ascending."""
        return self.positive.counts.nonzero().squeeze(1)

    def only(self, kept: Bool[Tensor, "judged"]) -> "Relevance":
        """Keep some pairs."""
        return Relevance(_offsets(self.query[kept], self.queries), self.ids[kept], self.grades[kept])

    def to(self, device: torch.device | str) -> "Relevance":
        """Stand on another device."""
        return Relevance(self.offsets.to(device), self.ids.to(device), self.grades.to(device))

    def places(self, query: Queries) -> tuple[Int[Tensor, "batch longest"], Bool[Tensor, "batch longest"]]:
        """Where in `ids` and `grades` the documents of each query stand, and where there is one; filler place 0."""
        counts = self.counts[query]
        column = torch.arange(int(counts.max()) if len(counts) else 0, device=query.device)
        mask = column < counts[:, None]
        return (self.offsets[query][:, None] + column).masked_fill(~mask, 0), mask

    def padded(self, query: Queries) -> tuple[Int[Tensor, "batch longest"], Bool[Tensor, "batch longest"]]:
        """Return the ids of each query, ascending, and where there is one; filler id 0. As wide as the longest."""
        places, mask = self.places(query)
        return self.ids[places].masked_fill(~mask, 0), mask

    def dense(self, query: Queries, documents: int) -> Float[Tensor, "batch documents"]:
        """Grades of all documents, 0 where none was given."""
        row, place = self._entries(query)
        grades = torch.zeros(len(query), documents, device=query.device)
        grades[row, self.ids[place]] = self.grades[place]
        return grades

    def marked(self, query: Queries, documents: int) -> Bool[Tensor, "batch documents"]:
        """Whether each of all documents was judged."""
        row, place = self._entries(query)
        marks = torch.zeros(len(query), documents, dtype=torch.bool, device=query.device)
        marks[row, self.ids[place]] = True
        return marks

    def _entries(self, query: Queries) -> tuple[Int[Tensor, "entries"], Int[Tensor, "entries"]]:
        """Row of the batch and place in `ids` of everything judged for these queries."""
        counts = self.counts[query]
        row = torch.repeat_interleave(counts)
        before = counts.cumsum(0) - counts
        return row, torch.arange(len(row), device=row.device) + (self.offsets[query] - before)[row]

    def holds(self, query: Int[Tensor, "*shape"], ids: Int[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """Whether each pair was judged."""
        return self._find(query, ids)[1]

    def of_pairs(self, query: Int[Tensor, "*shape"], ids: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the grade of each pair, 0 where none was given."""
        place, found = self._find(query, ids)
        return self.grades[place].masked_fill(~found, 0) if len(self) else torch.zeros_like(ids, dtype=torch.float32)

    def _find(
        self, query: Int[Tensor, "*shape"], ids: Int[Tensor, "*shape"]
    ) -> tuple[Int[Tensor, "*shape"], Bool[Tensor, "*shape"]]:
        """Place of each pair, and whether it is there at all."""
        if len(self) == 0:
            return torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
        wanted = _keys(query, ids, self._span)
        place = torch.searchsorted(self._sorted_keys, wanted).clamp(max=len(self) - 1)
        return place, (self._sorted_keys[place] == wanted) & (ids < self._span)

    def union(self, other: "Relevance") -> "Relevance":
        """Join two tables of the same queries; a pair in both keeps the grade it has here."""
        if other.queries != self.queries:
            raise ValueError(f"Relevance.union: {self.queries} queries and {other.queries}")
        new = ~self.holds(other.query, other.ids)
        query = torch.cat([self.query, other.query[new]])
        ids, grades = torch.cat([self.ids, other.ids[new]]), torch.cat([self.grades, other.grades[new]])
        return Relevance.of(query, ids, grades, self.queries)

    def hold_out(self, share: float, seed: int) -> tuple["Relevance", "Relevance"]:
        """Split each query's documents at random into (kept, held): held is the share, rounded, but one is kept."""
        random = torch.rand(len(self), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        by_chance = random.to(self.ids.device).argsort()
        order = by_chance[self.query[by_chance].argsort(stable=True)]
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device) - self.offsets[self.query]
        quota = torch.minimum((self.counts * share + 0.5).floor().long(), (self.counts - 1).clamp(min=0))
        held = place < quota[self.query]
        return self.only(~held), self.only(held)

    def hold_out_queries(self, share: float, seed: int) -> tuple["Relevance", "Relevance"]:
        """Split whole queries, of those that have documents, at random into (kept, held)."""
        judged = self.counts.nonzero().squeeze(1)
        order = torch.randperm(len(judged), generator=torch.Generator().manual_seed(seed)).to(judged.device)
        chosen = torch.zeros(self.queries, dtype=torch.bool, device=judged.device)
        chosen[judged[order[: round(share * len(judged))]]] = True
        return self.only(~chosen[self.query]), self.only(chosen[self.query])

    @cached_property
    def _span(self) -> int:
        return _width(self.ids)

    @cached_property
    def _sorted_keys(self) -> Int[Tensor, "judged"]:
        return _keys(self.query, self.ids, self._span)


def _width(ids: Int[Tensor, "judged"]) -> int:
    return int(ids.max()) + 1 if len(ids) else 1


def _keys(query: Int[Tensor, "*shape"], ids: Int[Tensor, "*shape"], width: int) -> Int[Tensor, "*shape"]:
    """Order pairs by query, then by document."""
    return query.long() * width + ids


def _offsets(query: Int[Tensor, "judged"], queries: int) -> Int[Tensor, "queries_plus_1"]:
    counts = torch.bincount(query, minlength=queries)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])
