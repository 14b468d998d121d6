"""Where a game starts: popularity, pairwise learning from drawn negatives, maximum likelihood of a softmax."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional as F

from rl.retrieval.candidates import Drawn
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors, ItemBias
from rl.retrieval.tables import ROWS, Tables, softmaxes


def popularity(positives: Relevance, documents: int) -> ItemBias:
    """Score a document by the number of queries that it is positive for."""
    model = ItemBias(documents)
    model.bias.detach().copy_(torch.bincount(positives.ids, minlength=documents))
    return model


@dataclass(frozen=True)
class OthersSampler:
    """Documents drawn uniformly, with replacement, from all but the positives of each query; one search, no rejection.

    The n-th of the others lies after as many positives p_0 < p_1 < ... as have p_k - k <= n.
    """

    positives: Relevance
    documents: int
    keys: Int[Tensor, "positives"]

    @classmethod
    def of(cls, positives: Relevance, documents: int) -> "OthersSampler":
        """Prepare the search; raises ValueError where a query has no others."""
        full = (positives.counts >= documents).nonzero()
        if len(full):
            raise ValueError(f"OthersSampler: all {documents} documents are positives of query {int(full[0])}")
        rank = torch.arange(len(positives), device=positives.ids.device) - positives.offsets[positives.query]
        return cls(positives, documents, positives.query * documents + (positives.ids - rank))

    def draw(self, query: Int[Tensor, "rows"], count: int) -> Drawn:
        """Draw `count` for each query."""
        others = self.documents - self.positives.counts[query].unsqueeze(1)
        uniforms = torch.rand(len(query), count, dtype=torch.float64, device=query.device)
        place = (uniforms * others).long()  # in float64 the product stays below the count
        before = torch.searchsorted(self.keys, query.unsqueeze(1) * self.documents + place, right=True)
        ids = place + before - self.positives.offsets[query].unsqueeze(1)
        return Drawn(ids, -others.log().expand(-1, count))


@torch.no_grad()
def pairwise_epoch(
    model: Factors,
    positives: Relevance,
    *,
    candidates: int = 10,
    rate: float = 0.05,
    decay: float = 0.07,
    chunk: int = 1024,
) -> float:
    """Rank each positive above the best-scored of some others; return the mean loss -log sigmoid(s_pos - s_neg).

    Dynamic negative sampling: Zhang et al. 2013 (SIGIR, 10.1145/2484028.2484126); with one candidate BPR: Rendle et
    al. 2009 (1205.2618), figure 4. In random order, `chunk` pairs at a time; a pair adds decay / 2 of the squares of
    the weights that it touches. The rate is one pair's.
    """
    tables, loss = Tables(model), 0.0
    sampler = OthersSampler.of(positives, len(tables.items))
    for part in torch.split(torch.randperm(len(positives), device=positives.ids.device), chunk):
        query, real = positives.query[part], positives.ids[part]
        others = sampler.draw(query, candidates).ids
        users, items = tables.users[query], tables.items[real]
        scores = torch.bmm(tables.items[others], users.unsqueeze(2)).squeeze(2)
        fake = others.gather(1, scores.argmax(1, keepdim=True)).squeeze(1)
        gap = items - tables.items[fake]
        margin = (users * gap).sum(1)
        loss -= float(F.logsigmoid(margin).sum())
        slope = -(-margin).sigmoid().unsqueeze(1)
        of_users = torch.zeros_like(tables.users).index_add_(0, query, slope * gap + decay * users)
        of_items = torch.zeros_like(tables.items)
        of_items.index_add_(0, real, slope * users + decay * items)
        of_items.index_add_(0, fake, decay * (items - gap) - slope * users)
        tables.descend(of_users, of_items, rate)
    tables.write()
    return loss / max(1, len(positives))


@torch.no_grad()
def likelihood_epoch(
    model: Factors, optimizer: torch.optim.Optimizer, positives: Relevance, *, decay: float = 0.0, rows: int = ROWS
) -> float:
    """Step once down -E log softmax over all documents, of a positive, exactly; return it in nats per positive.

    Each positive adds decay / 2 of the squares of the codes of its query and its document.
    """
    tables, loss = Tables(model), 0.0
    of_users, of_items = torch.zeros_like(tables.users), torch.zeros_like(tables.items)
    share = 1 / max(1, len(positives))
    answered = positives.counts.nonzero().squeeze(1)
    for query, p in softmaxes(tables, answered, rows=rows):
        counts = positives.counts[query]
        here = slice(int(positives.offsets[query[0]]), int(positives.offsets[query[-1] + 1]))
        flat = torch.repeat_interleave(counts) * p.shape[1] + positives.ids[here]
        loss -= float(p.view(-1).index_select(0, flat).clamp(min=torch.finfo(p.dtype).tiny).log().sum()) * share
        slope = p.mul_(counts.unsqueeze(1)).mul_(share)
        slope.view(-1)[flat] -= share
        of_users[query] = slope @ tables.items
        of_items.addmm_(slope.T, tables.users[query])
    of_users.addcmul_(tables.users, positives.counts.unsqueeze(1), value=decay * share)
    of_items.addcmul_(
        tables.items, torch.bincount(positives.ids, minlength=len(of_items)).unsqueeze(1), value=decay * share
    )
    tables.hand_over(of_users, of_items)
    optimizer.step()
    optimizer.zero_grad()
    return loss
