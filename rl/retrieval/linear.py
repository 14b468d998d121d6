"""Linear models without a game: EASE, whose weights between documents are one inverse of a matrix."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rl.retrieval.relevance import Relevance


class ItemWeights(nn.Module):
    """Score a document by what the query's known positives say for it: the sum of their rows of weights."""

    weights: Float[Tensor, "documents documents"]
    offsets: Int[Tensor, "queries_plus_1"]
    ids: Int[Tensor, "positives"]

    def __init__(self, positives: Relevance, weights: Float[Tensor, "documents documents"]) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.register_buffer("offsets", positives.offsets)
        self.register_buffer("ids", positives.ids)

    def score_all(self, query: Int[Tensor, "batch"]) -> Float[Tensor, "batch documents"]:
        """Score every document."""
        positives = Relevance(self.offsets, self.ids, torch.ones(len(self.ids), device=self.ids.device))
        return positives.dense(query, len(self.weights)).to(self.weights) @ self.weights

    def score(
        self, query: Int[Tensor, "batch"], ids: Int[Tensor, "batch candidates"]
    ) -> Float[Tensor, "batch candidates"]:
        """Score each query's own candidates."""
        return self.score_all(query).gather(1, ids)


def ease(positives: Relevance, documents: int, ridge: float = 400.0) -> ItemWeights:
    """Regress each document on the others, with a ridge and a diagonal of zero; Steck 2019 (1905.03375), eq. 8.

    B_ij = -P_ij / P_jj with P = (X^T X + ridge I)^-1, for the binary X [queries documents]. Time documents^3, memory
    documents^2, in float64.
    """
    query = positives.answered
    rows = positives.dense(query, documents).double()
    inverse = torch.linalg.inv(rows.T @ rows + ridge * torch.eye(documents, dtype=rows.dtype, device=rows.device))
    weights = -inverse / inverse.diagonal()
    return ItemWeights(positives, weights.fill_diagonal_(0).float())
