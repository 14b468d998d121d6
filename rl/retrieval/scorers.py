"""How well a document answers a query: the scores that generators draw by and discriminators judge by.

Queries and documents are numbers from 0 on. A score is a logit: high = relevant, in nats where a softmax is taken.
Every scorer is an `nn.Module`; a batch's scores are its rows' scores.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rl.discriminator import full_precision

Queries = Int[Tensor, "batch"]
Ids = Int[Tensor, "batch candidates"]
Scores = Float[Tensor, "batch candidates"]
AllScores = Float[Tensor, "batch documents"]


@runtime_checkable
class Scorer(Protocol):
    """Scores documents for queries, differentiably, in float32 or float64."""

    def score(self, query: Queries, ids: Ids, /) -> Scores:
        """Give the scores of each query's own candidates."""
        ...

    def score_all(self, query: Queries, /) -> AllScores:
        """Give the scores of every document, in the order of their numbers."""
        ...


@runtime_checkable
class DualEncoder(Scorer, Protocol):
    """A scorer whose score is the inner product of two codes, so that documents can be coded once and searched."""

    def encode_query(self, query: Int[Tensor, "*places"], /) -> Float[Tensor, "*places width"]:
        """Code queries."""
        ...

    def encode_document(self, ids: Int[Tensor, "*places"], /) -> Float[Tensor, "*places width"]:
        """Code documents."""
        ...


def shared_scores(
    encoder: DualEncoder, query: Queries, ids: Int[Tensor, "candidates"]
) -> Float[Tensor, "batch candidates"]:
    """Score the same candidates for every query: one matrix product, each candidate coded once."""
    return full_precision(encoder.encode_query(query) @ encoder.encode_document(ids).T)


class Factors(nn.Module):
    """Matrix factorisation with a bias for each document: users[q] . items[d] + bias[d].

    Embeddings begin uniform between -scale and scale, the bias at zero; `bias=False` holds it there. With `sparse` the
    gradients of `score` and of the codes hold the rows that were used and nothing else (SGD without momentum,
    SparseAdam): a step over a few of many documents then costs what these few cost.
    """

    def __init__(
        self, queries: int, documents: int, width: int, *, bias: bool = True, scale: float = 0.05, sparse: bool = False
    ) -> None:
        super().__init__()
        self.sparse = sparse
        self.users = nn.Parameter(torch.empty(queries, width).uniform_(-scale, scale))
        self.items = nn.Parameter(torch.empty(documents, width).uniform_(-scale, scale))
        self.bias = nn.Parameter(torch.zeros(documents), requires_grad=bias)

    def score(self, query: Queries, ids: Ids) -> Scores:
        """Score each query's own candidates."""
        users, items = self._rows(self.users, query), self._rows(self.items, ids)
        return full_precision(torch.einsum("bd,bkd->bk", users, items)) + self._biases(ids)

    def score_all(self, query: Queries) -> AllScores:
        """Score every document."""
        return full_precision(self.users[query] @ self.items.T) + self.bias

    def encode_query(self, query: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        """Give [user, 1]."""
        return F.pad(self._rows(self.users, query), (0, 1), value=1.0)

    def encode_document(self, ids: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        """Give [item, bias]."""
        return torch.cat([self._rows(self.items, ids), self._biases(ids).unsqueeze(-1)], -1)

    def _rows(self, table: Tensor, rows: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        return F.embedding(rows, table, sparse=self.sparse)

    def _biases(self, ids: Int[Tensor, "*places"]) -> Float[Tensor, "*places"]:
        return self.bias.gather(0, ids.reshape(-1), sparse_grad=self.sparse).view(ids.shape)


class ItemBias(nn.Module):
    """The same score for every query: a control that can learn what is popular and nothing else."""

    def __init__(self, documents: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(documents))

    def score(self, query: Queries, ids: Ids) -> Scores:
        """Score each query's own candidates."""
        return self.bias[ids]

    def score_all(self, query: Queries) -> AllScores:
        """Score every document, the same for each query."""
        return self.bias.expand(len(query), -1)

    def encode_query(self, query: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        """Give [1]."""
        return self.bias.new_ones(*query.shape, 1)

    def encode_document(self, ids: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        """Give [bias]."""
        return self.bias[ids].unsqueeze(-1)


class FeatureMLP(nn.Module):
    """A perceptron on a document's features, which already speak of its query, as in learning to rank.

    `features` [documents, features] is a buffer that checkpoints leave out: it is data. `layers` hidden layers of
    `hidden` units; 0 layers is a linear model. IRGAN's net: 46 features, one layer of 46, tanh.
    """

    features: Float[Tensor, "documents features"]

    def __init__(
        self,
        features: Float[Tensor, "documents features"],
        hidden: int = 46,
        layers: int = 1,
        activation: Callable[[], nn.Module] = nn.Tanh,
    ) -> None:
        super().__init__()
        self.register_buffer("features", features, persistent=False)
        sizes = (features.shape[1], *[hidden] * layers)
        within = [part for a, b in pairwise(sizes) for part in (_linear(a, b), activation())]
        self.net = nn.Sequential(*within, _linear(sizes[-1], 1))

    def score(self, query: Queries, ids: Ids) -> Scores:
        """Score each query's own candidates."""
        logits: Tensor = self.net(self.features[ids])
        return full_precision(logits).squeeze(-1)

    def score_all(self, query: Queries) -> AllScores:
        """Score every document, the same for each query."""
        logits: Tensor = self.net(self.features)
        return full_precision(logits).squeeze(-1).expand(len(query), -1)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
