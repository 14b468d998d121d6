"""Which documents a query's generator, or its negatives, are drawn from; every draw comes with its log-probability.

`draw` takes any queries, so a sampler that does not look at them is asked for one row, `draw(query[:1], count)`, where
all queries may share their candidates. Log-probabilities are in nats, and nothing here has a gradient.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.inverse_cdf import draw, uniforms
from rl.retrieval.alias import AliasTable
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Queries, Scorer


class Drawn(NamedTuple):
    """Documents drawn for each query, and the log-probability with which each one was."""

    ids: Int[Tensor, "batch draws"]
    log_probs: Float[Tensor, "batch draws"]


class Listed(NamedTuple):
    """A distribution over a list of different documents for each query; what is -inf is filler, whatever its id."""

    ids: Int[Tensor, "batch listed"]
    log_probs: Float[Tensor, "batch listed"]


@runtime_checkable
class CandidateSampler(Protocol):
    """Proposes documents for queries."""

    def draw(self, query: Queries, count: int, /) -> Drawn:
        """Draw that many documents for each query."""
        ...


@runtime_checkable
class ListSampler(CandidateSampler, Protocol):
    """A sampler that knows its whole distribution: `draw` is `draw_from(listed(query), count)`."""

    def listed(self, query: Queries, /) -> Listed:
        """Give every document that can be drawn, with its log-probability."""
        ...


def draw_from(listed: Listed, count: int) -> Drawn:
    """Draw with replacement, by inverse CDF. Raises ValueError for a row of NaN, or without a candidate."""
    ids, log_probs = listed
    bad = ~(log_probs.amax(1) > -torch.inf)
    if bool(bad.any()):
        raise ValueError(f"draw_from: row {int(bad.nonzero()[0])} has no candidate to draw, or a NaN")
    place = draw(log_probs.exp(), count)
    return Drawn(ids.gather(1, place), log_probs.gather(1, place))


@dataclass(frozen=True)
class SoftmaxSampler:
    """The generator itself: softmax(score / temperature) over all documents; IRGAN: Wang et al. 2017 (1705.10513)."""

    scorer: Scorer
    temperature: float = 1.0

    @torch.no_grad()
    def listed(self, query: Queries) -> Listed:
        """Give all documents."""
        log_probs = (self.scorer.score_all(query) / self.temperature).log_softmax(1)
        return Listed(torch.arange(log_probs.shape[1], device=query.device).expand_as(log_probs), log_probs)

    def draw(self, query: Queries, count: int) -> Drawn:
        """Draw from all documents."""
        return draw_from(self.listed(query), count)


@dataclass(frozen=True)
class PoolSampler:
    """softmax(score / temperature) over the documents that a query's pool holds: those judged, or those retrieved."""

    scorer: Scorer
    pool: Relevance
    temperature: float = 1.0

    @torch.no_grad()
    def listed(self, query: Queries) -> Listed:
        """Give the pool; a query with a shorter one is filled up."""
        ids, mask = self.pool.padded(query)
        scores = (self.scorer.score(query, ids) / self.temperature).masked_fill(~mask, -torch.inf)
        return Listed(ids, scores.log_softmax(1))

    def draw(self, query: Queries, count: int) -> Drawn:
        """Draw from the pool."""
        return draw_from(self.listed(query), count)


@dataclass(frozen=True)
class PositiveMixture:
    """(1 - share) p + share * uniform(positives of the query); IRGAN's released code, its sample lambda.

    It shows the generator what D was taught to like, so weigh by p over this. A query without positives on its list
    keeps p.
    """

    base: ListSampler
    positives: Relevance
    share: float = 0.2

    def listed(self, query: Queries) -> Listed:
        """Give the base's list, the positives raised."""
        ids, log_probs = self.base.listed(query)
        positive = self.positives.holds(query[:, None].expand_as(ids), ids) & (log_probs > -torch.inf)
        count = positive.sum(1, keepdim=True)
        share = torch.where(count > 0, self.share, 0.0).to(log_probs)
        mixed = torch.logaddexp(log_probs + (1 - share).log(), (share / count).log())
        return Listed(ids, torch.where(positive, mixed, log_probs + (1 - share).log()))

    def draw(self, query: Queries, count: int) -> Drawn:
        """Draw from the mixture."""
        return draw_from(self.listed(query), count)


@dataclass(frozen=True)
class UniformSampler:
    """Every document alike. `distinct` draws are without replacement within a query, in time documents log(count).

    The log-probability of a distinct draw is that of each draw by itself, -log(documents); as many draws as documents
    are every document once.
    """

    documents: int
    distinct: bool = False

    def draw(self, query: Queries, count: int) -> Drawn:
        """Draw; raises ValueError for more distinct documents than there are."""
        if self.distinct and count > self.documents:
            raise ValueError(f"UniformSampler: {count} distinct draws of {self.documents} documents")
        ids = self._distinct(query, count) if self.distinct else self._any(query, count)
        return Drawn(ids, torch.full(ids.shape, -math.log(self.documents), device=query.device))

    def _any(self, query: Queries, count: int) -> Int[Tensor, "batch draws"]:
        return torch.randint(self.documents, (len(query), count), device=query.device)

    def _distinct(self, query: Queries, count: int) -> Int[Tensor, "batch draws"]:
        return uniforms(len(query), self.documents, device=query.device).topk(count, 1).indices


class PopularitySampler:
    """Documents by counts^power, the same for every query, in constant time a draw; Mikolov et al. 2013 (1310.4546).

    A document that was never counted is never drawn, so importance weights from here leave it out: add to the counts
    what it should have.
    """

    def __init__(self, counts: Float[Tensor, "documents"], power: float = 0.75) -> None:
        weights = counts.double() ** power
        self.table = AliasTable.of(weights)
        self.log_probs = (weights / weights.sum()).log().float()

    def draw(self, query: Queries, count: int) -> Drawn:
        """Draw for all queries from the one table."""
        ids = self.table.draw(len(query), count)
        return Drawn(ids, self.log_probs[ids])
