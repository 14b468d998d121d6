"""How well a scorer ranks a collection: means over the queries that have something to find.

A scorer is used as it stands: put its network into eval mode before, where that matters.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rl.retrieval import metrics
from rl.retrieval.collection import Collection, Split
from rl.retrieval.lists import Lists, scored, stored
from rl.retrieval.metrics import Ties
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Scorer

CUTOFFS = (3, 5, 10)


class Rankings(NamedTuple):
    """The best documents of each query, in order; `mask` is False where a query has fewer."""

    query: Int[Tensor, "queries"]
    ids: Int[Tensor, "queries depth"]
    scores: Float[Tensor, "queries depth"]
    mask: Bool[Tensor, "queries depth"]


def evaluate(
    scorer: Scorer, collection: Collection, split: Split, *, ties: Ties = "higher_id", cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, float]:
    """Give the mean of every metric of `metrics.of_ranking`, and coverage@k of all the rankings; see `per_query`."""
    return _means(scored(scorer, collection, split), collection.documents, ties, cutoffs)


def per_query(
    scorer: Scorer, collection: Collection, split: Split, *, ties: Ties = "higher_id", cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, Float[Tensor, "answered"]]:
    """Measure each query that has a positive, in the order of `collection.judged(split).answered`.

    Raises ValueError where no query has a positive, and for a score that is NaN, naming query and document.
    """
    chunks = scored(scorer, collection, split)
    return _joined([metrics.of_scores(c.scores, c.grades, c.among, cutoffs, ties) for c in chunks])


def evaluate_run(
    run: Relevance,
    collection: Collection,
    split: Split,
    *,
    ties: Ties = "higher_id",
    cutoffs: Sequence[int] = CUTOFFS,
) -> dict[str, float]:
    """Measure stored scores (the grades of `run`); a positive that the run lacks was not found. As `evaluate`."""
    return _means(stored(run, collection, split), collection.documents, ties, cutoffs)


def rankings(scorer: Scorer, collection: Collection, split: Split, depth: int, *, ties: Ties = "higher_id") -> Rankings:
    """Give the first `depth` documents of each query that has a positive."""
    parts = [_best(chunk, depth, ties) for chunk in scored(scorer, collection, split)]
    width = max(part.ids.shape[1] for part in parts)
    padded = [Rankings(part.query, *(_widened(table, width) for table in part[1:])) for part in parts]
    return Rankings(*(torch.cat(tables) for tables in zip(*padded, strict=True)))


def _best(chunk: Lists, depth: int, ties: Ties) -> Rankings:
    ranking = metrics.rank(chunk.scores, chunk.grades, chunk.among, ties)
    first = ranking.columns[:, :depth]
    mask = torch.arange(first.shape[1], device=first.device) < ranking.candidates[:, None]
    return Rankings(chunk.query, chunk.ids.gather(1, first), chunk.scores.gather(1, first), mask)


def _widened(table: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(table, (0, width - table.shape[1]))


def _means(chunks: Iterator[Lists], documents: int, ties: Ties, cutoffs: Sequence[int]) -> dict[str, float]:
    measured: list[dict[str, Tensor]] = []
    shown: dict[int, Tensor] = {}
    for chunk in chunks:
        ranking = metrics.rank(chunk.scores, chunk.grades, chunk.among, ties)
        measured.append(metrics.of_ranking(ranking, chunk.grades, cutoffs))
        for k in cutoffs:
            ids = chunk.ids.gather(1, ranking.columns[:, :k])
            seen = shown.setdefault(k, torch.zeros(documents, dtype=torch.bool, device=ids.device))
            seen |= metrics.covered(ids, ranking.candidates, documents)
    means = {name: values.double().mean().item() for name, values in _joined(measured).items()}
    return means | {f"coverage@{k}": seen.double().mean().item() for k, seen in shown.items()}


def _joined(parts: list[dict[str, Float[Tensor, "queries"]]]) -> dict[str, Float[Tensor, "all_queries"]]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
