import copy
import math
from dataclasses import replace

import pytest
import torch

from rl.control.discrete_sac import DiscreteSACAgent
from rl.control.normaliser import Normaliser
from rl.control.sac import SAC, SACOptimizer, sac_round
from rl.control.spaces import Actions, Observations
from rl.control.transitions import Transitions
from rl.runtime.errors import InputError
from tests.rl.control.offpolicy import BOX, CHOICE, PIXELS, VECTOR, discrete_agent, discrete_losses, steps_of

NUMBERS = SAC(batch=8)


@pytest.mark.parametrize("hidden", [(7, 5), (6,), ()])
@pytest.mark.parametrize("observations", [VECTOR, PIXELS])
def test_gradients_are_autograds(hidden: tuple[int, ...], observations: Observations) -> None:
    torch.manual_seed(0)
    agent = discrete_agent(hidden, observations)
    steps, rewards = steps_of(8, CHOICE, observations), torch.randn(8)
    other = copy.deepcopy(agent)
    sac_round(agent, SACOptimizer(agent, NUMBERS), steps, rewards, NUMBERS)
    learning = {name: weight for name, weight in other.named_parameters() if weight.requires_grad}
    wanted = torch.autograd.grad(discrete_losses(other, steps, rewards, NUMBERS), list(learning.values()))
    mine = dict(agent.named_parameters())
    for name, expected in zip(learning, wanted, strict=True):
        torch.testing.assert_close(mine[name].grad, expected, rtol=2e-4, atol=2e-6, msg=name)
        assert expected.abs().max() > 0


def test_a_bandit_gives_the_boltzmann_distribution() -> None:
    torch.manual_seed(0)
    agent = DiscreteSACAgent(Normaliser(1), 1, CHOICE, (16,), alpha=0.5)
    numbers = SAC(batch=64, actor_lr=1e-2, critic_lr=1e-2, alpha_lr=0.0)
    optimizer = SACOptimizer(agent, numbers)
    pays = torch.tensor([0.0, 0.5, 1.0])
    acts, zeros = torch.randint(3, (64 * 600,)), torch.zeros(64 * 600, 1)
    steps = Transitions(zeros, acts, zeros, torch.ones(len(acts)).bool())
    sac_round(agent, optimizer, steps, pays[acts], numbers)
    obs = torch.zeros(6000, 1)
    wanted = (pays / 0.5).softmax(0)
    torch.testing.assert_close(agent.actor(agent.encoder(obs[:1]))[0, 0].softmax(0), wanted, atol=0.02, rtol=0)
    torch.testing.assert_close(torch.bincount(agent.act(obs), minlength=3) / 6000, wanted, atol=0.04, rtol=0)
    assert agent.mode(obs[:2]).tolist() == [2, 2]
    assert agent.act(obs).dtype == torch.int64


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_the_temperature_finds_the_target_entropy(share: float) -> None:
    torch.manual_seed(0)
    agent = DiscreteSACAgent(Normaliser(1), 1, CHOICE, (16,), alpha=1.0)
    numbers = SAC(batch=64, actor_lr=1e-2, critic_lr=1e-2, alpha_lr=1e-2, entropy_share=share)
    acts, zeros = torch.randint(3, (64 * 1000,)), torch.zeros(64 * 1000, 1)
    steps = Transitions(zeros, acts, zeros, torch.ones(len(acts)).bool())
    metrics = sac_round(agent, SACOptimizer(agent, numbers), steps, torch.tensor([0.0, 0.5, 1.0])[acts], numbers)
    assert metrics["entropy"].item() == pytest.approx(share * math.log(3), abs=0.05)


def test_metrics_are_of_the_actions_taken() -> None:
    torch.manual_seed(0)
    agent = discrete_agent()
    with torch.no_grad():
        agent.critics.weights[-1].zero_()
        agent.critics.biases[-1][:, 0] = torch.tensor([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]])
    steps = steps_of(8, CHOICE)._replace(actions=torch.full((8,), 1), terminated=torch.ones(8).bool())
    metrics = sac_round(agent, SACOptimizer(agent, NUMBERS), steps, torch.zeros(8), NUMBERS)
    assert metrics["q"].item() == pytest.approx(3)
    assert metrics["critic_loss"].item() == pytest.approx(0.5 * (4 + 16))


def test_a_resumed_run_is_the_run_that_never_stopped() -> None:
    torch.manual_seed(0)
    agent = discrete_agent()
    optimizer = SACOptimizer(agent, NUMBERS)
    rounds = [(steps_of(16, CHOICE), torch.randn(16)) for _ in range(2)]
    sac_round(agent, optimizer, *rounds[0], NUMBERS)
    saved = copy.deepcopy((agent.state_dict(), optimizer.state_dict()))
    sac_round(agent, optimizer, *rounds[1], NUMBERS)
    fresh = discrete_agent()
    second = SACOptimizer(fresh, NUMBERS)
    fresh.load_state_dict(saved[0])
    second.load_state_dict(saved[1])
    sac_round(fresh, second, *rounds[1], replace(NUMBERS))
    assert all(torch.equal(*pair) for pair in zip(agent.parameters(), fresh.parameters(), strict=True))


@pytest.mark.parametrize("actions", [BOX, Actions("box", 1, (0.0,), (math.inf,))])
def test_a_box_is_refused(actions: Actions) -> None:
    with pytest.raises(InputError, match="needs a Discrete"):
        DiscreteSACAgent(Normaliser(4), 4, actions)
