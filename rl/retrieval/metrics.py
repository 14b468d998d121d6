"""How good rankings are: precision, recall, NDCG, hit rate, average precision, reciprocal rank; coverage of a set.

Definitions are those of trec_eval: precision at k divides by k however few the documents are, recall, average precision
and the ideal ranking count every positive judged, ranked or not, and a query without a hit has reciprocal rank 0.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Ties = Literal["higher_id", "lower_id", "last"]
"""Who comes first among equal scores: the higher column, the lower one, or the less relevant (the worst case)."""
Table = Float[Tensor, "queries documents"]

ID_BITS = 24  # of a sorting key: the column; above it 7 bits for the grade under "last", above those 32 of the score
_COLUMNS = (1 << ID_BITS) - 1
_HIGHEST_GRADE = 127


class Ranking(NamedTuple):
    """Documents of each query from the best to the worst."""

    columns: Int[Tensor, "queries documents"]
    """what is no candidate stands at the end"""
    candidates: Int[Tensor, "queries"]
    """how many of the columns, from the left, are candidates"""


def nan_places(scores: Table, among: Bool[Tensor, "queries documents"]) -> Int[Tensor, "found 2"]:
    """Return row and column of every candidate whose score is no number."""
    return (scores.isnan() & among).nonzero()


def rank(scores: Table, grades: Table, among: Bool[Tensor, "queries documents"], ties: Ties = "higher_id") -> Ranking:
    """Sort candidates by their scores as float32; raises ValueError for a NaN, naming its query and document."""
    if len(found := nan_places(scores, among)):
        row, column = found[0].tolist()
        raise ValueError(f"the score of query {row}, document {column} is NaN")
    documents = scores.shape[1]
    if documents > _COLUMNS:
        raise ValueError(f"{documents} documents: at most {_COLUMNS} can be ranked")
    # one whole number a document, so that a plain sort of values ranks them all: float32 bits, then the tie rule
    bits = (scores.float() + 0.0).view(torch.int32)  # adding 0 makes -0 equal to 0
    ordered = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).masked_fill(~among, torch.iinfo(torch.int32).min)
    keys = (ordered.long() << 32) | _tie_breaks(grades, ties)
    columns = _descending(keys) & _COLUMNS
    return Ranking(documents - 1 - columns if ties == "lower_id" else columns, among.sum(1))


def _tie_breaks(grades: Table, ties: Ties) -> Int[Tensor, "queries documents"] | Int[Tensor, "documents"]:
    column = torch.arange(grades.shape[1], device=grades.device)
    match ties:
        case "higher_id":
            return column
        case "lower_id":
            return column.flip(0)
        case "last":
            return ((_HIGHEST_GRADE - grades.ceil().clamp(0, _HIGHEST_GRADE).long()) << ID_BITS) | column


def _descending(keys: Int[Tensor, "queries documents"]) -> Int[Tensor, "queries documents"]:
    if keys.device.type == "cpu":  # numpy sorts whole numbers by vector instructions, several times as fast as torch
        keys.numpy().sort(1)
        return keys.flip(1)
    return keys.sort(1, descending=True).values


def of_scores(
    scores: Table,
    grades: Table,
    among: Bool[Tensor, "queries documents"],
    cutoffs: Sequence[int] = (3, 5, 10),
    ties: Ties = "higher_id",
) -> dict[str, Float[Tensor, "queries"]]:
    """Rank the candidates `among` and measure; the keys are those of `of_ranking`. Raises ValueError for a NaN."""
    return of_ranking(rank(scores, grades, among, ties), grades, cutoffs)


def of_ranking(
    ranking: Ranking, grades: Table, cutoffs: Sequence[int] = (3, 5, 10)
) -> dict[str, Float[Tensor, "queries"]]:
    """Measure each query: p@k recall@k ndcg@k ndcg_graded@k hit@k, map, mrr; all 0 without a positive (grade above 0).

    NDCG: Järvelin & Kekäläinen 2002 with discount 1 / log2(rank + 1); the gain is 1 for a positive (ndcg), or
    2^grade - 1 (ndcg_graded; Burges et al. 2005).
    """
    columns = torch.arange(grades.shape[1], device=grades.device)
    gains = grades.gather(1, ranking.columns).masked_fill(columns >= ranking.candidates[:, None], 0).clamp(min=0)
    found, positives = gains > 0, (grades > 0).sum(1)
    least_one = positives.clamp(min=1)
    best = grades.clamp(min=0).topk(min(max(cutoffs), grades.shape[1]), 1).values
    measured = {}
    for k in cutoffs:
        hits = found[:, :k].sum(1)
        measured[f"p@{k}"] = hits / k
        measured[f"recall@{k}"] = hits / least_one
        measured[f"ndcg@{k}"] = _ndcg(found[:, :k].float(), (best[:, :k] > 0).float())
        measured[f"ndcg_graded@{k}"] = _ndcg(gains[:, :k].exp2() - 1, best[:, :k].exp2() - 1)
        measured[f"hit@{k}"] = (hits > 0).float()
    return measured | _by_ranks(found, least_one)


def _ndcg(gains: Float[Tensor, "queries k"], ideal: Float[Tensor, "queries k"]) -> Float[Tensor, "queries"]:
    discounts = 1 / torch.arange(2, gains.shape[1] + 2, device=gains.device).log2()
    best = ideal @ discounts
    return torch.where(best > 0, gains @ discounts / best, 0)


def _by_ranks(
    found: Bool[Tensor, "queries documents"], positives: Int[Tensor, "queries"]
) -> dict[str, Float[Tensor, "queries"]]:
    """Average precision: mean over the positives of the precision at their ranks. Reciprocal rank of the first."""
    row, column = found.nonzero(as_tuple=True)
    hits = found.sum(1)
    hit = torch.arange(len(row), device=row.device) - (hits.cumsum(0) - hits)[row] + 1
    ranks = column + 1
    summed = torch.zeros(len(found), device=found.device).index_add(0, row, hit / ranks)
    first = torch.zeros(len(found), device=found.device)
    first[row[hit == 1]] = 1 / ranks[hit == 1]
    return {"map": summed / positives, "mrr": first}


def covered(
    ids: Int[Tensor, "queries k"], candidates: Int[Tensor, "queries"], documents: int
) -> Bool[Tensor, "documents"]:
    """Which documents stand in any row, of which only the first `candidates` count; the mean is the coverage at k."""
    shown = torch.zeros(documents, dtype=torch.bool, device=ids.device)
    shown[ids[torch.arange(ids.shape[1], device=ids.device) < candidates[:, None]]] = True
    return shown
