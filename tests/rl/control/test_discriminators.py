import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch.nn import functional as F

from rl import GAIL, GradientPenalty, NoPenalty
from rl.control import spaces
from rl.control.discriminator_updates import VERDICTS, AutogradUpdates, bernoulli_entropy, verdicts
from rl.control.discriminators import (
    ShapedDiscriminator,
    SpectralLinear,
    StateReward,
    StepDiscriminator,
    build,
    embed,
    perceptron,
)
from rl.control.fused_discriminator import fast
from rl.control.transitions import Transitions
from rl.penalties import input_gradient
from rl.runtime import Engine, Runtime

GAMMA = 0.9


def transitions(obs, actions, next_obs=None, terminated=None):
    rows = len(obs)
    return Transitions(
        obs=obs,
        actions=actions,
        next_obs=obs if next_obs is None else next_obs,
        terminated=torch.zeros(rows, dtype=torch.bool) if terminated is None else torch.tensor(terminated),
    )


def actions_of(space):
    return spaces.actions(space, where="env")


def one_hot(states, number):
    return F.one_hot(torch.as_tensor(states), number).float()


# --- the best discriminator


@pytest.mark.parametrize("penalty", [NoPenalty(), GradientPenalty(0.0)])
def test_the_best_logit_is_the_log_density_ratio(penalty):
    """Four states and two actions, every pair as often as it comes, one table of logits; no sampling anywhere."""
    real = torch.tensor([[1, 7], [2, 4], [9, 3], [5, 1]])
    own = torch.tensor([[3, 3], [6, 2], [1, 8], [4, 5]])
    states, actions = (grid.flatten() for grid in torch.meshgrid(torch.arange(4), torch.arange(2), indexing="ij"))

    def enumerated(counts):
        again = counts.flatten()
        return transitions(one_hot(states.repeat_interleave(again), 4), actions.repeat_interleave(again))

    net = StepDiscriminator(4, actions_of(Discrete(2)), hidden=())
    optimizer = torch.optim.Adam(net.parameters(), 0.1, fused=True)
    engine = Engine(Runtime("cpu", "fp32"), 0)
    learn = fast(AutogradUpdates(net, GAIL(), penalty, optimizer, engine, int(real.sum()), 0.0))
    a, b = (Transitions(*(torch.cat([field] * 50) for field in enumerated(counts))) for counts in (real, own))
    for rate in (0.1,) * 10 + (0.01,) * 6:
        optimizer.param_groups[0]["lr"] = rate
        learn(a, b, (torch.zeros(a.rows), torch.zeros(a.rows)))
    logits = net(transitions(one_hot(states, 4), actions)).detach()
    wanted = (real.flatten() / real.sum()).log() - (own.flatten() / own.sum()).log()
    torch.testing.assert_close(logits, wanted, atol=1e-3, rtol=0)


def test_airl_recovers_a_state_reward_up_to_a_constant():
    """Fu et al. 2018, theorem 5.1: known dynamics, soft value iteration, every (s, a) weighed exactly.

    From each of five states one can stay, go on by one or by two: deterministic and decomposable. Both sides visit all
    states alike, the expert with its soft-optimal actions, the agent with uniform ones, whose log pi is subtracted.
    """
    reward = torch.tensor([0.3, -1.0, 0.8, 0.1, -0.4], dtype=torch.float64)
    after = torch.tensor([[state, (state + 1) % 5, (state + 2) % 5] for state in range(5)])
    values = torch.zeros(5, dtype=torch.float64)
    for _ in range(400):
        values = (reward.unsqueeze(1) + GAMMA * values[after]).logsumexp(1)
    log_expert = reward.unsqueeze(1) + GAMMA * values[after] - values.unsqueeze(1)
    assert torch.allclose(log_expert.exp().sum(1), torch.ones(5, dtype=torch.float64))

    torch.manual_seed(0)
    net = ShapedDiscriminator(5, GAMMA, hidden=()).double()
    states = torch.arange(5).repeat_interleave(3)
    steps = transitions(one_hot(states, 5).double(), torch.zeros(15), one_hot(after.flatten(), 5).double())
    real, own = log_expert.exp().flatten() / 5, torch.full((15,), 1 / 15, dtype=torch.float64)
    log_agent = torch.full((15,), 1 / 3, dtype=torch.float64).log()
    optimizer = torch.optim.LBFGS(
        net.parameters(), max_iter=3000, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss():
        optimizer.zero_grad()
        logits = net(steps) - log_agent
        told_apart = (real * F.softplus(-logits) + own * F.softplus(logits)).sum()
        told_apart.backward()
        return told_apart

    optimizer.step(loss)
    torch.testing.assert_close(net(steps).detach(), log_expert.flatten(), atol=1e-5, rtol=0)
    found = StateReward(net)(transitions(torch.eye(5).double(), torch.zeros(5))).detach()
    torch.testing.assert_close(found - found.mean(), reward - reward.mean(), atol=1e-3, rtol=0)
    h = net.h(torch.eye(5).double()).squeeze(1).detach()
    torch.testing.assert_close(h - h.mean(), values - values.mean(), atol=1e-3, rtol=0)


# --- AIRL's shaping


def shaped(g, h):
    """On one number: g(s) = g s + 0.5, h(s) = h s - 2."""
    net = ShapedDiscriminator(1, GAMMA, hidden=())
    with torch.no_grad():
        for layer, weight, bias in ((net.g[0], g, 0.5), (net.h[0], h, -2.0)):
            layer.weight.fill_(weight)
            layer.bias.fill_(bias)
    return net


def test_f_is_the_reward_and_the_discounted_step_of_the_potential():
    net = shaped(2.0, 3.0)
    steps = transitions(torch.tensor([[1.0], [1.0]]), torch.zeros(2), torch.tensor([[4.0], [4.0]]), [False, True])
    going_on = 2.5 + GAMMA * (12.0 - 2) - (3.0 - 2)
    ending = 2.5 + GAMMA * 0 - (3.0 - 2)
    assert net(steps).tolist() == pytest.approx([going_on, ending])
    assert StateReward(net)(steps).tolist() == pytest.approx([2.5, 2.5])


def test_a_termination_ends_the_shaping_and_a_time_limit_does_not():
    """Summed over an episode the shaping leaves -h(first), and, where it was only cut off, discount^n h(last)."""
    torch.manual_seed(1)
    net = ShapedDiscriminator(2, GAMMA, hidden=(4,), activation="tanh").double()
    path = torch.randn(6, 2, dtype=torch.float64)
    ages = GAMMA ** torch.arange(5, dtype=torch.float64)
    for terminated in (True, False):
        steps = transitions(path[:-1], torch.zeros(5), path[1:], [False] * 4 + [terminated])
        shaping = (ages * (net(steps) - net.state_reward(steps))).sum()
        first, last = net.h(path[0]).squeeze(), net.h(path[-1]).squeeze()
        left = -first if terminated else GAMMA**5 * last - first
        torch.testing.assert_close(shaping, left)


@pytest.mark.parametrize(("terminated", "wanted"), [(False, GAMMA - 1), (True, -1.0)])
def test_f_moves_with_the_level_of_h(terminated, wanted):
    net = ShapedDiscriminator(1, GAMMA, hidden=(3,)).double()
    steps = transitions(torch.ones(1, 1).double(), torch.zeros(1), torch.ones(1, 1).double() * 3, [terminated])
    with torch.no_grad():
        before = net(steps)
        net.h[-1].bias += 0.01
        moved = net(steps) - before
    assert float(moved / 0.01) == pytest.approx(wanted)


def test_f_has_the_gradient_of_finite_differences_in_what_followed():
    torch.manual_seed(2)
    net = ShapedDiscriminator(3, GAMMA, hidden=(5,), activation="tanh").double()
    steps = transitions(torch.randn(4, 3).double(), torch.zeros(4), torch.randn(4, 3).double(), [False, True] * 2)
    found, tiny = input_gradient(net, steps), 1e-6
    for field in ("obs", "next_obs"):
        for axis in torch.eye(3).double():
            held = getattr(steps, field)
            up, down = (net(steps._replace(**{field: held + sign * tiny * axis})) for sign in (1, -1))
            torch.testing.assert_close(
                (getattr(found, field) * axis).sum(1), (up - down) / (2 * tiny), rtol=1e-5, atol=1e-8
            )
    assert not found.next_obs[1::2].any()


# --- the perceptron on steps


def test_discrete_actions_have_a_logit_each():
    net = StepDiscriminator(2, actions_of(Discrete(3)), hidden=())
    obs = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    table = net.net(obs).detach()
    assert net(transitions(obs, torch.tensor([2, 0]))).tolist() == [float(table[0, 2]), float(table[1, 0])]


def test_bounded_actions_are_scaled_and_unbounded_ones_left():
    middle, reach = actions_of(Box(-1, 3, (2,))).scale
    assert (middle.tolist(), reach.tolist()) == ([1, 1], [2, 2])
    middle, reach = actions_of(Box(-float("inf"), float("inf"), (2,))).scale
    assert (middle.tolist(), reach.tolist()) == ([0, 0], [1, 1])
    net = StepDiscriminator(1, actions_of(Box(-1, 3, (2,))), hidden=())
    steps = transitions(torch.tensor([[7.0]]), torch.tensor([[-1.0, 3.0]]))
    assert net.inputs(steps).tolist() == [[7, -1, 1]]
    assert net.scale.tolist() == [1, 2, 2]
    torch.testing.assert_close(net(steps), net.net(torch.tensor([[7.0, -1.0, 1.0]])).squeeze(1))


@pytest.mark.parametrize(
    ("sees", "moved"), [("state", {"obs"}), ("state-action", {"obs", "actions"}), ("state-next", {"obs", "next_obs"})]
)
def test_it_sees_what_it_should(sees, moved):
    torch.manual_seed(0)
    net = StepDiscriminator(2, actions_of(Box(-1, 1, (2,))), sees, activation="tanh")
    steps = transitions(torch.randn(3, 2), torch.rand(3, 2), torch.randn(3, 2))
    found = {
        field
        for field in ("obs", "actions", "next_obs")
        if not torch.equal(net(steps), net(steps._replace(**{field: getattr(steps, field) + 1})))
    }
    assert found == moved


def test_any_places_are_judged_like_rows():
    net = StepDiscriminator(2, actions_of(Discrete(2)))
    steps = transitions(torch.randn(6, 2), torch.randint(0, 2, (6,)))
    folded = Transitions(*(field.unflatten(0, (2, 3)) for field in steps))
    torch.testing.assert_close(net(folded).flatten(), net(steps))


def test_power_iterations_find_the_largest_singular_value():
    torch.manual_seed(0)
    layer = SpectralLinear(4, 3)
    before = layer.direction.clone()
    layer.eval()(torch.randn(2, 4))
    assert torch.equal(layer.direction, before)
    layer.train()
    for _ in range(100):
        layer(torch.randn(2, 4))
    x = torch.randn(5, 4)
    wanted = F.linear(x, layer.weight / torch.linalg.matrix_norm(layer.weight, 2), layer.bias)
    torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)


def test_a_perceptron_is_made_as_asked():
    kinds = [type(layer).__name__ for layer in perceptron(2, (3, 4), 1, True, 0.1, "tanh")]
    assert kinds == ["SpectralLinear", "Tanh", "Dropout", "SpectralLinear", "Tanh", "Dropout", "SpectralLinear"]
    assert [type(layer).__name__ for layer in perceptron(2, (3,), 1)] == ["Linear", "ReLU", "Linear"]


@pytest.mark.parametrize("kind", ["step", "shaped", "state reward"])
def test_a_description_builds_the_same(kind):
    actions, chosen = actions_of(Discrete(2)), {"hidden": (3,), "activation": "tanh"}
    made = (
        StepDiscriminator(2, actions, "state-next", spectral=True, dropout=0.2, **chosen)
        if kind == "step"
        else ShapedDiscriminator(2, 0.8, **chosen)
    )
    made = StateReward(made) if kind == "state reward" else made
    again = build(made.description, actions)
    again.load_state_dict(made.state_dict())
    assert again.description == made.description
    steps = transitions(torch.randn(3, 2), torch.tensor([0, 1, 0]), torch.randn(3, 2))
    assert torch.equal(again.eval()(steps), made.eval()(steps))
    with pytest.raises(KeyError):
        build({**ShapedDiscriminator(2, 0.8).description, "kind": "oracle"}, actions)


def test_dropout_is_on_while_it_learns_and_off_when_it_judges():
    torch.manual_seed(0)
    net = StepDiscriminator(2, actions_of(Discrete(2)), dropout=0.5).eval()
    optimizer = torch.optim.Adam(net.parameters(), 0.0)
    learn = AutogradUpdates(net, GAIL(), NoPenalty(), optimizer, Engine(Runtime("cpu", "fp32"), 0), 5, 0.0)
    steps, none = transitions(torch.randn(5, 2), torch.zeros(5, dtype=torch.int64)), (torch.zeros(5), torch.zeros(5))
    first, second = learn(steps, steps, none), learn(steps, steps, none)
    assert not torch.equal(first, second)
    assert not net.training


def test_no_gradient_reaches_the_encoder():
    encoder = torch.nn.Linear(2, 3)
    steps = embed(encoder, transitions(torch.randn(2, 2), torch.zeros(2), torch.randn(2, 2)), actions_of(Discrete(2)))
    assert steps.obs.shape == steps.next_obs.shape == (2, 3)
    assert not steps.obs.requires_grad
    assert not torch.equal(steps.obs, steps.next_obs)


# --- what is told of an update


def test_verdicts_by_hand():
    on_real, on_own = torch.tensor([1.0, -1.0, 2.0, 3.0]), torch.tensor([-2.0, 0.5, -1.0, 2.5])
    told = dict(zip(VERDICTS, verdicts(torch.tensor(7.0), on_real, on_own).tolist(), strict=True))
    wanted = {"loss": 7, "accuracy_expert": 0.75, "accuracy_agent": 0.5, "logit_expert": 1.25, "logit_agent": 0}
    assert told == {f"d/{name}": value for name, value in wanted.items()}


def test_the_entropy_of_a_verdict():
    logits = torch.tensor([0.0, 1.5, -4.0], dtype=torch.float64)
    sure = logits.sigmoid()
    by_hand = -(sure * sure.log() + (1 - sure) * (1 - sure).log())
    assert float(bernoulli_entropy(logits)) == pytest.approx(float(by_hand.mean()))
    assert float(bernoulli_entropy(logits[:1])) == pytest.approx(0.693147, abs=1e-6)


def test_actions_are_judged_as_the_environment_clipped_them():
    box = spaces.Actions("box", 2, (-1.0, 0.0), (1.0, float("inf")))
    steps = transitions(torch.zeros(2, 2), torch.tensor([[-3.0, -3.0], [3.0, 3.0]]), torch.zeros(2, 2))
    assert torch.equal(embed(torch.nn.Identity(), steps, box).actions, torch.tensor([[-1.0, 0.0], [1.0, 3.0]]))
