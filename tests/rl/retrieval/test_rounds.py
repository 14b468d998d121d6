"""Losses over slates: numbers by hand, enumerated gradients, draws by chi-squared."""

import math

import pytest
import torch
from torch import Tensor

from rl.objectives import Minimax, Relativistic, SeqGAN
from rl.retrieval import rounds
from rl.retrieval.slates import Slate
from tests.rl.retrieval.small import Table

SCORES = torch.tensor([[0.0, math.log(2.0), math.log(3.0), 99.0]])
MASK = torch.tensor([[True, True, True, False]])
RELEVANT = torch.tensor([[True, False, False, False]])


def slate_of(relevant: Tensor, mask: Tensor) -> Slate:
    rows, width = relevant.shape
    return Slate(torch.arange(rows), torch.arange(width).expand(rows, -1), mask, relevant)


def test_the_policy_is_a_softmax_over_the_candidates() -> None:
    assert rounds.log_policy(SCORES, MASK).exp().tolist()[0] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 0.0])
    # at temperature 1/2 the odds are squared
    assert rounds.log_policy(SCORES, MASK, 0.5).exp().tolist()[0] == pytest.approx([1 / 14, 4 / 14, 9 / 14, 0.0])


def test_an_empty_row_gives_numbers_and_no_gradient_that_is_none() -> None:
    scores = SCORES.clone().requires_grad_()
    none = torch.zeros_like(MASK)
    for loss in (
        rounds.likelihood_loss(scores, none, none),
        rounds.distillation_loss(scores, SCORES, none),
        rounds.hardness_climb(scores, SCORES, none, none),
        rounds.exact_climb(scores, SCORES, Minimax(), none, none),
    ):
        assert loss.isfinite()
        (gradient,) = torch.autograd.grad(loss, scores)
        assert gradient.isfinite().all()


def test_positives_are_mixed_in_by_hand() -> None:
    relevant = torch.tensor([[True, True, False, False]])
    mixed = rounds.with_positives(rounds.log_policy(SCORES, MASK), relevant, 0.2)
    assert mixed.exp().tolist()[0] == pytest.approx([0.8 / 6 + 0.1, 1.6 / 6 + 0.1, 2.4 / 6, 0.0])
    alone = rounds.with_positives(rounds.log_policy(SCORES, MASK), torch.zeros_like(relevant), 0.2)
    assert alone.exp().tolist()[0] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 0.0])


def test_columns_are_drawn_as_often_as_their_probability_says() -> None:
    torch.manual_seed(0)
    drawn = rounds.draw_columns(rounds.log_policy(SCORES, MASK), 60_000)[0]
    counts = torch.bincount(drawn, minlength=4).double()
    assert counts[3] == 0
    expected = 60_000 * torch.tensor([1, 2, 3]) / 6
    # chi-squared with 2 degrees of freedom exceeds 13.8 once in a thousand seeds
    assert ((counts[:3] - expected).square() / expected).sum() < 13.8


def test_a_pair_is_a_relevant_document_and_a_drawn_one_of_its_query() -> None:
    relevant = torch.tensor([[True, False, True, False], [False, False, False, False], [False, True, False, False]])
    slate = slate_of(relevant, torch.ones_like(relevant))
    only = torch.full((3, 4), -torch.inf)
    only[0, 1] = only[1, 0] = only[2, 3] = 0.0
    query, ids = rounds.pairs_of(slate, only)
    assert query.tolist() == [0, 0, 2]
    assert ids.tolist() == [[0, 1], [2, 1], [1, 3]]


@pytest.mark.parametrize(
    ("objective", "loss"),
    [
        # log 2 twice; softplus(-1) + softplus(-2) = .3133 + .1269, their mean over two pairs
        (SeqGAN(), math.log1p(math.exp(-1.0)) / 2 + math.log(2) / 2 + math.log1p(math.exp(-2.0)) / 2 + math.log(2) / 2),
        (Relativistic(), (math.log1p(math.exp(-3.0)) + math.log(2)) / 2),
    ],
)
def test_telling_apart_by_hand(objective: SeqGAN | Relativistic, loss: float) -> None:
    relevant = torch.tensor([[True, False], [True, False]])
    judge = Table(torch.tensor([[1.0, -2.0], [0.0, 0.0]]))
    drawn = torch.tensor([[-torch.inf, 0.0]]).expand(2, 2)
    found, metrics = rounds.contrast(judge, objective, slate_of(relevant, torch.ones_like(relevant)), drawn)
    assert found.item() == pytest.approx(loss)
    assert metrics["d/accuracy"].item() == 0.5
    assert metrics["d/pairs_right"].item() == 0.5


@pytest.mark.parametrize("candidates", [1, 2, 5])
def test_the_hardest_of_a_few_is_drawn_as_often_as_enumeration_says(candidates: int) -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, 9.0]])
    others = torch.tensor([[True, True, True, False]])
    found = rounds.hardest_of(scores, others, candidates).exp()[0]
    every = torch.cartesian_prod(*[torch.arange(3)] * candidates).reshape(-1, candidates)
    best = every.gather(1, scores[0, every].argmax(1, keepdim=True)).squeeze(1)
    expected = torch.bincount(best, minlength=4).double() / len(every)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_likelihood_by_hand() -> None:
    both = torch.tensor([[True, True, False, False]])
    assert rounds.likelihood_loss(SCORES, RELEVANT, MASK).item() == pytest.approx(math.log(6))
    assert rounds.likelihood_loss(SCORES, both, MASK).item() == pytest.approx((math.log(6) + math.log(3)) / 2)
    two = rounds.likelihood_loss(SCORES.expand(2, -1), torch.cat([RELEVANT, both]), MASK.expand(2, -1))
    assert two.item() == pytest.approx((math.log(6) + (math.log(6) + math.log(3)) / 2) / 2)


def test_a_ranker_sets_each_relevant_document_against_all_others() -> None:
    # 1 against 2 + 3
    assert rounds.ranking_loss(SCORES, RELEVANT, MASK).item() == pytest.approx(math.log(6))
    # 1 against 3, and 2 against 3: the relevant are no rivals of each other
    both = torch.tensor([[True, True, False, False]])
    loss = rounds.ranking_loss(SCORES, both, MASK).item()
    assert loss == pytest.approx((math.log(4) + math.log(5 / 2)) / 2)


def test_copying_the_ranker_by_hand() -> None:
    judged = torch.tensor([[math.log(2.0), 0.0, 0.0, 7.0]])
    expected = (2 * math.log(6) + math.log(3) + math.log(2)) / 4
    assert rounds.distillation_loss(SCORES, judged, MASK).item() == pytest.approx(expected)
    # at temperature 1/2 the teacher's odds are squared: 4 1 1
    colder = (4 * math.log(6) + math.log(3) + math.log(2)) / 6
    assert rounds.distillation_loss(SCORES, judged, MASK, 0.5).item() == pytest.approx(colder)


def test_a_good_copy_has_no_gradient() -> None:
    scores = SCORES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(rounds.distillation_loss(scores, SCORES + 5, MASK), scores)
    assert gradient.abs().max() < 1e-6


def test_hardness_is_expected_over_what_is_not_relevant() -> None:
    judged = torch.tensor([[1.0, 2.0, -1.0, 50.0]])
    harder, easier = math.log1p(math.exp(1.0)), math.log1p(math.exp(-2.0))
    expected = -(2 * harder + 3 * easier) / 5
    assert rounds.hardness_climb(SCORES, judged, RELEVANT, MASK).item() == pytest.approx(expected)


def test_hardness_is_climbed() -> None:
    scores = torch.zeros(1, 4, requires_grad=True)
    judged = torch.tensor([[0.0, 3.0, -3.0, 50.0]])
    (gradient,) = torch.autograd.grad(rounds.hardness_climb(scores, judged, RELEVANT, MASK), scores)
    assert gradient[0, 1] < 0 < gradient[0, 2]  # steps are down the gradient
    assert gradient[0, [0, 3]].tolist() == [0, 0]


def test_an_anchor_is_any_relevant_document() -> None:
    torch.manual_seed(0)
    relevant = torch.tensor([[True, False, True, False], [False] * 4]).repeat(500, 1)
    found = rounds.anchor(torch.arange(4.0).expand(1000, -1), relevant).squeeze(1)
    assert set(found[::2].tolist()) == {0.0, 2.0}
    assert 200 < (found[::2] == 0).sum() < 300  # 250 +- 11


def test_the_exact_climb_is_the_enumerated_expectation() -> None:
    judged = torch.tensor([[1.0, -1.0, 0.5, 9.0]], dtype=torch.double)
    scores = SCORES.double().requires_grad_()
    loss = rounds.exact_climb(scores, judged, SeqGAN(), RELEVANT, MASK)
    p = scores[:, :3].softmax(1)
    expected = -(p * judged[:, :3].sigmoid()).sum()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    (mine,), (theirs,) = torch.autograd.grad(loss, scores), torch.autograd.grad(expected, scores)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_the_exact_pairwise_climb_compares_with_a_relevant_document() -> None:
    judged = torch.tensor([[1.0, -1.0, 0.5, 9.0]])
    found = rounds.exact_climb(SCORES, judged, Relativistic(), RELEVANT, MASK)
    rewards = [-math.log1p(math.exp(1.0 - verdict)) for verdict in (1.0, -1.0, 0.5)]
    assert found.item() == pytest.approx(-(rewards[0] + 2 * rewards[1] + 3 * rewards[2]) / 6, rel=1e-5)


@pytest.mark.parametrize("baseline", ["none", "constant", "leave-one-out"])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_the_sampled_climb_estimates_the_exact_one(share: float, baseline: str) -> None:
    torch.manual_seed(0)
    relevant = torch.tensor([[True, True, False, False, False]])
    mask = torch.tensor([[True, True, True, True, False]])
    scores = torch.randn(1, 5, dtype=torch.double, requires_grad=True)
    judge = Table(torch.randn(1, 5, dtype=torch.double))
    slate = slate_of(relevant, mask)
    exact = rounds.exact_climb(scores, judge.scores.detach(), SeqGAN(), relevant, mask)
    (true,) = torch.autograd.grad(exact, scores)
    rows = 20_000
    many = Slate(slate.query.expand(rows), slate.ids.expand(rows, -1), mask.expand(rows, -1), relevant.expand(rows, -1))
    loss = rounds.sampled_climb(
        scores.expand(rows, -1), judge, SeqGAN(), many, draws=2, share=share, baseline=rounds.BASELINES[baseline]
    )
    (found,) = torch.autograd.grad(loss, scores)
    # 80,000 draws: the error of a coordinate is about .5 / sqrt(80,000) = .002, six times that once in a billion
    torch.testing.assert_close(found, true, rtol=0, atol=0.012)
    assert found[0, 4] == 0


def test_the_sampled_pairwise_climb_compares_each_draw_with_a_relevant_document() -> None:
    torch.manual_seed(0)
    rows, verdicts = 20_000, torch.tensor([[1.0, 0.0, -1.0]])
    relevant = torch.tensor([[True, True, False]]).expand(rows, -1)
    slate = Slate(torch.zeros(rows).long(), torch.arange(3).expand(rows, -1), torch.ones_like(relevant), relevant)
    scores = torch.tensor([[0.0, 1.0, 0.5]]).expand(rows, -1)
    keep = rounds.BASELINES["none"]
    loss = rounds.sampled_climb(scores, Table(verdicts), Relativistic(), slate, draws=1, share=0.0, baseline=keep)
    log_p = scores[0].log_softmax(0).tolist()
    paid = [sum(-math.log1p(math.exp(real - fake)) for real in (1.0, 0.0)) / 2 for fake in (1.0, 0.0, -1.0)]
    expected = -sum(math.exp(log_prob) * reward * log_prob for log_prob, reward in zip(log_p, paid, strict=True))
    assert loss.item() == pytest.approx(expected, abs=0.02)  # its standard error is .003
