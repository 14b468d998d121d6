"""Where a game starts: steps equal to autograd's, negatives that are none of the positives, and learning."""

from copy import deepcopy

import pytest
import torch
from torch.nn import functional as F

from rl.retrieval import pretraining
from rl.retrieval.candidates import Drawn
from rl.retrieval.pretraining import OthersSampler, likelihood_epoch, pairwise_epoch, popularity
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors
from rl.runtime.errors import Diverged

QUERIES, DOCUMENTS = 6, 9
POSITIVES = {0: [0, 1, 2], 2: [8], 3: [0, 3, 4, 5, 8], 5: [7, 8]}


def positives(table=POSITIVES, queries=QUERIES):
    pairs = torch.tensor([(query, document) for query, documents in table.items() for document in documents])
    return Relevance.of(pairs[:, 0], pairs[:, 1], torch.ones(len(pairs)), queries)


def factors(seed, width=3):
    torch.manual_seed(seed)
    model = Factors(QUERIES, DOCUMENTS, width, scale=1.0).double()
    torch.nn.init.normal_(model.bias)
    return model


def two_tastes(seed=0, queries=60, documents=40):
    """Half of the queries like even documents, half odd ones: 8 positives shown and 4 held out for each."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.stack([torch.randperm(documents // 2, generator=random)[:12] for _ in range(queries)])
    ids = 2 * rows + torch.arange(queries)[:, None] % 2
    query = torch.arange(queries)[:, None]

    def table(part):
        return Relevance.of(query.expand_as(part).flatten(), part.flatten(), torch.ones(part.numel()), queries)

    return table(ids[:, :8]), table(ids[:, 8:])


def precision(model, shown, held):
    """Share of held-out documents among the four best that were not shown; .12 by chance, 1/3 with taste known."""
    query = torch.arange(shown.queries)
    scores = model.score_all(query).detach().masked_fill(shown.dense(query, 40) > 0, -torch.inf)
    return float(held.dense(query, 40).gather(1, scores.topk(4).indices).mean())


def assert_same_weights(one, other):
    for (name, a), b in zip(one.named_parameters(), other.named_parameters(), strict=True):
        torch.testing.assert_close(a, b[1], rtol=0, atol=1e-12, msg=name)


def test_popularity_counts():
    assert popularity(positives(), DOCUMENTS).bias.tolist() == [2, 1, 1, 1, 1, 1, 0, 1, 3]


def test_others_are_uniform_over_all_that_is_not_positive():
    """40,000 draws for each of 6 queries; chi-squared at error rate 1e-4 each."""
    torch.manual_seed(0)
    known = positives()
    ids, log_probs = OthersSampler.of(known, DOCUMENTS).draw(torch.arange(QUERIES), 40_000)
    for query in range(QUERIES):
        others = [document for document in range(DOCUMENTS) if document not in POSITIVES.get(query, [])]
        found = torch.bincount(ids[query], minlength=DOCUMENTS)
        assert found.sum() == found[others].sum()
        expected = 40_000 / len(others)
        assert float(((found[others] - expected) ** 2 / expected).sum()) < 31.9
        torch.testing.assert_close(log_probs[query].exp(), torch.full((40_000,), 1 / len(others)))


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_the_first_and_the_last_of_the_others(monkeypatch, uniform):
    monkeypatch.setattr(torch, "rand", lambda *shape, **rest: torch.full(shape, uniform, dtype=torch.float64))
    drawn = OthersSampler.of(positives(), DOCUMENTS).draw(torch.arange(QUERIES), 1).ids.flatten().tolist()
    assert drawn == ([3, 0, 0, 1, 0, 0] if uniform == 0 else [8, 8, 7, 7, 8, 6])


def test_a_query_without_others_is_named():
    with pytest.raises(ValueError, match="all 3 documents are positives of query 1"):
        OthersSampler.of(positives({0: [1], 1: [0, 1, 2]}, 2), 3)


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_the_pairwise_step_is_autograds_on_the_best_scored_candidate(monkeypatch, chunk):
    known, fast = positives(), factors(1)
    slow, losses, candidates = deepcopy(fast), [], torch.tensor([[6, 5, 6], [7, 6, 6], [3, 4, 6]])
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(torch, "randperm", lambda n, **rest: order)
    given = candidates[torch.arange(len(known)) % 3]
    parts = iter(given.split(chunk))
    monkeypatch.setattr(OthersSampler, "draw", lambda self, query, count: Drawn(next(parts), torch.zeros(0)))
    for part, offered in zip(order.split(chunk), given.split(chunk), strict=True):
        query, real = known.query[part], known.ids[part]
        scores = slow.score(query, offered)
        fake = offered[torch.arange(len(part)), scores.argmax(1)]
        margin = (slow.score(query, real[:, None]) - slow.score(query, fake[:, None]))[:, 0]
        losses.append(-F.logsigmoid(margin).sum())
        squares = slow.users[query].square().sum()
        for ids in (real, fake):
            squares = squares + slow.items[ids].square().sum() + slow.bias[ids].square().sum()
        gradients = torch.autograd.grad(losses[-1] + 0.3 / 2 * squares, list(slow.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(slow.parameters(), gradients, strict=True):
                weight -= 0.1 * gradient
    found = pairwise_epoch(fast, known, candidates=3, rate=0.1, decay=0.3, chunk=chunk)
    assert_same_weights(fast, slow)
    assert found == pytest.approx(float(sum(losses).detach()) / len(known), abs=1e-12)


@pytest.mark.parametrize("rows", [1, 2, 100])
@pytest.mark.parametrize("frozen", [[], ["bias"], ["users", "items"]])
def test_the_likelihoods_step_is_autograds(rows, frozen):
    known, fast = positives(), factors(1)
    for name in frozen:
        getattr(fast, name).requires_grad_(False)
    slow = deepcopy(fast)
    log_probs = slow.score_all(known.query).log_softmax(1).gather(1, known.ids[:, None])
    codes = slow.users[known.query].square().sum() + slow.items[known.ids].square().sum()
    squares = codes + slow.bias[known.ids].square().sum()
    (-log_probs.mean() + 0.3 / 2 * squares / len(known)).backward()
    torch.optim.SGD(slow.parameters(), lr=0.1).step()
    found = likelihood_epoch(fast, torch.optim.SGD(fast.parameters(), lr=0.1), known, decay=0.3, rows=rows)
    assert_same_weights(fast, slow)
    assert found == pytest.approx(-float(log_probs.detach().mean()), abs=1e-12)
    assert all(weight.grad is None for weight in fast.parameters())


def test_a_document_of_no_probability_costs_no_nan():
    model = factors(1)
    with torch.no_grad():
        model.bias[7] = -1e4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert 0 < likelihood_epoch(model, optimizer, positives()) < 1e3
    assert all(bool(weight.isfinite().all()) for weight in model.parameters())


def test_what_diverges_says_so_and_leaves_the_weights():
    known, model = positives(), factors(1)
    before = deepcopy(model)
    with pytest.raises(Diverged, match="factors: a weight of the users is not finite"):
        pairwise_epoch(model, known, rate=1e200, decay=1e200)
    with torch.no_grad():
        model.items[0], before.items[0] = 1e300, 1e300
    with pytest.raises(Diverged, match="factors: a gradient of the items is not finite"):
        likelihood_epoch(model, torch.optim.SGD(model.parameters(), lr=1.0), known, decay=1e300)
    assert_same_weights(model, before)


@pytest.mark.parametrize("candidates", [1, 5])
def test_pairs_teach_what_a_query_likes(candidates):
    torch.manual_seed(0)
    shown, held = two_tastes()
    model = Factors(60, 40, 3)
    for _ in range(60):
        pairwise_epoch(model, shown, candidates=candidates, rate=0.1, decay=0.01, chunk=64)
    assert precision(model, shown, held) > 0.29


def test_the_likelihood_teaches_what_a_query_likes():
    torch.manual_seed(0)
    shown, held = two_tastes()
    model = Factors(60, 40, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = [likelihood_epoch(model, optimizer, shown, decay=0.01) for _ in range(60)]
    assert losses[-1] < losses[0] - 0.5
    assert precision(model, shown, held) > 0.29


def test_module_has_no_state_of_its_own():
    assert not [name for name, value in vars(pretraining).items() if isinstance(value, torch.Tensor)]
