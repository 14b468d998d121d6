"""The step over a large catalogue against the exact expectation, and what it leaves alone."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from rl.objectives import AIRL, Objective, SeqGAN
from rl.retrieval.candidates import CandidateSampler, Drawn, UniformSampler
from rl.retrieval.catalogue import shared_climb
from rl.retrieval.gradients import covariance_policy_loss, exact_policy_loss
from rl.retrieval.neighbours import NeighbourSampler
from rl.retrieval.scorers import Factors

QUERIES, DOCUMENTS = 3, 50
QUERY = torch.tensor([2, 0])


def players(spread: float = 1.0, *, sparse: bool = False) -> tuple[Factors, Factors]:
    torch.manual_seed(0)
    pair = tuple(Factors(QUERIES, DOCUMENTS, 4, scale=spread, sparse=sparse).double() for _ in range(2))
    for factors in pair:
        torch.nn.init.normal_(factors.bias)
    return pair


def gradient(generator: Factors, loss: Tensor) -> Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, tuple(generator.parameters()))])


def truth(generator: Factors, discriminator: Factors, objective: Objective, temperature: float = 1.0) -> Tensor:
    scores = generator.score_all(QUERY) / temperature
    rewards = objective.reward(discriminator.score_all(QUERY))
    return gradient(generator, exact_policy_loss(scores, rewards, torch.ones_like(scores, dtype=torch.bool)))


@pytest.mark.parametrize("objective", [SeqGAN(), AIRL()])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_with_every_document_it_is_the_exact_expectation(objective: Objective, temperature: float) -> None:
    generator, discriminator = players()
    everything = UniformSampler(DOCUMENTS, distinct=True)
    loss = shared_climb(generator, discriminator, objective, everything, QUERY, DOCUMENTS, temperature)
    expected = truth(generator, discriminator, objective, temperature)
    torch.testing.assert_close(gradient(generator, loss), expected, rtol=0, atol=1e-10)


class Fixed:
    """Draws what the test says, from a proposal that is not uniform."""

    ids, log_probs = torch.tensor([[4, 9, 4, 17]]), torch.tensor([[0.1, 0.3, 0.1, 0.05]]).log()

    def draw(self, query: Tensor, count: int) -> Drawn:
        assert len(query) == 1
        assert count == 4
        return Drawn(self.ids, self.log_probs)


def test_by_hand_over_the_candidates_alone() -> None:
    generator, discriminator = players(sparse=True)
    fixed: CandidateSampler = Fixed()
    shared_climb(generator, discriminator, SeqGAN(), fixed, QUERY, 4).backward()
    assert all(weight.grad is None for weight in discriminator.parameters())
    expected = torch.zeros_like(generator.items)
    for query in QUERY.tolist():
        scores = [
            generator.users[query].dot(generator.items[d]).item() + generator.bias[d].item() for d in (4, 9, 4, 17)
        ]
        judged = [discriminator.users[query].dot(discriminator.items[d]) + discriminator.bias[d] for d in (4, 9, 4, 17)]
        odds = [math.exp(s) / q for s, q in zip(scores, (0.1, 0.3, 0.1, 0.05), strict=True)]
        weights, rewards = [o / sum(odds) for o in odds], [j.sigmoid().item() for j in judged]
        mean = sum(w * r for w, r in zip(weights, rewards, strict=True))
        for document, w, r in zip((4, 9, 4, 17), weights, rewards, strict=True):
            expected[document] -= w * (r - mean) * generator.users[query].detach() / len(QUERY)
    assert generator.items.grad is not None
    assert generator.items.grad.is_sparse
    assert set(generator.items.grad.coalesce().indices()[0].tolist()) == {4, 9, 17}
    torch.testing.assert_close(generator.items.grad.to_dense(), expected.detach(), rtol=0, atol=1e-6)


Loss = Callable[[Factors, Factors], Tensor]


def squared_errors(loss: Loss, generator: Factors, discriminator: Factors) -> Tensor:
    """Squared distances of 200 sampled gradients to the exact one."""
    expected = truth(generator, discriminator, SeqGAN())
    torch.manual_seed(1)
    sampled = [gradient(generator, loss(generator, discriminator)) for _ in range(200)]
    return torch.stack([(one - expected).square().sum() for one in sampled])


def exceeds(larger: Tensor, smaller: Tensor) -> bool:
    """Whether one mean exceeds the other by four standard errors: equal ones pass once in 30,000 seeds."""
    error = ((larger.var() + smaller.var()) / len(larger)).sqrt()
    return bool(larger.mean() - smaller.mean() > 4 * error)


def test_errors_fall_with_more_candidates() -> None:
    errors = []
    for count in (4, 16, 64, 256):

        def loss(generator: Factors, discriminator: Factors, count: int = count) -> Tensor:
            return shared_climb(generator, discriminator, SeqGAN(), UniformSampler(DOCUMENTS), QUERY, count)

        errors.append(squared_errors(loss, *players(2.0)))
    assert all(exceeds(fewer, more) for fewer, more in pairwise(errors))
    assert exceeds(errors[2], 2 * errors[3])


def test_neighbours_are_better_candidates_than_any_documents() -> None:
    generator, discriminator = players(4.0)
    near = NeighbourSampler(generator, 8, QUERIES, DOCUMENTS, share=0.3)
    means = []
    for proposal in (UniformSampler(DOCUMENTS), near):

        def loss(generator: Factors, discriminator: Factors, proposal: CandidateSampler = proposal) -> Tensor:
            ids, log_proposal = proposal.draw(QUERY, 16)
            rewards = SeqGAN().reward(discriminator.score(QUERY, ids).detach())
            return covariance_policy_loss(generator.score(QUERY, ids), rewards, log_proposal)

        means.append(squared_errors(loss, generator, discriminator))
    assert exceeds(means[0], 3 * means[1])
