"""The policy step for catalogues over which no softmax can be taken: its time does not depend on their size."""

import torch
from jaxtyping import Float
from torch import Tensor

from rl.objectives import Objective
from rl.retrieval.candidates import CandidateSampler
from rl.retrieval.gradients import covariance_policy_loss
from rl.retrieval.scorers import DualEncoder, Queries, shared_scores

Scalar = Float[Tensor, ""]


def shared_climb(
    generator: DualEncoder,
    discriminator: DualEncoder,
    objective: Objective,
    proposal: CandidateSampler,
    query: Queries,
    count: int,
    temperature: float = 1.0,
) -> Scalar:
    """Climb softmax(score / temperature) by self-normalised importance sampling, on candidates that all queries share.

    `count` documents are drawn once from a proposal that does not look at queries. Its gradient is biased by
    O(1 / count). `Factors(sparse=True)` as the generator keeps the step from touching any other document.
    """
    candidates = proposal.draw(query[:1], count)
    ids = candidates.ids[0]
    with torch.no_grad():
        rewards = objective.reward(shared_scores(discriminator, query, ids))
    scores = shared_scores(generator, query, ids) / temperature
    return covariance_policy_loss(scores, rewards, candidates.log_probs)
