"""Advantages by hand, and the gradients that they give by enumeration of everything that can be said."""

import itertools

import pytest
import torch
from torch import Tensor

from rl.estimators import reinforce
from rl.rollout import Rollout, gae
from seqgan.generators import LSTMGenerator
from seqgan.likelihood import action_log_probs, counted
from seqgan.lm.advantages import Advantages, among_group, generalised, group, mc_rollout, rloo, token

MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]]).bool()
REWARDS = torch.tensor([[1.0, 2.0, 3.0], [0.0, 4.0, 99.0], [2.0, 99.0, 99.0], [0.0, 0.0, 8.0]]).masked_fill(~MASK, 0)


def rollout(rewards: Tensor = REWARDS, mask: Tensor = MASK) -> Rollout[Tensor]:
    return Rollout.of(torch.zeros(mask.shape).long(), mask).relabel(lambda _: rewards)


def test_a_group_is_standardised_by_its_own_mean_and_deviation() -> None:
    found = group(rollout(), 2)  # totals 6, 4 | 2, 8
    expected = torch.tensor([1.0, -1.0, -1.0, 1.0])[:, None] * torch.tensor([1, 1, 3, 3])[:, None]
    scale = torch.tensor([1 + 1e-4, 1 + 1e-4, 3 + 1e-4, 3 + 1e-4])[:, None]
    torch.testing.assert_close(found, (expected / scale).expand(4, 3).masked_fill(~MASK, 0))


def test_rows_that_all_earn_the_same_have_no_advantage() -> None:
    equal = torch.tensor([[0.0, 5.0]]).repeat(4, 1)
    for advantages in (group, rloo, token, mc_rollout):
        assert (advantages(rollout(equal, torch.ones(4, 2).bool()), 4) == 0).all()


def test_rloo_subtracts_the_others_of_the_group() -> None:
    found = rloo(rollout(), 4)  # totals 6, 4, 2, 8
    expected = torch.tensor([6 - 14 / 3, 4 - 16 / 3, 2 - 18 / 3, 8 - 12 / 3])
    torch.testing.assert_close(found, expected[:, None].expand(4, 3).masked_fill(~MASK, 0))


def test_a_token_is_paid_what_comes_from_it_on_less_what_others_earn_from_there() -> None:
    found = token(rollout(), 2)  # to go: 6 5 3 | 4 4 - || 2 - - | 8 8 8
    expected = torch.tensor([[2.0, 1.0, 3.0], [-2.0, -1.0, 0.0], [-6.0, 0.0, 0.0], [6.0, 8.0, 8.0]])
    torch.testing.assert_close(found, expected)


def test_values_of_prefixes_are_not_summed() -> None:
    found = mc_rollout(rollout(), 2)
    expected = torch.tensor([[1.0, -2.0, 3.0], [-1.0, 2.0, 0.0], [2.0, 0.0, 0.0], [-2.0, 0.0, 8.0]])
    torch.testing.assert_close(found, expected)


def test_gae_is_the_rollouts_own() -> None:
    torch.testing.assert_close(generalised(0.7)(rollout(), 2), gae(rollout(), 1.0, 0.7)[0])


@pytest.mark.parametrize("advantages", [group, rloo, token, mc_rollout])
def test_groups_do_not_see_each_other(advantages: Advantages) -> None:
    whole = advantages(rollout(), 2)
    apart = [advantages(rollout(REWARDS[part], MASK[part]), 2) for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(whole, torch.cat(apart))
    assert not whole.equal(advantages(rollout(), 4))


def test_one_group_of_all_is_leave_one_out() -> None:
    from rl.estimators import leave_one_out

    torch.testing.assert_close(among_group(REWARDS, MASK, 4), leave_one_out(REWARDS, MASK))


EVERYTHING = torch.tensor(list(itertools.product(range(3), repeat=3)))


def worth(sentences: Tensor) -> Tensor:
    return ((sentences * torch.tensor([0.31, 0.17, 0.23])).sum(-1) * 4).sin().square()


@pytest.mark.parametrize("advantages", [rloo, token])
def test_the_expected_gradient_is_that_of_the_expected_reward(advantages: Advantages) -> None:
    """Over all pairs of sentences, each weighed by its odds: nothing is drawn, so nothing is left to chance."""
    torch.manual_seed(0)
    net = LSTMGenerator(3, embedding=3, hidden=4, end=0, deviation=0.8)
    said = counted(EVERYTHING, 0)
    rows = EVERYTHING[(said | (EVERYTHING == 0)).all(1)]
    mask = counted(rows, 0)

    def log_probs(some: Tensor) -> Tensor:
        return action_log_probs(net, some).gather(2, some[..., None])[..., 0]

    odds = (log_probs(rows) * mask).sum(1).exp()
    assert odds.sum().item() == pytest.approx(1, abs=1e-5)
    wanted = torch.autograd.grad((odds * worth(rows)).sum(), list(net.parameters()))
    pairs = torch.cartesian_prod(torch.arange(len(rows)), torch.arange(len(rows)))
    weights = odds[pairs].prod(1).detach()
    flat = rows[pairs.flatten()]
    paid = worth(flat)[:, None] * torch.nn.functional.one_hot(counted(flat, 0).sum(1) - 1, 3)
    got = advantages(rollout(paid, counted(flat, 0)), 2)
    weighed = got * weights.repeat_interleave(2)[:, None] * len(pairs)
    loss = reinforce(log_probs(flat), weighed, counted(flat, 0))
    for ours, exact in zip(torch.autograd.grad(loss, list(net.parameters())), wanted, strict=True):
        torch.testing.assert_close(-ours, exact, rtol=1e-3, atol=1e-5)
