import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from rl.control.agents import OnPolicyAgent
from rl.control.batches import Batch, batch_of, prepare
from rl.control.ppo import PPO, judge, optimizer_for, ppo_loss, ppo_round, surrogate
from rl.control.transitions import Transitions
from rl.estimators import ppo_clip
from rl.rollout import Rollout
from rl.runtime import Diverged, Engine, Runtime
from tests.rl.control.onpolicy import BOX, CHOICE, PIXELS, VECTOR, agent_of, rollout_of


@pytest.fixture
def engine() -> Engine:
    return Engine(Runtime(device="cpu"), seed=0)


def by_hand() -> tuple[Batch, torch.Tensor]:
    """Ratios 1.5, 1.5, .5, .5, 1.1 with advantages 1, -1, 1, -1, 2, clipped at .2."""
    ratios = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1])
    old = torch.full((5,), -1.0)
    zeros = torch.zeros(5)
    return Batch(zeros, zeros, old, torch.tensor([1.0, -1, 1, -1, 2]), zeros), ratios.log() + old


def test_the_surrogate_by_hand() -> None:
    batch, log_probs = by_hand()
    # min(1.5, 1.2), min(-1.5, -1.2), min(.5, .8), min(-.5, -.8), min(2.2, 2.2)
    assert surrogate(log_probs, batch, 0.2).item() == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8 + 2.2) / 5)
    rows = [part.unsqueeze(1) for part in (log_probs, batch.log_probs, batch.advantages)]
    assert surrogate(log_probs, batch, 0.2).equal(ppo_clip(*rows, torch.ones(5, 1, dtype=torch.bool), 0.2))


def test_the_loss_by_hand() -> None:
    """An agent whose weights are zero: all actions equally likely, all values zero."""
    torch.manual_seed(0)
    agent = agent_of(CHOICE)
    for net in (agent.policy, agent.baseline):
        nn.init.zeros_(net.weights)
    advantages, targets = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 1.0])
    old = torch.tensor([1 / 3, 1 / 6]).log()  # ratios 1 and 2
    batch = Batch(torch.randn(2, 4), torch.tensor([0, 2]), old, advantages, targets)
    numbers = PPO(clip=0.2, value_weight=0.5, entropy_weight=0.1)
    expected = -(1 - 4) / 2 + 0.5 * (9 + 1) / 2 - 0.1 * math.log(3)
    assert ppo_loss(agent, batch, numbers).item() == pytest.approx(expected, abs=1e-6)
    seen = {name: value.item() for name, value in judge(agent, batch, numbers).items()}
    kl = (2 - 1 - math.log(2)) / 2
    assert seen == pytest.approx(
        {"policy_loss": 1.5, "value_loss": 5, "entropy": math.log(3), "kl": kl, "clipped": 0.5}, abs=1e-6
    )


def test_one_full_update_is_a_step_down_the_loss(engine: Engine) -> None:
    torch.manual_seed(0)
    agent = agent_of(BOX)
    rollout = prepare(agent, rollout_of(agent, 4, 8))
    numbers = PPO(epochs=1, minibatch=32, max_grad_norm=math.inf)
    loss = ppo_loss(agent, batch_of(agent, rollout, numbers.gamma, numbers.lam), numbers)
    expected = [
        weight - 0.1 * slope
        for weight, slope in zip(agent.parameters(), torch.autograd.grad(loss, list(agent.parameters())), strict=True)
    ]
    metrics = ppo_round(agent, torch.optim.SGD(agent.parameters(), 0.1), rollout, numbers, engine)
    for weight, wanted in zip(agent.parameters(), expected, strict=True):
        torch.testing.assert_close(weight, wanted, rtol=1e-5, atol=1e-6)
    assert set(metrics) == {
        "policy_loss", "value_loss", "entropy", "kl", "clipped", "gradient", "explained_variance"
    }  # fmt: skip


@pytest.mark.parametrize(("minibatch", "updates"), [(1, 24), (5, 4), (8, 3), (13, 1), (1000, 1)])
def test_every_step_is_learned_from_once_an_epoch(engine: Engine, minibatch: int, updates: int) -> None:
    """The mean of the losses' gradients over equal parts is the whole's: with the weights held, sums agree."""
    torch.manual_seed(0)
    agent = agent_of(CHOICE)
    rollout = prepare(agent, rollout_of(agent, 4, 6))
    seen: list[float] = []

    class Still(torch.optim.SGD):
        def step(self, closure=None) -> None:
            seen.append(float(agent.policy.weights.grad.sum()))

    numbers = PPO(epochs=2, minibatch=minibatch, max_grad_norm=math.inf)
    ppo_round(agent, Still(agent.parameters(), 0.1), rollout, numbers, engine)
    loss = ppo_loss(agent, batch_of(agent, rollout, numbers.gamma, numbers.lam), numbers)
    (whole,) = torch.autograd.grad(loss, agent.policy.weights)
    assert len(seen) == 2 * updates
    for epoch in (seen[:updates], seen[updates:]):
        assert sum(epoch) / updates == pytest.approx(float(whole.sum()), rel=1e-3, abs=1e-5)


def test_masked_rows_do_not_change_a_round(engine: Engine) -> None:
    results = []
    for junk in (0.0, 1e3):
        torch.manual_seed(0)
        agent = agent_of(CHOICE)
        rollout = rollout_of(agent, 3, 6)
        mask = torch.rand(3, 6) > 0.3
        rollout.steps.obs[~mask] = rollout.steps.next_obs[~mask] = rollout.rewards[~mask] = junk
        numbers = PPO(epochs=2, minibatch=6)
        torch.manual_seed(1)
        rollout = prepare(agent, replace(rollout, mask=mask))
        ppo_round(agent, optimizer_for(agent, numbers), rollout, numbers, engine)
        results.append(agent.policy.weights.detach().clone())
    assert torch.equal(*results)


def test_the_passes_end_once_the_policy_has_moved(engine: Engine) -> None:
    torch.manual_seed(0)
    moved = []
    for target in (math.inf, 1e-3):
        torch.manual_seed(0)
        agent = agent_of(CHOICE)
        rollout = prepare(agent, rollout_of(agent, 8, 16))
        numbers = PPO(lr=3e-3, minibatch=32, epochs=20, target_kl=target)
        moved.append(ppo_round(agent, optimizer_for(agent, numbers), rollout, numbers, engine)["kl"].item())
    assert 1e-3 < moved[1] < moved[0] / 3


def test_pixels_teach_the_encoder(engine: Engine) -> None:
    torch.manual_seed(0)
    agent = agent_of(CHOICE, PIXELS, shake=0.05)
    rollout = prepare(agent, rollout_of(agent, 2, 8))
    before = [weight.detach().clone() for weight in agent.parameters()]
    numbers = PPO(epochs=1, minibatch=16, max_grad_norm=math.inf)
    batch = batch_of(agent, rollout, numbers.gamma, numbers.lam)
    slopes = torch.autograd.grad(ppo_loss(agent, batch, numbers), list(agent.parameters()))
    ppo_round(agent, torch.optim.SGD(agent.parameters(), 0.01), rollout, numbers, engine)
    for weight, old, slope in zip(agent.parameters(), before, slopes, strict=True):
        torch.testing.assert_close(weight, old - 0.01 * slope, rtol=1e-4, atol=1e-5)
        assert not torch.equal(weight, old)


def test_divergence_stops_with_the_weights_intact(engine: Engine) -> None:
    torch.manual_seed(0)
    agent = agent_of(BOX)
    rollout = prepare(agent, rollout_of(agent, 2, 8))
    rollout.rewards[0, 3] = math.inf
    with pytest.raises(Diverged):
        ppo_round(agent, optimizer_for(agent, PPO()), rollout, PPO(), engine)
    assert all(weight.isfinite().all() for weight in agent.parameters())


def bandit(agent: OnPolicyAgent, rows: int) -> Rollout[Transitions]:
    """One step an episode; the sign of the first number says which action is worth 1, or where the best one lies."""
    obs = torch.randn(rows, 1, 4)
    rollout = rollout_of(agent, rows, 1, obs)
    ends = torch.ones(rows, 1, dtype=torch.bool)
    right = (obs[..., 0] > 0).float()
    actions = rollout.steps.actions
    if agent.distribution.outputs == 2 and actions.dim() == 3:
        rewards = -(actions[..., 1] - (3 + 2 * right)).square()
    else:
        rewards = (actions == right).float()
    return replace(rollout, rewards=rewards, terminated=ends)


@pytest.mark.parametrize(("actions", "start", "goal"), [(CHOICE, 0.4, 0.9), (BOX, -3.0, -1.0)])
def test_it_learns_a_bandit(engine: Engine, actions, start: float, goal: float) -> None:
    torch.manual_seed(0)
    agent = OnPolicyAgent(VECTOR, actions, hidden=(16,))
    numbers = PPO(lr=1e-2, epochs=4, minibatch=64)
    optimizer = optimizer_for(agent, numbers)
    earned = []
    for _ in range(25):
        rollout = bandit(agent, 256)
        earned.append(rollout.rewards.mean().item())
        ppo_round(agent, optimizer, prepare(agent, rollout), numbers, engine)
    assert earned[0] < start
    assert earned[-1] > goal
