import copy
import math

import pytest
import torch

from rl.control.agents import OnPolicyAgent
from rl.control.batches import Batch
from rl.control.fused import Gradients, Weighting, fill, fused_loss
from rl.control.ppo import PPO, ppo_loss
from rl.runtime import Diverged, Engine, Runtime
from tests.rl.control.onpolicy import BOX, CHOICE, agent_of


def case(actions, entropy_weight: float, rows: int = 40) -> tuple[OnPolicyAgent, Batch, PPO, Weighting]:
    """Give old log-probabilities far enough from the new ones that all sides of the clip occur, in double precision."""
    torch.manual_seed(0)
    agent = agent_of(actions).double()
    features = torch.randn(rows, 4, dtype=torch.double)
    units = agent.distribution.units(agent.act(features))
    with torch.no_grad():
        log_probs = agent.units_log_prob(features, units)[0]
    old = log_probs + 0.5 * torch.randn_like(log_probs)
    batch = Batch(features, units, old, torch.randn_like(old), torch.randn_like(old))
    numbers = PPO(entropy_weight=entropy_weight, value_weight=0.3, clip=0.15)
    return agent, batch, numbers, Weighting(numbers.clip, numbers.value_weight, numbers.entropy_weight)


@pytest.mark.parametrize("entropy_weight", [0.0, 0.1])
@pytest.mark.parametrize("actions", [CHOICE, BOX])
def test_loss_and_gradients_are_autograds(actions, entropy_weight: float) -> None:
    agent, batch, numbers, weighting = case(actions, entropy_weight)
    ratio = (agent.units_log_prob(batch.inputs, batch.actions)[0] - batch.log_probs).exp()
    for beyond in (ratio > 1.15, ratio < 0.85):
        assert (beyond & (batch.advantages > 0)).any()
        assert (beyond & (batch.advantages < 0)).any()
    features = batch.inputs.clone().requires_grad_()
    wanted = [features, *agent.parameters()]
    expected = ppo_loss(agent, batch._replace(inputs=features), numbers)
    ours = fused_loss(agent, features, batch, weighting)
    torch.testing.assert_close(ours, expected)
    slopes = torch.autograd.grad(expected, wanted)
    for gradient, slope in zip(torch.autograd.grad(3 * ours, wanted), slopes, strict=True):
        torch.testing.assert_close(gradient, 3 * slope)

    gradients = Gradients(agent)
    gradients.flat.fill_(math.nan)
    with torch.inference_mode():
        found = fill(gradients, agent, batch.inputs, batch, weighting)
    torch.testing.assert_close(found.loss(weighting), expected.detach())
    torch.testing.assert_close((gradients.policy, gradients.baseline), slopes[1:])


def test_there_is_no_second_derivative() -> None:
    agent, batch, _, weighting = case(CHOICE, 0.0)
    loss = fused_loss(agent, batch.inputs, batch, weighting)
    with pytest.raises(RuntimeError, match="second derivative"):
        torch.autograd.grad(loss, list(agent.parameters()), create_graph=True)


@pytest.mark.parametrize("share", [1e-3, 0.8, math.inf])
def test_a_step_is_the_engines(share: float) -> None:
    """Whether the bound is far below the gradient's norm, a little, or not at all."""
    agent, batch, _, weighting = case(BOX, 0.1)
    slopes = torch.autograd.grad(fused_loss(agent, batch.inputs, batch, weighting), list(agent.parameters()))
    clip = share * float(torch.cat(slopes).norm())
    other = copy.deepcopy(agent)
    engine = Engine(Runtime(device="cpu"), seed=0)
    by_hand, by_engine = (torch.optim.SGD(each.parameters(), 0.1, momentum=0.9) for each in (agent, other))
    for _ in range(3):
        loss = fused_loss(other, batch.inputs, batch, weighting)
        expected = engine.update(by_engine, loss, name="agent", clip=clip)
        with Gradients(agent) as gradients:
            fill(gradients, agent, batch.inputs, batch, weighting)
            assert gradients.step(by_hand, clip) == pytest.approx(expected.item())
    for ours, theirs in zip(agent.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)  # torch bounds by clip / (norm + 1e-6)
        assert ours.grad is None


@pytest.mark.parametrize(("field", "name"), [("advantages", "policy"), ("targets", "baseline")])
def test_a_gradient_that_is_not_finite_stops_before_the_step(field: str, name: str) -> None:
    agent, batch, _, weighting = case(CHOICE, 0.0)
    before = copy.deepcopy(agent.state_dict())
    getattr(batch, field)[3] = math.nan
    optimizer = torch.optim.Adam(agent.parameters())
    with Gradients(agent) as gradients:
        with torch.inference_mode():
            fill(gradients, agent, batch.inputs, batch, weighting)
        with pytest.raises(Diverged, match=name):
            gradients.step(optimizer, 0.5)
    for key, value in agent.state_dict().items():
        assert torch.equal(value, before[key])
