"""A catalogue of our own making: users with tastes of low rank, items of unequal popularity."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rl.retrieval.collection import Collection
from rl.retrieval.relevance import Relevance


def synthetic(
    seed: int = 0,
    *,
    queries: int = 200,
    documents: int = 400,
    rank: int = 5,
    positives: int = 30,
    popularity: float = 1.5,
    taste: float = 3.0,
    test: float = 0.3,
    hold_out: float = 0.2,
) -> Collection:
    """Draw positives of each user without replacement, with odds exp(popularity * a_i + taste * <u, v_i> / sqrt(rank)).

    Everything is standard normal. Users have from half to one and a half times `positives` of them, on average that
    many; a share `test` of each user's is held out, and of the rest a share `hold_out` for validation.
    """
    random = torch.Generator().manual_seed(seed)
    users, items = torch.randn(queries, rank, generator=random), torch.randn(documents, rank, generator=random)
    appeal = popularity * torch.randn(documents, generator=random)
    scores = appeal + taste * (users @ items.T) / rank**0.5
    low, high = positives - positives // 2, positives + positives // 2
    counts = torch.randint(low, high + 1, (queries,), generator=random)
    query, ids = without_replacement(scores, counts, random).nonzero(as_tuple=True)
    train, tested = Relevance.of(query, ids, torch.ones(len(ids)), queries).hold_out(test, seed)
    kept, validated = train.hold_out(hold_out, seed + 1)
    return Collection(
        name="synthetic",
        kind="ratings",
        queries=queries,
        documents=documents,
        train=kept,
        valid=validated,
        test=tested,
        shown=Relevance.nothing(queries),
        pool="all",
        features=torch.zeros(documents, 0),
        query_names=tuple(map(str, range(queries))),
        document_names=tuple(map(str, range(documents))),
    )


def without_replacement(
    scores: Float[Tensor, "queries documents"], counts: Int[Tensor, "queries"], random: torch.Generator
) -> Bool[Tensor, "queries documents"]:
    """Mark as many documents of each row as `counts` says, one after the other by softmax(scores) over those left.

    They are the largest of scores plus Gumbel noise: Kool et al. 2019 (1903.06059), section 2.
    """
    uniform = torch.rand(scores.shape, generator=random, dtype=torch.float64).clamp(min=1e-300)
    noisy = scores - (-uniform.log()).log()
    return noisy.argsort(1, descending=True).argsort(1) < counts[:, None]
