"""EASE: the best weights there are, and none from a document to itself."""

import torch

from rl.retrieval.linear import ease
from rl.retrieval.relevance import Relevance

QUERIES, DOCUMENTS = 12, 7


def positives(seed=0):
    liked = torch.rand(QUERIES, DOCUMENTS, generator=torch.Generator().manual_seed(seed)) < 0.4
    liked[3] = False
    query, ids = liked.nonzero().T
    return Relevance.of(query, ids, torch.ones(len(ids)), QUERIES), liked.double()


def test_two_documents_by_hand():
    # X^T X + ridge = [[2, 1], [1, 2]], its inverse [[2, -1], [-1, 2]] / 3: weights 1/2
    known = Relevance.of(torch.tensor([0, 0]), torch.tensor([0, 1]), torch.ones(2), 1)
    model = ease(known, 2, ridge=1.0)
    torch.testing.assert_close(model.weights, torch.tensor([[0.0, 0.5], [0.5, 0.0]]))
    assert model.score_all(torch.tensor([0])).tolist() == [[0.5, 0.5]]


def test_each_column_is_the_ridge_regression_on_the_other_documents():
    known, liked = positives()
    weights = ease(known, DOCUMENTS, ridge=2.5).weights
    for document in range(DOCUMENTS):
        others = [other for other in range(DOCUMENTS) if other != document]
        x = liked[:, others]
        best = torch.linalg.solve(x.T @ x + 2.5 * torch.eye(len(others)).double(), x.T @ liked[:, document])
        torch.testing.assert_close(weights[others, document].double(), best, rtol=1e-5, atol=1e-6)
    assert weights.diagonal().abs().max() == 0


def test_scores_are_sums_over_known_positives_in_any_batch():
    known, liked = positives()
    model = ease(known, DOCUMENTS, ridge=2.5)
    query = torch.tensor([5, 3, 0, 5])
    scores = model.score_all(query)
    torch.testing.assert_close(scores, liked[query].float() @ model.weights)
    assert scores[1].tolist() == [0] * DOCUMENTS
    ids = torch.tensor([[0, 6], [1, 1], [2, 3], [6, 0]])
    torch.testing.assert_close(model.score(query, ids), scores.gather(1, ids))


def test_a_state_brings_back_the_scores():
    one, other = (ease(positives(seed)[0], DOCUMENTS) for seed in (0, 0))
    other.weights.zero_()
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.score_all(torch.arange(QUERIES)), other.score_all(torch.arange(QUERIES)))
