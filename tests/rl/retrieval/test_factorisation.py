"""Least squares and singular vectors: each step the best there is, and what other implementations find."""

from itertools import pairwise

import pytest
import torch

from rl.retrieval.factorisation import als_epoch, pure_svd, solve_codes, transposed
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors

QUERIES, DOCUMENTS, WIDTH = 12, 9, 3
LIKED = torch.rand(QUERIES, DOCUMENTS, generator=torch.Generator().manual_seed(0)) < 0.4
LIKED[3], LIKED[:, 5] = False, False


def positives():
    query, ids = LIKED.nonzero().T
    return Relevance.of(query, ids, torch.ones(len(ids)), QUERIES)


def factors(seed=0):
    torch.manual_seed(seed)
    return Factors(QUERIES, DOCUMENTS, WIDTH, bias=False, scale=1.0).double()


def loss(users, items, confidence, decay):
    weights = 1 + confidence * LIKED
    errors = (weights * (users @ items.T - LIKED.double()).square()).sum()
    return errors + decay * (users.square().sum() + items.square().sum())


def test_transposed_twice_is_the_same():
    known = positives()
    turned = transposed(known, DOCUMENTS)
    assert turned.queries == DOCUMENTS
    assert torch.equal(turned.dense(torch.arange(DOCUMENTS), QUERIES).T > 0, LIKED)
    again = transposed(turned, QUERIES)
    assert torch.equal(again.ids, known.ids)
    assert torch.equal(again.offsets, known.offsets)


@pytest.mark.parametrize("rows", [1, 5, 100])
def test_the_slope_of_the_loss_is_zero_at_the_solved_codes(rows):
    model = factors()
    solved = solve_codes(model.items.detach(), positives(), confidence=7.0, decay=0.3, rows=rows).requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(solved, model.items.detach(), 7.0, 0.3), solved)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-9)
    assert solved[3].tolist() == [0] * WIDTH


def test_no_epoch_raises_the_loss_and_it_is_what_it_says():
    model, known = factors(), positives()
    found = [als_epoch(model, known, confidence=4.0, decay=0.1) for _ in range(15)]
    assert all(late <= early + 1e-12 for early, late in pairwise(found))
    whole = float(loss(model.users.detach(), model.items.detach(), 4.0, 0.1))
    assert found[-1] == pytest.approx(whole / (QUERIES * DOCUMENTS), abs=1e-12)
    assert model.bias.tolist() == [0] * DOCUMENTS


def test_the_library_implicit_finds_the_same():
    als = pytest.importorskip("implicit.cpu.als", reason="pip install implicit")
    sparse = pytest.importorskip("scipy.sparse")
    model, known = factors().float(), positives()
    other = als.AlternatingLeastSquares(
        factors=WIDTH, regularization=0.3, alpha=5.0, iterations=1, use_cg=False, dtype="float32", num_threads=1
    )
    other.user_factors, other.item_factors = (part.detach().numpy().copy() for part in (model.users, model.items))
    other.fit(sparse.csr_matrix(LIKED.float().numpy()), show_progress=False)
    als_epoch(model, known, confidence=4.0, decay=0.3)  # its confidence of a blank is 1, of a positive alpha
    answered = known.answered
    torch.testing.assert_close(model.users[answered].detach(), torch.from_numpy(other.user_factors)[answered])
    seen = LIKED.any(0)
    torch.testing.assert_close(model.items[seen].detach(), torch.from_numpy(other.item_factors)[seen])


def test_all_singular_values_give_the_matrix_and_few_the_nearest_of_that_rank():
    known, query = positives(), torch.arange(QUERIES)
    whole = pure_svd(known, DOCUMENTS, DOCUMENTS).score_all(query).detach()
    torch.testing.assert_close(whole, LIKED.float(), rtol=0, atol=1e-5)
    two = pure_svd(known, DOCUMENTS, 2).score_all(query).detach()
    assert torch.linalg.matrix_rank(two) == 2
    left = torch.linalg.svdvals(LIKED.double())[2:].square().sum()
    assert float((two - LIKED.float()).square().sum()) == pytest.approx(float(left), rel=1e-4)
