"""The policy gradient at horizon one against the truth: every draw of every size is enumerated, no sampling.

The policy is a softmax over `DOCUMENTS` logits, and gradients are with respect to these logits: any scorer's follow by
the chain rule.
"""

import itertools
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from rl.estimators import batch_baseline, leave_one_out, no_baseline
from rl.retrieval.candidates import PositiveMixture, SoftmaxSampler
from rl.retrieval.gradients import (
    Weigh,
    among_draws,
    clipped_weights,
    constant_baseline,
    covariance_policy_loss,
    equal_weights,
    exact_policy_loss,
    plain_weights,
    sampled_policy_loss,
    self_normalised_weights,
)
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors

DOCUMENTS = 4
EXACT = 1e-10
LOGITS = torch.tensor([0.3, -1.1, 0.9, -0.2], dtype=torch.float64)
REWARDS = torch.tensor([1.0, -0.5, 0.2, 0.7], dtype=torch.float64)
POLICY = LOGITS.softmax(0)
PROPOSALS = {
    "uniform": torch.full((DOCUMENTS,), 0.25, dtype=torch.float64),
    "popularity": torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64),
    "mixture": 0.8 * POLICY + 0.2 * torch.tensor([0.5, 0, 0, 0.5], dtype=torch.float64),
    "policy": POLICY,
}
TRUTH = torch.stack(
    [sum(POLICY[d] * REWARDS[d] * (int(d == j) - POLICY[j]) for d in range(DOCUMENTS)) for j in range(DOCUMENTS)]
)
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # of logits [rows documents], ids and log-proposals [rows draws]


def expected_gradient(loss: Loss, proposal: Tensor, draws: int, *, distinct: bool = False) -> Tensor:
    """Ascent direction expected over all draws: each is a row with logits of its own, weighed by its probability."""
    if distinct:  # all ordered choices alike
        ids = torch.tensor(list(itertools.permutations(range(DOCUMENTS), draws)))
        probability = torch.full((len(ids),), 1 / len(ids), dtype=torch.float64)
    elif draws <= 6:
        ids = torch.tensor(list(itertools.product(range(DOCUMENTS), repeat=draws)))
        probability = proposal[ids].prod(1)
    else:  # in whatever order they come: the multinomial distribution
        ids = torch.tensor(list(itertools.combinations_with_replacement(range(DOCUMENTS), draws)))
        counts = (ids[:, :, None] == torch.arange(DOCUMENTS)).sum(1).double()
        orders = math.lgamma(draws + 1) - (counts + 1).lgamma().sum(1)
        probability = (orders + (counts * proposal.log()).sum(1)).exp()
    assert probability.sum().item() == pytest.approx(1)
    logits = LOGITS.repeat(len(ids), 1).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, ids, proposal.log()[ids]), logits)
    return -(gradient * len(ids) * probability[:, None]).sum(0)  # the loss is a mean over rows


def sampled(weigh: Weigh, baseline: Callable[[Tensor], Tensor]) -> Loss:
    def loss(logits: Tensor, ids: Tensor, log_proposal: Tensor) -> Tensor:
        log_probs = logits.log_softmax(1).gather(1, ids)
        return sampled_policy_loss(log_probs, baseline(REWARDS[ids]), weigh(log_probs, log_proposal))

    return loss


def covariance(logits: Tensor, ids: Tensor, log_proposal: Tensor) -> Tensor:
    return covariance_policy_loss(logits.gather(1, ids), REWARDS[ids], log_proposal)


def close(ours: Tensor, truth: Tensor) -> None:
    torch.testing.assert_close(ours, truth, rtol=0, atol=EXACT)


NONE = partial(among_draws, no_baseline)
UNBIASED = {
    "none": NONE,
    "constant": partial(constant_baseline, constant=0.3),
    "leave one out": partial(among_draws, leave_one_out),
}


@pytest.mark.parametrize("draws", [2, 4])
@pytest.mark.parametrize("baseline", UNBIASED.values(), ids=UNBIASED)
@pytest.mark.parametrize("proposal", PROPOSALS.values(), ids=PROPOSALS)
def test_plain_weights_are_unbiased(proposal: Tensor, baseline: Callable[[Tensor], Tensor], draws: int) -> None:
    close(expected_gradient(sampled(plain_weights, baseline), proposal, draws), TRUTH)


@pytest.mark.parametrize("baseline", UNBIASED.values(), ids=UNBIASED)
def test_equal_weights_are_unbiased_for_the_policys_own_draws(baseline: Callable[[Tensor], Tensor]) -> None:
    close(expected_gradient(sampled(equal_weights, baseline), POLICY, 3), TRUTH)
    wrong = expected_gradient(sampled(equal_weights, baseline), PROPOSALS["popularity"], 3)
    assert (wrong - TRUTH).abs().max() > 0.01


@pytest.mark.parametrize("draws", [2, 3, 5])
def test_the_mean_of_a_querys_draws_shrinks_the_gradient_by_a_known_factor(draws: int) -> None:
    ours = expected_gradient(sampled(equal_weights, partial(among_draws, batch_baseline)), POLICY, draws)
    close(ours, (1 - 1 / draws) * TRUTH)


def test_baselines_look_at_one_query_only() -> None:
    rewards = torch.tensor([[1.0, 2.0, 6.0], [10.0, 10.0, 40.0]])
    assert among_draws(batch_baseline, rewards).tolist() == [[-2, -1, 3], [-10, -10, 20]]
    assert among_draws(leave_one_out, rewards).tolist() == [[-3, -1.5, 4.5], [-15, -15, 30]]
    assert constant_baseline(rewards[:1], 0.5).tolist() == [[0.5, 1.5, 5.5]]


def test_irgans_reward_is_seqgans_less_a_half_twice() -> None:
    logits = torch.linspace(-3, 3, 7, dtype=torch.float64)[None]
    torch.testing.assert_close(2 * constant_baseline(logits.sigmoid(), 0.5), (logits / 2).tanh())


def bias(loss: Loss, proposal: Tensor, draws: int, *, distinct: bool = False) -> float:
    return (expected_gradient(loss, proposal, draws, distinct=distinct) - TRUTH).norm().item()


@pytest.mark.parametrize("proposal", [PROPOSALS["uniform"], PROPOSALS["popularity"], PROPOSALS["mixture"]])
@pytest.mark.parametrize("loss", [covariance, sampled(self_normalised_weights, NONE)])
def test_self_normalised_bias_falls_as_one_over_the_draws(loss: Loss, proposal: Tensor) -> None:
    biases = [bias(loss, proposal, draws) for draws in (1, 2, 4, 8, 16, 32)]
    assert all(later < earlier for earlier, later in itertools.pairwise(biases)), biases
    assert biases[-1] == pytest.approx(biases[-2] / 2, rel=0.1), "twice the draws, half the bias"
    assert biases[-1] > 1e-4, "else there is nothing to show"


@pytest.mark.parametrize("loss", [covariance, sampled(self_normalised_weights, NONE)])
def test_self_normalised_bias_vanishes_with_every_document_drawn_once(loss: Loss) -> None:
    uniform = PROPOSALS["uniform"]
    biases = [bias(loss, uniform, draws, distinct=True) for draws in range(1, DOCUMENTS + 1)]
    assert all(later < earlier for earlier, later in itertools.pairwise(biases)), biases
    assert biases[-2] > 1e-3
    assert biases[-1] < EXACT


def test_one_draw_teaches_nothing_where_it_is_its_own_expectation() -> None:
    close(expected_gradient(covariance, PROPOSALS["popularity"], 1), torch.zeros(DOCUMENTS, dtype=torch.float64))


def test_constants_of_policy_and_proposal_cancel() -> None:
    ids = torch.tensor([[0, 2, 2], [3, 1, 0]])
    log_proposal = PROPOSALS["popularity"].log()[ids]
    scores = LOGITS[ids]
    shift = torch.tensor([[5.0], [-2.0]], dtype=torch.float64)

    def gradient(scores: Tensor, log_proposal: Tensor, rewards: Tensor) -> Tensor:
        leaf = scores.clone().requires_grad_()
        covariance_policy_loss(leaf, rewards, log_proposal).backward()
        assert leaf.grad is not None
        return leaf.grad

    plain = gradient(scores, log_proposal, REWARDS[ids])
    close(gradient(scores + shift, log_proposal, REWARDS[ids]), plain)
    close(gradient(scores, log_proposal + shift, REWARDS[ids]), plain)
    close(gradient(scores, log_proposal, REWARDS[ids] + shift), plain)
    close(plain.sum(1), torch.zeros(2, dtype=torch.float64))


def test_clipping_by_hand_and_at_its_ends() -> None:
    log_target, log_proposal = torch.tensor([[0.5, 0.1]]).log(), torch.tensor([[0.05, 0.2]]).log()
    torch.testing.assert_close(plain_weights(log_target, log_proposal), torch.tensor([[5.0, 0.25]]))
    torch.testing.assert_close(clipped_weights(log_target, log_proposal, 4.0), torch.tensor([[2.0, 0.25]]))
    torch.testing.assert_close(self_normalised_weights(log_target, log_proposal), torch.tensor([[20 / 21, 1 / 21]]))
    assert equal_weights(log_target, log_proposal).tolist() == [[0.5, 0.5]]
    proposal = PROPOSALS["popularity"]
    biases = [bias(sampled(partial(clipped_weights, limit=c), NONE), proposal, 2) for c in (0.2, 0.7, 2.0, torch.inf)]
    assert all(later < earlier for earlier, later in itertools.pairwise(biases)), biases
    assert biases[-1] < EXACT


@pytest.mark.parametrize("weigh", [plain_weights, equal_weights, self_normalised_weights])
def test_weights_and_rewards_are_not_differentiated(weigh: Weigh) -> None:
    log_probs = torch.tensor([[-0.5, -1.0]], requires_grad=True)
    rewards = torch.tensor([[1.0, 2.0]], requires_grad=True)
    weights = weigh(log_probs, torch.zeros(1, 2))
    assert not weights.requires_grad
    sampled_policy_loss(log_probs, rewards, weights).backward()
    assert rewards.grad is None or not rewards.grad.any()
    assert log_probs.grad is not None
    torch.testing.assert_close(log_probs.grad, -(weights * rewards).detach())


class Player:
    """Two queries over the documents, by factors; the mixture with positives is the sampler's own."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.factors = Factors(2, DOCUMENTS, 3).double()
        for weight in self.factors.parameters():
            torch.nn.init.normal_(weight)
        self.query = torch.tensor([1, 0])
        self.rewards = torch.randn(2, DOCUMENTS, dtype=torch.float64)

    def gradient(self, loss: Tensor) -> Tensor:
        parts = torch.autograd.grad(loss, tuple(self.factors.parameters()))
        return -torch.cat([part.flatten() for part in parts])

    def truth(self) -> Tensor:
        """Sum over queries and documents of p r grad log p, document by document, over the number of queries."""
        total = torch.zeros(2 * 3 + DOCUMENTS * 3 + DOCUMENTS, dtype=torch.float64)
        for row in range(2):
            for document in range(DOCUMENTS):
                log_prob = self.factors.score_all(self.query[[row]]).log_softmax(1)[0, document]
                weight = log_prob.exp().item() * self.rewards[row, document].item() / 2
                total += -weight * self.gradient(log_prob)
        return total


def test_exact_expectation_is_the_enumerated_gradient() -> None:
    player = Player()
    scores = player.factors.score_all(player.query)
    loss = exact_policy_loss(scores, player.rewards, torch.ones_like(scores, dtype=torch.bool))
    close(player.gradient(loss), player.truth())
    expected = (scores.softmax(1) * player.rewards).sum(1).mean()
    assert -loss.item() == pytest.approx(expected.item(), abs=EXACT)


def test_every_document_as_a_candidate_is_the_exact_expectation() -> None:
    player = Player()
    ids = torch.tensor([[3, 0, 2, 1], [1, 2, 0, 3]])
    scores = player.factors.score(player.query, ids)
    loss = covariance_policy_loss(scores, player.rewards.gather(1, ids), torch.zeros_like(scores))
    close(player.gradient(loss), player.truth())


def test_exact_expectation_over_a_list_does_not_see_fillers() -> None:
    scores = torch.tensor([[0.5, 1.5, 9.0, -1.0], [1.0, 2.0, 3.0, 4.0], [9.0, 0.3, 9.0, 9.0]], dtype=torch.float64)
    rewards = torch.tensor([[1.0, -1.0, torch.nan, 0.5], [torch.nan] * 4, [1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    listed = torch.tensor([[True, True, False, True], [False] * 4, [False, True, False, False]])
    scores[0, 2] = torch.nan
    scores.requires_grad_()
    loss = exact_policy_loss(scores, rewards, listed)
    p = scores[0, [0, 1, 3]].softmax(0)
    r = rewards[0, [0, 1, 3]]
    assert loss.item() == pytest.approx(-((p * r).sum().item() + 2.0) / 3, abs=EXACT)
    loss.backward()
    expected = torch.zeros_like(scores)
    expected[0, [0, 1, 3]] = -p * (r - (p * r).sum()) / 3
    assert scores.grad is not None
    close(scores.grad, expected.detach())


def test_mixture_with_positives_is_unbiased_through_its_own_sampler() -> None:
    player = Player()
    positives = Relevance.of(torch.tensor([0, 1, 1]), torch.tensor([2, 0, 3]), torch.ones(3), 2)
    listed = PositiveMixture(SoftmaxSampler(player.factors), positives, 0.3).listed(player.query)
    pairs = torch.tensor(list(itertools.product(range(DOCUMENTS), repeat=2)))
    total = torch.zeros_like(player.truth())
    for row in range(2):
        for places in pairs:
            ids, log_proposal = (part[row : row + 1, places] for part in listed)
            log_probs = player.factors.score_all(player.query[[row]]).log_softmax(1).gather(1, ids)
            weights = plain_weights(log_probs, log_proposal)
            loss = sampled_policy_loss(log_probs, player.rewards[row][ids], weights)
            total += log_proposal.exp().prod() * player.gradient(loss) / 2
    close(total, player.truth())


def test_half_precision_scores_are_weighed_in_single() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.bfloat16, requires_grad=True)
    rewards, listed = torch.tensor([[0.3, 0.1, 0.9]]), torch.ones(1, 3, dtype=torch.bool)
    assert covariance_policy_loss(scores, rewards, torch.zeros(1, 3)).dtype == torch.float32
    assert exact_policy_loss(scores, rewards, listed).dtype == torch.float32


def test_a_batch_is_the_mean_of_its_rows() -> None:
    ids = torch.tensor([[0, 2, 2], [3, 1, 0]])
    log_proposal, rewards = PROPOSALS["popularity"].log()[ids], REWARDS[ids]
    listed = torch.tensor([[True, True, False], [True, True, True]])

    def losses(rows: slice) -> list[Tensor]:
        scores, log_probs = LOGITS[ids][rows], LOGITS.log_softmax(0)[ids][rows]
        weights = plain_weights(log_probs, log_proposal[rows])
        return [
            covariance_policy_loss(scores, rewards[rows], log_proposal[rows]),
            exact_policy_loss(scores, rewards[rows], listed[rows]),
            sampled_policy_loss(log_probs, among_draws(leave_one_out, rewards[rows]), weights),
        ]

    for both, first, second in zip(losses(slice(0, 2)), losses(slice(0, 1)), losses(slice(1, 2)), strict=True):
        close(both, (first + second) / 2)
