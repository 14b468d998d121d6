"""What a ranking metric does not show: whether embeddings live, a generator still explores, a reward is personal."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from rl.retrieval.candidates import ListSampler
from rl.retrieval.scorers import DualEncoder, Factors, Ids, Queries

ROWS = 256  # queries whose lists stand in memory at once


@torch.no_grad()
def factor_norms(factors: Factors) -> dict[str, float]:
    """Return the mean Euclidean norm of `users` and `items`, and the mean size of `bias`.

    Factors whose embeddings die beside a bias that lives have learned what is popular, and no query's taste.
    """
    return {
        "users": factors.users.norm(dim=1).mean().item(),
        "items": factors.items.norm(dim=1).mean().item(),
        "bias": factors.bias.abs().mean().item(),
    }


@torch.no_grad()
def code_norms(encoder: DualEncoder, queries: Queries, documents: Queries) -> dict[str, float]:
    """Return the mean Euclidean norms of the codes of some `queries` and `documents`."""
    return {
        "queries": encoder.encode_query(queries).norm(dim=-1).mean().item(),
        "documents": encoder.encode_document(documents).norm(dim=-1).mean().item(),
    }


@torch.no_grad()
def generator_entropy(generator: ListSampler, query: Queries) -> float:
    """Return the mean entropy of what the generator draws for these queries, in nats: 0 to log(documents)."""
    total = 0.0
    for part in torch.split(query, ROWS):
        log_probs = generator.listed(part).log_probs.double()
        total -= log_probs.exp().mul(log_probs.clamp(min=torch.finfo(log_probs.dtype).min)).sum().item()
    return total / len(query)


@torch.no_grad()
def share_of_item(
    reward: Callable[[Queries, Ids], Float[Tensor, "batch candidates"]],
    generator: ListSampler,
    query: Queries,
    documents: int,
) -> float:
    """Return how much of the rewards' variance within queries the document's number alone explains, from 0 to 1.

    Each pair counts as often as the generator draws it; a softmax at the temperature inf counts all alike. Rewards are
    first centred for each query, as a query's constant teaches nothing. 1: whoever asks, the same documents are paid.
    Rewards of pure noise give about 1 / queries, and so it is 1 where no document is listed for two queries. A reward
    without variance gives 0.
    """
    mass, paid = torch.zeros(documents).double(), torch.zeros(documents).double()
    variance = squares = 0.0
    for part in torch.split(query, ROWS):
        ids, log_probs = (listed.cpu() for listed in generator.listed(part))
        probs = log_probs.double().softmax(1)
        rewards = reward(part, ids.to(part.device)).cpu().double()
        centred = rewards - (probs * rewards).sum(1, keepdim=True)
        squares += (probs * rewards.square()).sum().item()
        variance += (probs * centred.square()).sum().item()
        mass.index_add_(0, ids.flatten(), probs.flatten())
        paid.index_add_(0, ids.flatten(), (probs * centred).flatten())
    if variance <= 1e-10 * squares:  # rounding alone
        return 0.0
    return (paid.square() / mass.clamp(min=torch.finfo(mass.dtype).tiny)).sum().item() / variance
