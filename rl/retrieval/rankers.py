"""A strong ranker that is fitted once, as the discriminator of a game."""

import torch
from torch import Tensor, nn

from rl.retrieval.scorers import AllScores, Ids, Queries, Scorer, Scores


class Sharpened(nn.Module):
    """sharpness * scores of a fitted ranker: what it takes for relevant stays, and how sure it is of that is learned.

    A regression on clicks, as EASE and iALS are, scores between 0 and 1: as a logit that says next to nothing.
    """

    log_sharpness: Tensor

    def __init__(self, fitted: Scorer, sharpness: float = 1.0) -> None:
        super().__init__()
        self.fitted = fitted
        self.log_sharpness = nn.Parameter(torch.tensor(sharpness).log())

    def score(self, query: Queries, ids: Ids) -> Scores:
        """Score each query's own candidates."""
        return self.log_sharpness.exp() * self.fitted.score(query, ids)

    def score_all(self, query: Queries) -> AllScores:
        """Score every document."""
        return self.log_sharpness.exp() * self.fitted.score_all(query)
