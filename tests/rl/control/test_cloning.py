import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rl.control import cloning
from rl.control.cloning import Cloning, Warming
from rl.control.transitions import Transitions
from rl.policies import CategoricalHead, GaussianHead
from rl.rollout import Rollout
from rl.runtime import InputError
from rl.runtime.engine import Engine, Runtime


@pytest.fixture
def engine() -> Engine:
    return Engine(Runtime(device="cpu", precision="fp32"), seed=0)


def pairs(obs: Tensor, actions: Tensor) -> Transitions:
    rows = len(obs)
    return Transitions(obs, actions, obs, torch.zeros(rows, dtype=torch.bool))


def test_the_loss_by_hand():
    head = GaussianHead(1, 2)
    nn.init.zeros_(head.linear.weight)
    batch = pairs(torch.zeros(2, 1), torch.tensor([[1.0, 0], [0, 3]]))
    # each pair: 2 numbers of spread 1, squared distances 1 and 9
    expected = math.log(2 * math.pi) + (1 / 2 + 9 / 2) / 2
    torch.testing.assert_close(cloning.negative_log_likelihood(head, batch), torch.tensor(expected))


def test_the_split_deals_every_pair_once():
    batch = pairs(torch.arange(10.0).view(10, 1), torch.arange(10))
    train, valid = cloning.split(batch, 0.3, seed=0)
    assert (train.rows, valid.rows) == (7, 3)
    assert sorted([*train.actions.tolist(), *valid.actions.tolist()]) == list(range(10))
    assert torch.equal(train.obs.flatten().long(), train.actions)
    assert torch.equal(cloning.split(batch, 0.3, seed=0)[1].actions, valid.actions)
    assert not torch.equal(cloning.split(batch, 0.3, seed=1)[1].actions, valid.actions)
    for share in (0.0, 0.01, 1.0, 0.99):
        with pytest.raises(InputError, match=rf"^cloning: 10 pairs cannot be split with a share of {share} held out$"):
            cloning.split(batch, share, seed=0)


def test_cloning_finds_the_linear_gaussian(engine: Engine):
    torch.manual_seed(0)
    obs = torch.randn(2000, 2)
    actions = (obs @ torch.tensor([[1.0], [-2.0]])) + 0.5 + 0.3 * torch.randn(2000, 1)
    head = GaussianHead(2, 1)
    numbers = Cloning(lr=2e-2, updates=600, every=50)
    got = cloning.clone(head, head.parameters(), pairs(obs, actions), numbers, engine, seed=0)
    torch.testing.assert_close(head.linear.weight, torch.tensor([[1.0, -2.0]]), atol=0.05, rtol=0)
    torch.testing.assert_close(head.linear.bias, torch.tensor([0.5]), atol=0.05, rtol=0)
    assert head.log_std.exp().item() == pytest.approx(0.3, abs=0.03)
    assert got["bc/valid"] == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 0.09), abs=0.1)


def test_cloning_finds_the_conditional_frequencies(engine: Engine):
    obs = torch.eye(2).repeat(500, 1)
    actions = torch.tensor([0, 0, 1, 1, 0, 1, 0, 1]).repeat(125)  # the first state: 0 1 0 0
    head = CategoricalHead(2, 2)
    numbers = Cloning(lr=1e-2, updates=600, batch=256)
    cloning.clone(head, head.parameters(), pairs(obs, actions), numbers, engine, seed=0)
    probs = head(torch.eye(2)).softmax(-1)
    torch.testing.assert_close(probs, torch.tensor([[0.75, 0.25], [0.25, 0.75]]), atol=0.06, rtol=0)


class Overfits(nn.Module):
    """A table of logits, one row for each observation: held-out pairs can only become less likely."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(2))
        self.other = nn.Parameter(torch.ones(3))

    def log_prob(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.table.expand(len(obs), 2).log_softmax(-1)
        return logits.gather(1, actions.unsqueeze(1)).squeeze(1), torch.zeros(len(obs))


def test_the_snapshot_with_the_likeliest_held_out_pairs_is_kept(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    def opposed(batch: Transitions, share: float, seed: int) -> tuple[Transitions, Transitions]:
        return batch.take(torch.arange(5)), batch.take(torch.arange(5, 10))

    monkeypatch.setattr(cloning, "split", opposed)
    train_and_valid = pairs(torch.zeros(10, 1), torch.tensor([0] * 5 + [1, 1, 1, 1, 0]))
    policy = Overfits()
    got = cloning.clone(
        policy, policy.parameters(), train_and_valid, Cloning(lr=0.1, updates=20, every=4), engine, seed=0
    )
    assert (got["bc/update"], policy.table.tolist()) == (0, [0, 0])  # any step makes action 1 less likely
    assert got["bc/valid"] == pytest.approx(math.log(2))
    assert got["bc/loss"] < 0.2  # while the training pairs were learned

    both = pairs(torch.zeros(10, 1), torch.tensor([0] * 5 + [0, 0, 0, 0, 1]))  # best at p = 0.8
    policy = Overfits()
    got = cloning.clone(policy, policy.parameters(), both, Cloning(lr=0.1, updates=60, every=1), engine, seed=0)
    assert 0 < got["bc/update"] < 60
    assert policy.table.softmax(0)[0].item() == pytest.approx(0.8, abs=0.02)
    kept = cloning.negative_log_likelihood(policy, both.take(torch.arange(5, 10))).item()
    assert got["bc/valid"] == pytest.approx(kept)  # of the weights that are left behind
    assert policy.other.tolist() == [1, 1, 1]


def test_the_last_weights_are_looked_at_too(engine: Engine):
    policy = Overfits()
    same = pairs(torch.zeros(10, 1), torch.zeros(10, dtype=torch.long))
    got = cloning.clone(policy, policy.parameters(), same, Cloning(lr=0.1, updates=7, every=5), engine, seed=0)
    assert got["bc/update"] == 7


def rollout(rewards: list[list[float]], terminated: Any, truncated: Any, mask: Any = None) -> Rollout[Transitions]:
    paid = torch.tensor(rewards)
    batch, time = paid.shape
    obs = torch.arange(float(batch * time)).view(batch, time, 1)
    steps = Transitions(obs, torch.zeros(batch, time), obs + 1, torch.tensor(terminated))
    zeros, all_true = torch.zeros(batch, time), torch.ones(batch, time, dtype=torch.bool)
    counted = all_true if mask is None else torch.tensor(mask)
    return Rollout(steps, counted, zeros, paid, zeros, zeros, torch.tensor(terminated), torch.tensor(truncated))


def test_discounted_returns_by_hand():
    no, yes = False, True
    played = rollout([[1, 2, 4, 8, 16]], [[no, yes, no, no, no]], [[no, no, no, yes, no]])

    def value(obs: Tensor) -> Tensor:
        return 100 * obs[:, 0]

    # ends: terminated after 2; then cut off after 8 where the value is 400; then the row's end, worth 500
    expected = [[1 + 2 / 2, 2, 4 + 8 / 2 + 400 / 4, 8 + 400 / 2, 16 + 500 / 2]]
    torch.testing.assert_close(cloning.discounted_returns(value, played, 0.5), torch.tensor(expected))


def test_values_are_warmed_up_to_the_returns_of_a_cycle(engine: Engine):
    torch.manual_seed(0)
    table = nn.Embedding(4, 1)
    nn.init.zeros_(table.weight)
    state = torch.arange(40) % 3
    obs, after = state.view(1, 40, 1).float(), ((state + 1) % 3).view(1, 40, 1).float()
    nothing = torch.zeros(1, 40, dtype=torch.bool)
    mask = torch.ones(1, 40, dtype=torch.bool)
    mask[0, 7] = False
    obs[0, 7] = 3  # a row that does not count
    zeros = torch.zeros(1, 40)
    paid = (state == 2).float().view(1, 40)
    played = Rollout(Transitions(obs, zeros, after, nothing), mask, zeros, paid, zeros, zeros, nothing, nothing)
    numbers = Warming(discount=0.5, lr=0.05, batch=8, epochs=20, passes=5)

    def value(rows: Tensor) -> Tensor:
        return table(rows[:, 0].long()).squeeze(1)

    got = cloning.warm_values(value, table.parameters(), played, numbers, engine)
    # v2 = 1 + v0 / 2, v1 = v2 / 2, v0 = v1 / 2
    expected = torch.tensor([[2 / 7], [4 / 7], [8 / 7], [0]])  # the last state is only in the row that does not count
    torch.testing.assert_close(table.weight, expected, atol=0.05, rtol=0)
    assert got["warm/error"] < 0.02
