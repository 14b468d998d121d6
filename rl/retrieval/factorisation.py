"""Matrix factorisation without a game or a gradient: alternating least squares, and the singular vectors."""

import torch
from jaxtyping import Float
from torch import Tensor

from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors
from rl.retrieval.tables import ROWS


def transposed(positives: Relevance, documents: int) -> Relevance:
    """Turn queries' documents into documents' queries."""
    return Relevance.of(positives.ids, positives.query, positives.grades, documents)


def solve_codes(
    fixed: Float[Tensor, "columns width"], known: Relevance, *, confidence: float, decay: float, rows: int = ROWS
) -> Float[Tensor, "rows width"]:
    """Return the best codes of all rows for fixed codes of the columns; Hu, Koren & Volinsky 2008, eq. 4 and 5.

    Row x minimises sum over known columns (1 + confidence) (x . y - 1)^2 + sum over all others (x . y)^2 + decay |x|^2.
    """
    gram = fixed.T @ fixed + decay * torch.eye(fixed.shape[1], dtype=fixed.dtype, device=fixed.device)
    solved = fixed.new_zeros(known.queries, fixed.shape[1])
    for part in torch.split(known.counts.nonzero().squeeze(1), rows):
        ids, mask = known.padded(part)
        codes = fixed[ids] * mask.unsqueeze(2)
        left = torch.baddbmm(gram, codes.mT, codes, alpha=confidence)
        right = (1 + confidence) * codes.sum(1, keepdim=True).mT
        solved[part] = torch.cholesky_solve(right, torch.linalg.cholesky(left)).squeeze(2)
    return solved


@torch.no_grad()
def als_epoch(model: Factors, positives: Relevance, *, confidence: float = 2.0, decay: float = 20.0) -> float:
    """Solve for all users, then for all items; return the loss, for each pair of a query and a document.

    Implicit alternating least squares: Hu, Koren & Volinsky 2008 (10.1109/ICDM.2008.22), binary preferences. What has
    no positive is put at zero. The bias stays as it is, and should be 0.
    """
    documents = len(model.items)
    model.users.copy_(solve_codes(model.items, positives, confidence=confidence, decay=decay))
    model.items.copy_(solve_codes(model.users, transposed(positives, documents), confidence=confidence, decay=decay))
    known = (model.users[positives.query] * model.items[positives.ids]).sum(1)
    every = ((model.users.T @ model.users) * (model.items.T @ model.items)).sum()  # sum of squares of all scores
    weighed = (1 + confidence) * (known - 1).square().sum() + every - known.square().sum()
    squares = model.users.square().sum() + model.items.square().sum()
    return float(weighed + decay * squares) / max(1, model.users.shape[0] * documents)


@torch.no_grad()
def pure_svd(positives: Relevance, documents: int, width: int) -> Factors:
    """Keep the `width` largest singular values of the binary matrix; PureSVD: Cremonesi et al. 2010, section 3.2."""
    query = torch.arange(positives.queries, device=positives.ids.device)
    rows = positives.dense(query, documents)
    _, _, right = torch.linalg.svd(rows, full_matrices=False)
    model = Factors(positives.queries, documents, width, bias=False).to(rows.device)
    model.items.copy_(right[:width].T)
    model.users.copy_(rows @ right[:width].T)
    return model
