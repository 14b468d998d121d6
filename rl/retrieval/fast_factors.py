"""IRGAN's rounds for matrix factorisation, derivatives written out: many queries at once, and no graph.

Wang et al. 2017 (1705.10513), algorithm 1, item recommendation. What is climbed is `rl.estimators.reinforce` or `exact`
of horizon one, what discriminates is the logistic loss of `rl.objectives`; tests hold both to autograd's derivatives.

A rate is one query's (generator) or one sample's (discriminator): the steps of all queries, or of a chunk's samples,
start from the same weights and are added. All draws come from torch's own generator, and a state is tensors: the
weights, and the negatives where they outlive an epoch.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors
from rl.retrieval.tables import ROWS, Tables, softmaxes
from rl.runtime.errors import Diverged

CHUNK = 4096
"""pairs of a positive and a drawn document in one step of the discriminator"""

Judge = Callable[[Int[Tensor, "draws"], Int[Tensor, "draws"]], Float[Tensor, "draws"]]
"""What a document earns at a query."""
JudgeAll = Callable[[Int[Tensor, "rows"]], Float[Tensor, "rows documents"]]
"""What every document earns at each query."""


def draw(probabilities: Float[Tensor, "rows documents"], counts: Int[Tensor, "rows"]) -> Int[Tensor, "draws"]:
    """Draw counts[r] documents from each row's distribution, with replacement, row after row; none of probability 0.

    One search in one float64 cumulative sum of all rows; a row need not sum to one. Raises Diverged for a NaN.
    """
    documents = probabilities.shape[1]
    cumulative = probabilities.flatten().cumsum(0, dtype=torch.float64)
    ends = cumulative[documents - 1 :: documents]
    if not math.isfinite(float(ends[-1])):
        raise Diverged("factors: a probability to draw by is not finite")
    starts = F.pad(ends[:-1], (1, 0))
    row = torch.repeat_interleave(counts)
    uniforms = torch.rand(len(row), dtype=torch.float64, device=row.device)
    wanted = torch.addcmul(starts[row], uniforms, (ends - starts)[row])
    below = torch.nextafter(ends, starts)[row]  # the product may round up to the row's own end
    return torch.searchsorted(cumulative, torch.minimum(wanted, below), right=True).sub_(row * documents)


class Drawn(NamedTuple):
    """Documents drawn for rows of queries, and the importance weight p / q of each."""

    row: Int[Tensor, "draws"]
    ids: Int[Tensor, "draws"]
    weights: Float[Tensor, "draws"]


def draw_mixture(
    p: Float[Tensor, "rows documents"],
    positives: Relevance,
    query: Int[Tensor, "rows"],
    counts: Int[Tensor, "rows"],
    share: float,
) -> Drawn:
    """Draw from q = (1 - share) p + share uniform(the query's positives); 1705.10513, section 2.3 and released code.

    The queries ascend and each has a positive.
    """
    documents, known = p.shape[1], positives.counts[query]
    of_known = torch.binomial(counts.double(), counts.new_full(counts.shape, share, dtype=torch.float64)).long()
    known_row, row = torch.repeat_interleave(of_known), torch.repeat_interleave(counts - of_known)
    # in float64 the product stays below the count
    place = torch.rand(len(known_row), dtype=torch.float64, device=p.device) * known[known_row]
    chosen = positives.ids[positives.offsets[query][known_row] + place.long()]
    row, ids = torch.cat([row, known_row]), torch.cat([draw(p, counts - of_known), chosen])

    mass = torch.zeros_like(p)
    here = slice(int(positives.offsets[query[0]]), int(positives.offsets[query[-1] + 1]))
    mass.view(-1)[torch.repeat_interleave(known) * documents + positives.ids[here]] = share
    flat = row * documents + ids
    mine, theirs = p.view(-1).index_select(0, flat), mass.view(-1).index_select(0, flat) / known[row]
    return Drawn(row, ids, mine / ((1 - share) * mine + theirs))


@torch.no_grad()
def draw_negatives(generator: Factors, positives: Relevance, temperature: float = 0.2) -> Int[Tensor, "pairs"]:
    """Draw beside each positive a document from its query's softmax(scores / temperature); positives are not spared."""
    answered = positives.counts.nonzero().squeeze(1)
    parts = [draw(p, positives.counts[part]) for part, p in softmaxes(Tables(generator), answered, temperature)]
    return torch.cat([positives.ids[:0], *parts])


@torch.no_grad()
def discriminator_epoch(
    discriminator: Factors,
    positives: Relevance,
    drawn: Int[Tensor, "pairs"],
    *,
    rate: float = 1e-3,
    decay: float = 0.2,
    chunk: int = CHUNK,
) -> float:
    """Tell each positive from the document drawn beside it, query by query; return the mean logistic loss of a pair.

    A sample's loss is softplus(-+l) + decay / 2 (|u|^2 + |v|^2 + b^2). The released code has decay .2: its L2 term of
    .1 / 16 is added to each of a batch's 32 losses before they are summed.
    """
    tables, loss = Tables(discriminator), 0.0
    parts = (torch.split(x, chunk) for x in (positives.query, positives.ids, drawn))
    for query, real, fake in zip(*parts, strict=True):
        query, ids = query.repeat(2), torch.cat([real, fake])
        users, items = tables.users.index_select(0, query), tables.items.index_select(0, ids)
        signs = users.new_ones(len(ids))
        signs[: len(real)] = -1
        logits = (users * items).sum(1).mul_(signs)
        slope = (logits.sigmoid() * signs).unsqueeze(1)
        loss -= float(F.logsigmoid(-logits).sum())
        of_users = torch.zeros_like(tables.users).index_add_(0, query, torch.addcmul(decay * users, slope, items))
        of_items = torch.zeros_like(tables.items).index_add_(0, ids, torch.addcmul(decay * items, slope, users))
        tables.descend(of_users, of_items, rate)
    tables.write()
    return loss / max(1, len(drawn))


@torch.no_grad()
def generator_epoch(
    generator: Factors,
    judge: Judge,
    positives: Relevance,
    *,
    rate: float = 1e-2,
    share: float = 0.2,
    draws: int = 2,
    rows: int = ROWS,
) -> float:
    """Climb the mean reward of drawn documents by REINFORCE with importance weights; return it, the mean over queries.

    A query with n positives draws n * draws documents (`draw_mixture`) and climbs the mean of reward * p / q * log p.
    """
    tables, earned = Tables(generator), 0.0
    of_users, of_items = torch.zeros_like(tables.users), torch.zeros_like(tables.items)
    answered = positives.counts.nonzero().squeeze(1)
    for query, p in softmaxes(tables, answered, rows=rows):
        counts = positives.counts[query] * draws
        row, ids, weights = draw_mixture(p, positives, query, counts, share)
        rewards = weights.mul_(judge(query[row], ids)).div_(counts[row])
        earned += float(rewards.sum())
        # the slope of -sum rewards log p at the scores
        slope = p.mul_(p.new_zeros(len(query)).index_add_(0, row, rewards).unsqueeze(1))
        slope.view(-1).index_add_(0, row * p.shape[1] + ids, rewards, alpha=-1)
        of_users[query] = slope @ tables.items
        of_items.addmm_(slope.T, tables.users[query])
    tables.descend(of_users, of_items, rate)
    tables.write()
    return earned / max(1, len(answered))


@torch.no_grad()
def exact_epoch(
    generator: Factors, judge: JudgeAll, positives: Relevance, *, rate: float = 1e-2, rows: int = ROWS
) -> float:
    """Climb the expected reward of each query with a positive, over all documents; return its mean over queries."""
    tables, earned = Tables(generator), 0.0
    of_users, of_items = torch.zeros_like(tables.users), torch.zeros_like(tables.items)
    answered = positives.counts.nonzero().squeeze(1)
    for query, p in softmaxes(tables, answered, rows=rows):
        rewards = judge(query)
        mean = (p * rewards).sum(1, keepdim=True)
        earned += float(mean.sum())
        slope = p.mul_(mean - rewards)
        of_users[query] = slope @ tables.items
        of_items.addmm_(slope.T, tables.users[query])
    tables.descend(of_users, of_items, rate)
    tables.write()
    return earned / max(1, len(answered))
