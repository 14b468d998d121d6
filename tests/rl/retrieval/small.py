"""Collections of a few documents, and a scorer that is a table."""

import torch
from torch import Tensor, nn

from rl.retrieval.collection import Collection
from rl.retrieval.relevance import Relevance


class Table(nn.Module):
    """Scores that stand in a table [queries, documents]."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores.clone())

    def score(self, query: Tensor, ids: Tensor) -> Tensor:
        return self.scores[query[:, None], ids]

    def score_all(self, query: Tensor) -> Tensor:
        return self.scores[query]


def relevance(rows: dict[int, dict[int, float]], queries: int) -> Relevance:
    """Return a table of {query: {document: grade}}."""
    triples = [(query, document, grade) for query, graded in rows.items() for document, grade in graded.items()]
    columns = torch.tensor(triples, dtype=torch.double).reshape(-1, 3).T
    return Relevance.of(columns[0].long(), columns[1].long(), columns[2].float(), queries)


def collection(
    train: dict[int, dict[int, float]], queries: int, documents: int, pool: str = "all", kind: str = "ratings"
) -> Collection:
    """Return a collection that is only learned from."""
    nothing = Relevance.nothing(queries)
    features = torch.zeros(documents, 0)
    return Collection(
        "small",
        kind,
        queries,
        documents,
        relevance(train, queries),
        nothing,
        nothing,
        nothing,
        pool,
        features,  # type: ignore[arg-type]
    )
