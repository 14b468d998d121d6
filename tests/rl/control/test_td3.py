import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rl.control.normaliser import Normaliser
from rl.control.spaces import Actions, Observations
from rl.control.td3 import TD3, TD3Agent, TD3Optimizer, td3_round
from rl.control.transitions import Transitions
from rl.runtime.errors import Diverged, InputError
from tests.rl.control.offpolicy import CHOICE, PIXELS, VECTOR, steps_of, td3_agent

NUMBERS = TD3(batch=8)


def rewards_of(rows: int) -> Tensor:
    return torch.randn(rows)


def reference(agent: TD3Agent, steps: Transitions, rewards: Tensor, noise: Tensor, numbers: TD3) -> None:
    """Write the paper's gradients by autograd: of the critics, then of the actor after Adam's step of the critics."""
    critics = [*agent.critics.parameters(), *agent.encoder.parameters()]
    features = agent.encoder(steps.obs)
    with torch.no_grad():
        after = agent.encoder(steps.next_obs)
        limited = (numbers.target_noise * noise).clamp(-numbers.target_clip, numbers.target_clip)
        unit = (agent.target_actor(after)[0].tanh() + limited).clamp(-1, 1)
        worth = agent.target_critics(after, unit).min(0).values
        targets = rewards + numbers.gamma * (~steps.terminated) * worth
    values = agent.critics(features, agent.bounds.to_unit(steps.actions))
    loss = sum(0.5 * F.mse_loss(of_one, targets) for of_one in values)
    for weight, gradient in zip(critics, torch.autograd.grad(loss, critics), strict=True):
        weight.grad = gradient
    torch.optim.Adam(critics, numbers.critic_lr).step()
    seen = features.detach()
    actor_loss = -agent.critics(seen, agent.actor(seen)[0].tanh())[0].mean()
    actor = list(agent.actor.parameters())
    for weight, gradient in zip(actor, torch.autograd.grad(actor_loss, actor), strict=True):
        weight.grad = gradient


@pytest.mark.parametrize("hidden", [(7, 5), (6,)])
@pytest.mark.parametrize("observations", [VECTOR, PIXELS])
def test_gradients_are_autograds(hidden: tuple[int, ...], observations: Observations) -> None:
    torch.manual_seed(0)
    agent = td3_agent(hidden, observations)
    with torch.no_grad():
        agent.target_actor.biases[-1][..., 1] += 2  # close to the bound, where the noise would cross it
    steps, rewards = steps_of(8, observations=observations), torch.randn(8)
    other, numbers = copy.deepcopy(agent), replace(NUMBERS, delay=1, target_noise=0.6, critic_lr=1e-2)
    optimizer = TD3Optimizer(agent, numbers)
    torch.manual_seed(7)
    noise = torch.randn(1, 2, 8, 2)[0, 1]
    torch.manual_seed(7)
    td3_round(agent, optimizer, steps, rewards, numbers)
    reference(other, steps, rewards, noise, numbers)
    for (name, mine), wanted in zip(agent.named_parameters(), other.parameters(), strict=True):
        if "target" not in name:
            torch.testing.assert_close(mine.grad, wanted.grad, rtol=5e-4, atol=5e-6, msg=name)
            assert wanted.grad.abs().max() > 0


def test_targets_by_hand_and_a_truncation_is_no_termination() -> None:
    torch.manual_seed(0)
    agent = td3_agent()
    with torch.no_grad():
        for net in (agent.critics.net, agent.target_critics.net):
            for weight in net.weights:
                weight.zero_()
        agent.critics.net.biases[-1][:, 0, 0] = torch.tensor([0.0, 1.0])
        agent.target_critics.net.biases[-1][:, 0, 0] = torch.tensor([5.0, 3.0])
    numbers = TD3(gamma=0.9, batch=2)
    steps = steps_of(2)._replace(terminated=torch.tensor([True, False]))
    metrics = td3_round(agent, TD3Optimizer(agent, numbers), steps, torch.tensor([1.0, 2.0]), numbers)
    targets = torch.tensor([1.0, 2 + 0.9 * 3])
    wanted = torch.stack([(0 - targets).mean(), (1 - targets).mean()])
    torch.testing.assert_close(agent.critics.net.biases[-1].grad[:, 0, 0], wanted)
    squares = (0 - targets).square().mean() + (1 - targets).square().mean()
    assert metrics["critic_loss"].item() == pytest.approx(0.5 * squares.item())
    assert metrics["q"].item() == pytest.approx(0.5)


def test_actor_and_targets_wait() -> None:
    torch.manual_seed(0)
    agent = td3_agent()
    numbers = replace(NUMBERS, delay=3, tau=0.25)
    optimizer = TD3Optimizer(agent, numbers)
    for update in range(1, 7):
        before = copy.deepcopy(agent)
        td3_round(agent, optimizer, steps_of(8), rewards_of(8), numbers)
        pairs = zip(before.named_parameters(), agent.parameters(), strict=True)
        moved = {name: not torch.equal(old, new) for (name, old), new in pairs}
        assert all(moved[name] for name in moved if name.startswith("critics"))
        others = [moved[name] for name in moved if not name.startswith("critics")]
        assert all(others) if update % 3 == 0 else not any(others)
        if update % 3 == 0:
            nets = ((agent.target_actor, agent.actor), (agent.target_critics, agent.critics))
            for (target, online), old in zip(nets, (before.target_actor, before.target_critics), strict=True):
                for new, followed, last in zip(target.parameters(), online.parameters(), old.parameters(), strict=True):
                    torch.testing.assert_close(new, 0.75 * last + 0.25 * followed)


def test_acting_explores_within_the_bounds_and_the_mode_does_not() -> None:
    torch.manual_seed(0)
    agent = td3_agent()
    with torch.no_grad():
        agent.actor.weights[-1].zero_()
        agent.actor.biases[-1][0, 0] = torch.tensor([0.0, 5.0])
    obs = torch.randn(4000, 4)
    mode, acts = agent.mode(obs), agent.act(obs)
    torch.testing.assert_close(mode[0], torch.tensor([0.0, 4 + 2 * math.tanh(5)]))
    assert mode.std(0).max() < 1e-5
    assert acts[:, 0].std().item() == pytest.approx(0.1, rel=0.05)
    assert acts[:, 1].max() == 6
    assert acts[:, 1].min() > 4


def test_a_bandit_with_a_known_optimum_is_solved() -> None:
    torch.manual_seed(0)
    agent = TD3Agent(Normaliser(1), 1, Actions("box", 1, (-2.0,), (2.0,)), (64, 64))
    numbers = TD3(batch=64, actor_lr=3e-3, critic_lr=3e-3)
    acts = torch.rand(64 * 1500, 1) * 4 - 2
    zeros = torch.zeros_like(acts)
    steps = Transitions(zeros, acts, zeros, torch.ones(len(acts)).bool())
    td3_round(agent, TD3Optimizer(agent, numbers), steps, -4 * (acts[:, 0] - 0.5).abs(), numbers)
    assert agent.mode(zeros[:1]).item() == pytest.approx(0.5, abs=0.1)


def test_a_resumed_run_is_the_run_that_never_stopped() -> None:
    torch.manual_seed(0)
    agent = td3_agent()
    optimizer = TD3Optimizer(agent, NUMBERS)
    rounds = [(steps_of(24), torch.randn(24)) for _ in range(2)]  # three updates: a resume in the middle of the delay
    td3_round(agent, optimizer, *rounds[0], NUMBERS)
    saved = copy.deepcopy((agent.state_dict(), optimizer.state_dict()))
    torch.manual_seed(3)
    td3_round(agent, optimizer, *rounds[1], NUMBERS)
    fresh = td3_agent()
    second = TD3Optimizer(fresh, NUMBERS)
    fresh.load_state_dict(saved[0])
    second.load_state_dict(saved[1])
    torch.manual_seed(3)
    td3_round(fresh, second, *rounds[1], NUMBERS)
    assert all(torch.equal(*pair) for pair in zip(agent.parameters(), fresh.parameters(), strict=True))


def test_what_cannot_be_is_refused() -> None:
    torch.manual_seed(0)
    agent = td3_agent()
    optimizer = TD3Optimizer(agent, NUMBERS)
    with pytest.raises(InputError, match="need a bounded Box"):
        TD3Agent(Normaliser(4), 4, CHOICE)
    with pytest.raises(ValueError, match="no multiple of the batch 8"):
        td3_round(agent, optimizer, steps_of(9), torch.zeros(9), NUMBERS)
    with pytest.raises(Diverged, match=r"TD3Agent\.critics"):
        td3_round(agent, optimizer, steps_of(8), torch.full((8,), torch.inf), NUMBERS)
    agent.double().float()
    with pytest.raises(ValueError, match="moved"):
        td3_round(agent, optimizer, steps_of(8), torch.zeros(8), NUMBERS)
