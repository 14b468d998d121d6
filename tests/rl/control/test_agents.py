import math

import pytest
import torch

from rl.control.agents import OnPolicyAgent
from rl.control.spaces import Actions
from rl.policies import Policy
from tests.rl.control.onpolicy import BOX, CHOICE, PIXELS, VECTOR, agent_of


def test_shapes_and_types() -> None:
    obs = torch.randn(5, 4)
    choosing, moving = agent_of(CHOICE), agent_of(BOX)
    assert isinstance(choosing, Policy)
    for chosen in (choosing.act(obs), choosing.mode(obs)):
        assert (chosen.shape, chosen.dtype) == ((5,), torch.int64)
    for numbers in (moving.act(obs), moving.mode(obs)):
        assert (numbers.shape, numbers.dtype, numbers.requires_grad) == ((5, 2), torch.float32, False)
    for agent in (choosing, moving):
        log_probs, entropies = agent.log_prob(obs, agent.act(obs))
        assert log_probs.shape == entropies.shape == agent.value(obs).shape == (5,)
        assert log_probs.requires_grad


def test_an_agent_begins_undecided_in_the_middle() -> None:
    torch.manual_seed(0)
    obs = torch.randn(100, 4)
    log_probs, entropies = OnPolicyAgent(VECTOR, CHOICE).log_prob(obs, torch.zeros(100, dtype=torch.long))
    assert ((log_probs + math.log(3)).abs() < 0.05).all()
    assert ((entropies - math.log(3)).abs() < 0.01).all()
    moving = OnPolicyAgent(VECTOR, BOX, log_std=-1.0)
    assert ((moving.mode(obs) - torch.tensor([0.0, 4.0])).abs() < 0.1).all()
    drawn = moving.act(obs[:1].expand(20_000, 4))
    assert drawn.std(0).tolist() == pytest.approx([math.exp(-1), 2 * math.exp(-1)], rel=0.03)


def test_densities_speak_of_the_spaces_units() -> None:
    """The density over a grid of actions sums to 1, and the entropy is that of the grid."""
    agent, obs = agent_of(Actions("box", 1, (2.0,), (6.0,))), torch.randn(1, 4)
    grid = torch.linspace(-30, 40, 20_001).unsqueeze(1)
    log_probs, entropies = agent.log_prob(obs.expand(len(grid), 4), grid)
    cell, density = 70 / 20_000, log_probs.detach().double().exp()
    assert density.sum().item() * cell == pytest.approx(1, abs=1e-4)
    assert -(density * log_probs).sum().item() * cell == pytest.approx(entropies[0].item(), abs=1e-3)


def test_probabilities_sum_to_one_and_the_mode_is_the_likeliest() -> None:
    agent, obs = agent_of(CHOICE), torch.randn(6, 4)
    each = torch.stack([agent.log_prob(obs, torch.full((6,), action))[0] for action in range(3)])
    torch.testing.assert_close(each.exp().sum(0), torch.ones(6))
    assert torch.equal(agent.mode(obs), each.argmax(0))


def test_sampling_follows_the_probabilities() -> None:
    agent, obs = agent_of(CHOICE), torch.randn(1, 4).expand(20_000, 4)
    shares = torch.bincount(agent.act(obs), minlength=3) / len(obs)
    each = torch.stack([agent.log_prob(obs[:1], torch.tensor([action]))[0].exp() for action in range(3)])
    assert ((shares - each.squeeze(1)).abs() < 5 * 0.5 / len(obs) ** 0.5).all()


def test_observations_are_standardised_once_added() -> None:
    agent, obs = agent_of(BOX), torch.randn(500, 4)
    expected = agent.mode((obs - obs.mean(0)) / obs.std(0, correction=0))
    agent.add(100 * obs + 7)
    torch.testing.assert_close(agent.mode(100 * obs + 7), expected, rtol=1e-3, atol=1e-3)


def test_a_saved_agent_acts_as_before() -> None:
    agent, obs = agent_of(BOX), torch.randn(5, 4)
    agent.add(torch.randn(50, 4) * 3 + 1)
    other = OnPolicyAgent(VECTOR, BOX, hidden=(8, 8))
    other.mode(obs)
    other.load_state_dict(agent.state_dict())
    assert torch.equal(other.mode(obs), agent.mode(obs))
    assert torch.equal(other.value(obs), agent.value(obs))


def test_pixels_have_an_encoder_that_learns() -> None:
    agent, obs = agent_of(CHOICE, PIXELS), torch.randint(256, (5, 192), dtype=torch.uint8)
    assert not agent.fixed_encoder
    assert agent_of(CHOICE).fixed_encoder
    log_probs, _ = agent.log_prob(obs, agent.act(obs))
    learnt = torch.autograd.grad(log_probs.sum(), list(agent.encoder.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in learnt)
    assert len(agent.policy_parameters()) == len(learnt) + 1


def test_policy_parameters_are_all_that_actions_depend_on() -> None:
    agent, obs = agent_of(BOX), torch.randn(5, 4)
    before = agent.mode(obs)
    with torch.no_grad():
        for weight in set(agent.parameters()) - set(agent.policy_parameters()):
            weight.add_(1)
    assert torch.equal(agent.mode(obs), before)
    assert [weight.shape for weight in agent.policy_parameters()] == [agent.policy.weights.shape]
