import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rl.control.normaliser import Normaliser
from rl.control.sac import SAC, SACAgent, SACOptimizer, sac_round
from rl.control.spaces import Actions
from rl.control.transitions import Transitions
from rl.runtime.errors import Diverged, InputError
from tests.rl.control.offpolicy import BOX, CHOICE, PIXELS, VECTOR, log_density, sac_agent, sac_losses, steps_of

NUMBERS = SAC(batch=8)


def one_update(agent: SACAgent, steps: Transitions, rewards: Tensor, numbers: SAC) -> tuple[SACOptimizer, Tensor]:
    """Update once; give the noise that was used, too."""
    optimizer = SACOptimizer(agent, numbers)
    torch.manual_seed(7)
    noise = torch.randn(1, 2, numbers.batch, agent.numbers)[0]
    torch.manual_seed(7)
    sac_round(agent, optimizer, steps, rewards, numbers)
    return optimizer, noise


@pytest.mark.parametrize("hidden", [(7, 5), (6,), (4, 4, 4)])
@pytest.mark.parametrize("observations", [VECTOR, PIXELS])
def test_gradients_are_autograds(hidden: tuple[int, ...], observations: object) -> None:
    torch.manual_seed(0)
    agent = sac_agent(hidden, PIXELS if observations is PIXELS else VECTOR)
    steps, rewards = steps_of(8, observations=PIXELS if observations is PIXELS else VECTOR), torch.randn(8)
    if observations is VECTOR:
        agent.encoder.add(steps.obs * 3 + 1)
    other = copy.deepcopy(agent)
    _, noise = one_update(agent, steps, rewards, NUMBERS)
    learning = [weight for weight in other.parameters() if weight.requires_grad]
    wanted = torch.autograd.grad(sac_losses(other, steps, rewards, noise, NUMBERS), learning)
    mine = [weight.grad for weight in agent.parameters() if weight.requires_grad]
    for (name, _), gradient, expected in zip(other.named_parameters(), mine, wanted, strict=False):
        torch.testing.assert_close(gradient, expected, rtol=2e-4, atol=2e-6, msg=name)
    assert all(gradient.abs().max() > 0 for gradient in mine)


def test_spreads_beyond_their_bounds_have_no_slope_and_those_within_do() -> None:
    torch.manual_seed(0)
    agent = sac_agent()
    with torch.no_grad():
        agent.actor.net.weights[-1][:, :, 2:] = 0
        agent.actor.net.biases[-1][0, 0, 2:] = torch.tensor([2.5, 1.5])
    one_update(agent, steps_of(8), torch.randn(8), NUMBERS)
    of_log_stds = agent.actor.net.biases[-1].grad[0, 0, 2:]
    assert of_log_stds[0] == 0
    assert of_log_stds[1] != 0


def test_spreads_have_the_papers_bounds() -> None:
    agent = sac_agent()
    silent(agent)
    with torch.no_grad():
        agent.actor.net.biases[-1][0, 0, 2:] = torch.tensor([-30.0, 30.0])
    assert agent.actor(torch.zeros(1, 4))[1].tolist() == [[-20.0, 2.0]]


def silent(agent: SACAgent, spread: float = -20.0) -> None:
    """Make the critics answer their last bias alone, and the actor tanh of its last bias, hardly spread."""
    with torch.no_grad():
        for net in (agent.actor.net, agent.critics.net, agent.targets.net):
            for weight in net.weights:
                weight.zero_()
        agent.actor.net.biases[-1][0, 0] = torch.tensor([0.0, 0.0, spread, spread])


def test_targets_by_hand_and_a_truncation_is_no_termination() -> None:
    torch.manual_seed(0)
    agent = sac_agent()
    silent(agent, spread=0.0)
    alpha = 0.4
    with torch.no_grad():
        agent.critics.net.biases[-1][:, 0, 0] = torch.tensor([0.0, 1.0])
        agent.targets.net.biases[-1][:, 0, 0] = torch.tensor([5.0, 3.0])
    # row 0 terminated; row 1 went on, or was truncated: the steps do not tell these apart, and must not
    steps = steps_of(2)._replace(terminated=torch.tensor([True, False]))
    numbers = SAC(gamma=0.9, batch=2)
    _, noise = one_update(agent, steps, torch.tensor([1.0, 2.0]), numbers)
    log_prob = log_density(noise[1], torch.zeros(()), torch.zeros(2))[1]
    targets = torch.tensor([1.0, 2 + 0.9 * (3.0 - alpha * log_prob)])
    wanted = torch.tensor([(0 - targets).mean(), (1 - targets).mean()])
    torch.testing.assert_close(agent.critics.net.biases[-1].grad[:, 0, 0], wanted, rtol=1e-5, atol=1e-6)


def test_next_obs_of_a_terminated_step_does_not_matter() -> None:
    torch.manual_seed(0)
    agents = [sac_agent() for _ in range(1)]
    agents.append(copy.deepcopy(agents[0]))
    steps = steps_of(8)._replace(terminated=torch.tensor([True] * 4 + [False] * 4))
    for agent, ends in zip(agents, (0.0, 5.0), strict=True):
        changed = steps.next_obs.clone()
        changed[:4] += ends
        one_update(agent, steps._replace(next_obs=changed), torch.ones(8), NUMBERS)
    for one, two in zip(*(agent.parameters() for agent in agents), strict=True):
        assert torch.equal(one, two)


def test_the_temperatures_slope_is_the_losses() -> None:
    torch.manual_seed(0)
    agent = sac_agent()
    steps, rewards = steps_of(8), torch.randn(8)
    numbers = replace(NUMBERS, entropy_per_number=-0.7)
    before = copy.deepcopy(agent)
    _, noise = one_update(agent, steps, rewards, numbers)
    means, log_stds = before.actor(before.encoder(steps.obs))
    log_probs = log_density(means + log_stds.exp() * noise[0], means, log_stds).detach().double()

    def loss(log_alpha: float) -> float:
        return float((-log_alpha * (log_probs + 2 * -0.7)).mean())

    at = before.log_alpha.item()
    slope = (loss(at + 1e-3) - loss(at - 1e-3)) / 2e-3
    assert float(agent.log_alpha.grad) == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize(("wanted", "rises"), [(-10.0, False), (10.0, True)])
def test_a_temperature_rises_where_entropy_lacks(wanted: float, rises: bool) -> None:
    torch.manual_seed(0)
    agent = sac_agent()
    before = agent.log_alpha.item()
    one_update(agent, steps_of(8), torch.zeros(8), replace(NUMBERS, entropy_per_number=wanted))
    assert (agent.log_alpha.item() > before) == rises


def test_a_learning_rate_of_zero_keeps_the_temperature() -> None:
    torch.manual_seed(0)
    agent = sac_agent()
    before = agent.log_alpha.detach().clone()
    one_update(agent, steps_of(8), torch.zeros(8), replace(NUMBERS, alpha_lr=0.0))
    assert torch.equal(agent.log_alpha, before)


def test_targets_follow_the_critics_alone() -> None:
    torch.manual_seed(0)
    agent = sac_agent()
    before = copy.deepcopy(agent.targets)
    one_update(agent, steps_of(8), torch.randn(8), replace(NUMBERS, tau=0.25))
    for old, new, online in zip(
        before.parameters(), agent.targets.parameters(), agent.critics.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * online)
        assert not torch.equal(new, old)


def test_a_round_is_its_updates_one_by_one() -> None:
    torch.manual_seed(0)
    agent = sac_agent()
    other = copy.deepcopy(agent)
    steps, rewards = steps_of(40 * 8), torch.randn(40 * 8)
    optimizer, second = SACOptimizer(agent, NUMBERS), SACOptimizer(other, NUMBERS)
    torch.manual_seed(1)
    sac_round(agent, optimizer, steps, rewards, NUMBERS)
    noise = torch.manual_seed(1)
    for ahead in (16, 16, 8):  # as the noise is drawn
        drawn = torch.randn(ahead, 2, 8, 2)
        held = noise.get_state()
        for update in range(ahead):
            part = slice(0, 8)
            _with_noise(other, second, Transitions(*(f[part] for f in steps)), rewards[part], drawn[update])
            steps, rewards = Transitions(*(f[8:] for f in steps)), rewards[8:]
        noise.set_state(held)
    for one, two in zip(agent.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def _with_noise(agent: SACAgent, optimizer: SACOptimizer, steps: Transitions, rewards: Tensor, noise: Tensor) -> None:
    learning = [weight for weight in agent.parameters() if weight.requires_grad]
    gradients = torch.autograd.grad(sac_losses(agent, steps, rewards, noise, NUMBERS), learning)
    for weight, gradient in zip(learning, gradients, strict=True):
        weight.grad.copy_(gradient)
    optimizer.adam.step()
    optimizer.targets.values.lerp_(optimizer.followed, NUMBERS.tau)


def test_log_densities_are_those_of_torch() -> None:
    torch.manual_seed(0)
    agent = sac_agent()
    features, noise = torch.randn(6, 4), torch.randn(6, 2)
    unit, log_probs = agent.actor.sample_with_log_prob(features, noise)
    means, log_stds = agent.actor(features)
    squashed = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(means, log_stds.exp()), [torch.distributions.TanhTransform(cache_size=1)]
    )
    raw = means + log_stds.exp() * noise
    torch.testing.assert_close(unit, raw.tanh())
    wanted = squashed.log_prob(squashed.transforms[0](raw)).sum(-1)
    torch.testing.assert_close(log_probs, wanted, rtol=1e-4, atol=1e-4)


def test_actions_stay_within_their_bounds_and_the_mode_is_the_middle_of_samples() -> None:
    torch.manual_seed(0)
    agent = sac_agent()
    with torch.no_grad():
        agent.actor.net.biases[-1][..., 2:] = -1
    obs = torch.randn(1, 4).expand(4000, 4)
    acts = agent.act(obs)
    low, high = torch.tensor(BOX.low), torch.tensor(BOX.high)
    assert acts.dtype == torch.float32
    assert (acts >= low).all()
    assert (acts <= high).all()
    assert acts.std(0).min() > 0.05
    assert not acts.requires_grad
    # tanh is monotone: the median of samples is the squashed mean
    torch.testing.assert_close(acts.median(0).values, agent.mode(obs)[0], atol=0.1, rtol=0)
    torch.testing.assert_close(agent.bounds.to_unit(agent.bounds.to_env(torch.eye(2))), torch.eye(2))
    torch.testing.assert_close(agent.bounds.to_env(torch.tensor([[-1.0, 1.0]])), torch.tensor([[-1.0, 6.0]]))


@pytest.mark.parametrize("actions", [CHOICE, Actions("box", 2, (-1.0, -math.inf), (1.0, 1.0))])
def test_unbounded_and_discrete_actions_are_refused(actions: Actions) -> None:
    with pytest.raises(InputError, match="need a bounded Box"):
        SACAgent(Normaliser(4), 4, actions)


def test_a_bandit_with_a_known_optimum_is_solved() -> None:
    """One step pays -(a - 0.5)^2 / 0.5: with temperature alpha the best density is near N(0.5, alpha / 4)."""
    torch.manual_seed(0)
    actions = Actions("box", 1, (-2.0,), (2.0,))
    agent = SACAgent(Normaliser(1), 1, actions, (64, 64), alpha=0.32)
    numbers = SAC(batch=64, actor_lr=3e-3, critic_lr=3e-3, alpha_lr=0.0)
    optimizer = SACOptimizer(agent, numbers)
    for _ in range(30):
        acts = torch.rand(64 * 50, 1) * 4 - 2
        obs, ends = torch.zeros_like(acts), torch.ones(len(acts)).bool()
        steps = Transitions(obs, acts, obs, ends)
        sac_round(agent, optimizer, steps, -2 * (acts[:, 0] - 0.5).square(), numbers)
    obs = torch.zeros(2000, 1)
    assert float(agent.mode(obs[:1])) == pytest.approx(0.5, abs=0.1)
    assert float(agent.act(obs).std()) == pytest.approx(math.sqrt(0.32 / 4), rel=0.25)


@pytest.mark.parametrize("observations", [VECTOR, PIXELS])
def test_a_resumed_run_is_the_run_that_never_stopped(observations: object) -> None:
    layout = PIXELS if observations is PIXELS else VECTOR

    def make() -> tuple[SACAgent, SACOptimizer]:
        torch.manual_seed(0)
        agent = sac_agent(observations=layout)
        return agent, SACOptimizer(agent, NUMBERS)

    def go_on(agent: SACAgent, optimizer: SACOptimizer, seed: int) -> None:
        torch.manual_seed(seed)
        if layout is VECTOR:
            agent.encoder.add(torch.randn(5, 4))
        sac_round(agent, optimizer, steps_of(24, observations=layout), torch.randn(24), NUMBERS)

    agent, optimizer = make()
    go_on(agent, optimizer, 1)
    saved = copy.deepcopy((agent.state_dict(), optimizer.state_dict()))
    go_on(agent, optimizer, 2)
    torch.manual_seed(99)
    fresh = sac_agent(observations=layout)
    second = SACOptimizer(fresh, NUMBERS)
    go_on(fresh, second, 5)
    fresh.load_state_dict(saved[0])
    second.load_state_dict(saved[1])
    go_on(fresh, second, 2)
    for (name, one), two in zip(agent.state_dict().items(), fresh.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


def test_metrics_are_of_the_last_update() -> None:
    torch.manual_seed(0)
    agent = sac_agent()
    silent(agent)
    with torch.no_grad():
        agent.critics.net.biases[-1][:, 0, 0] = torch.tensor([1.0, 3.0])
    steps = steps_of(8)._replace(terminated=torch.ones(8).bool())
    metrics = sac_round(agent, SACOptimizer(agent, NUMBERS), steps, torch.full((8,), 5.0), NUMBERS)
    assert float(metrics["critic_loss"]) == pytest.approx(0.5 * (16 + 4))
    assert float(metrics["q"]) == pytest.approx(2)
    assert float(metrics["alpha"]) == pytest.approx(0.4)


def test_what_does_not_divide_or_was_moved_is_refused() -> None:
    torch.manual_seed(0)
    agent = sac_agent()
    optimizer = SACOptimizer(agent, NUMBERS)
    for rows in (0, 7, 9):
        with pytest.raises(ValueError, match="no multiple of the batch 8"):
            sac_round(agent, optimizer, steps_of(rows), torch.zeros(rows), NUMBERS)
    agent.double().float()
    with pytest.raises(ValueError, match="moved"):
        sac_round(agent, optimizer, steps_of(8), torch.zeros(8), NUMBERS)


def test_a_nan_names_its_net() -> None:
    torch.manual_seed(0)
    agent = sac_agent()
    with pytest.raises(Diverged, match=r"SACAgent\.(actor|critics)"):
        sac_round(agent, SACOptimizer(agent, NUMBERS), steps_of(8), torch.full((8,), torch.nan), NUMBERS)
