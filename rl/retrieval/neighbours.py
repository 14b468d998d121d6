"""Candidates from each query's best documents, ranked ahead and refreshed by hand; ANCE: Xiong et al. 2007.00808.

What was ranked is state: a run that is resumed needs the lists of the last refresh, not those of today's scores.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.inverse_cdf import uniforms
from rl.retrieval.candidates import Drawn, Listed, draw_from
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import DualEncoder, Ids, Queries, Scorer

ROWS = 64  # queries whose scores of all documents stand in memory at once


@dataclass(frozen=True, eq=False)
class TopLists:
    """The best documents of every query, best first; where there were too few, score -inf and filler id 0."""

    ids: Int[Tensor, "queries k"]
    scores: Float[Tensor, "queries k"]


@torch.no_grad()
def top_lists(scorer: Scorer, k: int, excluding: Relevance) -> TopLists:
    """Rank all documents for all queries of `excluding`, leave out the documents it holds, keep the k best."""
    queries = torch.arange(excluding.queries, device=excluding.ids.device)
    kept = [_best(scorer, query, k, excluding) for query in torch.split(queries, ROWS)]
    return TopLists(torch.cat([lists.ids for lists in kept]), torch.cat([lists.scores for lists in kept]))


def _best(scorer: Scorer, query: Queries, k: int, excluding: Relevance) -> TopLists:
    scores = scorer.score_all(query)
    documents = scores.shape[1]
    ids, mask = excluding.padded(query)
    hidden = torch.zeros(len(query), documents + 1, dtype=torch.bool, device=scores.device)
    hidden.scatter_(1, ids.masked_fill(~mask, documents), True)
    best = scores.masked_fill(hidden[:, :-1], -torch.inf).topk(min(k, documents), 1)
    return TopLists(best.indices.masked_fill(best.values == -torch.inf, 0), best.values)


class TopSampler:
    """softmax(score / temperature) over a query's k best documents, by the scores of the last `refresh`.

    At the temperature inf all k are alike. Documents that `excluding` holds for a query are never among them; where
    fewer than k are left the list is shorter.
    """

    def __init__(self, scorer: Scorer, k: int, excluding: Relevance, temperature: float = math.inf) -> None:
        self.scorer, self.k, self.excluding, self.temperature = scorer, k, excluding, temperature
        self.refresh()

    def refresh(self) -> None:
        """Rank anew."""
        self.lists = top_lists(self.scorer, self.k, self.excluding)

    def listed(self, query: Queries) -> Listed:
        """Give the lists, best first."""
        scores = self.lists.scores[query]
        # -inf / inf would be NaN
        return Listed(
            self.lists.ids[query],
            (scores / self.temperature).masked_fill(scores == -torch.inf, -torch.inf).log_softmax(1),
        )

    def draw(self, query: Queries, count: int) -> Drawn:
        """Draw from the lists, with replacement."""
        return draw_from(self.listed(query), count)

    def state_dict(self) -> dict[str, Tensor]:
        """Give the lists."""
        return {"ids": self.lists.ids, "scores": self.lists.scores}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up the lists as they were."""
        device = self.lists.ids.device
        self.lists = TopLists(state["ids"].to(device), state["scores"].to(device))


class NeighbourSampler:
    """A share of uniform draws, otherwise softmax(score / temperature) over the k nearest of the last `refresh`.

    A proposal for a softmax over more documents than can be scored at every step (Sakhi et al. 2023, 2208.05327).
    However old the neighbours are, the uniform share reaches every document.
    """

    def __init__(
        self, encoder: DualEncoder, k: int, queries: int, documents: int, share: float = 0.5, temperature: float = 1.0
    ) -> None:
        self.documents, self.share = documents, share
        self.near = TopSampler(encoder, k, Relevance.nothing(queries), temperature)

    def refresh(self) -> None:
        """Search anew."""
        self.near.refresh()

    def draw(self, query: Queries, count: int) -> Drawn:
        """Draw near or anywhere, and say how likely each document was by the two ways together."""
        near = self.near.listed(query)
        anywhere = torch.randint(self.documents, (len(query), count), device=query.device)
        far = uniforms(len(query), count, device=query.device) < self.share
        ids = torch.where(far, anywhere, draw_from(near, count).ids)
        return Drawn(ids, self._log_probs(near, ids))

    def _log_probs(self, near: Listed, ids: Ids) -> Float[Tensor, "batch draws"]:
        numbers, order = near.ids.sort(1)
        place = torch.searchsorted(numbers, ids).clamp(max=numbers.shape[1] - 1)
        found = numbers.gather(1, place) == ids
        of_near = near.log_probs.gather(1, order.gather(1, place)).exp().masked_fill(~found, 0)
        return ((1 - self.share) * of_near + self.share / self.documents).log()

    def state_dict(self) -> dict[str, Tensor]:
        """Give the neighbours."""
        return self.near.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take up the neighbours as they were."""
        self.near.load_state_dict(state)
