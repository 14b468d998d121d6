import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from rl import AIRL, FAIRL, GAIL, LeastSquares, NonSaturating, Wasserstein
from rl.control.earning import Earned, Ends, absorbing_logit, ending
from rl.control.transitions import Transitions

GAMMA = 0.9
FORMS = {
    GAIL(): lambda x: math.log1p(math.exp(x)),
    AIRL(): lambda x: x,
    FAIRL(): lambda x: -x * math.exp(x),
    NonSaturating(): lambda x: -math.log1p(math.exp(-x)),
    LeastSquares(): lambda x: -((x - 1) ** 2) / 2,
    Wasserstein(): lambda x: x,
}


def steps(logits, terminated):
    """Steps whose logit is the only number of their observation."""
    obs = torch.tensor(logits, dtype=torch.float64).unsqueeze(1)
    return Transitions(obs, torch.zeros(len(logits)), obs, torch.tensor(terminated))


def read(found):
    return found.obs.squeeze(-1)


# --- the logit of the absorbing state

counts = st.floats(0, 1e4)


@given(counts, st.floats(1, 1e6), counts, st.floats(1, 1e6))
def test_the_absorbing_logit_is_the_best_of_an_isolated_point(expert_ends, expert_steps, own_ends, own_steps):
    """The loss of that point alone, its mass on either side being terminations for each step, has no slope there."""
    logit = absorbing_logit(Ends(expert_ends, expert_steps), Ends(own_ends, own_steps))
    real, own = (expert_ends + 0.5) / expert_steps, (own_ends + 0.5) / own_steps
    at = torch.tensor(logit, dtype=torch.float64, requires_grad=True)
    loss = real * F.softplus(-at) + own * F.softplus(at)
    (slope,) = torch.autograd.grad(loss, at)
    assert abs(float(slope)) <= 1e-9 * (real + own)
    for other in (logit - 0.1, logit + 0.1):
        beside = torch.tensor(other, dtype=torch.float64)
        assert real * F.softplus(-beside) + own * F.softplus(beside) > loss


def test_the_absorbing_logit_by_hand():
    assert absorbing_logit(Ends(9.5, 100), Ends(19.5, 400)) == pytest.approx(math.log(0.1 / 0.05))
    assert absorbing_logit(Ends(0, 1000), Ends(0, 1000)) == 0
    assert absorbing_logit(Ends(3, 1000), Ends(30, 1000)) < 0
    assert absorbing_logit(Ends(0, 1000), Ends(100, 1000)) == pytest.approx(math.log(0.5 / 100.5))


# --- what an end is worth


@pytest.mark.parametrize("objective", FORMS)
@pytest.mark.parametrize("logit", [-2.0, 0.0, 1.3])
def test_an_end_is_worth_the_absorbing_state_for_ever_after(objective, logit):
    by_terms = sum(GAMMA**k * FORMS[objective](logit) for k in range(1, 500))
    assert ending(objective, logit, GAMMA) == pytest.approx(by_terms, rel=1e-5, abs=1e-6)


def test_the_absorbing_logit_is_held_within_the_limit():
    assert ending(AIRL(), 25.0, GAMMA, limit=3.0) == pytest.approx(27)
    assert ending(AIRL(), -25.0, GAMMA, limit=3.0) == pytest.approx(-27)


@dataclass(frozen=True)
class Raised:
    """An objective whose every reward is higher by a constant."""

    by: float

    def discriminator_loss(self, real, fake):
        return GAIL().discriminator_loss(real, fake)

    def reward(self, fake, real=None):
        return GAIL().reward(fake) + self.by


LOGITS = {(0, 0): 0.7, (0, 1): -1.2, (1, 0): 0.1, (1, 1): 2.0, (2, 0): -0.4, (2, 1): 0.3}
ABSORBING = -0.8
TERMINATES = {(0, 1), (1, 1), (2, 0)}
HORIZON = 5


def trajectories():
    """Every way through a world of three states in a ring: each pair goes on or ends it."""
    for choices in itertools.product((0, 1), repeat=HORIZON):
        state, path = 0, []
        for action in choices:
            path.append((state, action))
            if (state, action) in TERMINATES:
                break
            state = (state + 1) % 3
        yield tuple(path)


def returns(by, ends=True):
    """The return of each trajectory; one that was cut off is worth, from there on, the reward of its last pair."""
    objective = Raised(by)
    earned = Earned(read, objective, ending=ending(objective, ABSORBING, GAMMA) if ends else 0.0)
    found = {}
    for path in set(trajectories()):
        terminated = path[-1] in TERMINATES
        paid = earned(steps([LOGITS[pair] for pair in path], [False] * (len(path) - 1) + [terminated]))
        total = sum(GAMMA**time * float(reward) for time, reward in enumerate(paid))
        rest = 0 if terminated else float(paid[-1]) / (1 - GAMMA)
        found[path] = total + GAMMA ** len(path) * rest
    return found


def test_a_constant_moves_every_return_alike_whatever_the_length():
    plain = returns(0.0)
    assert {len(path) for path in plain} == {1, 2, 3, 4, 5}
    for by in (-2.0, 1.0, 5.0):
        raised = returns(by)
        assert [raised[path] - plain[path] for path in plain] == pytest.approx([by / (1 - GAMMA)] * len(plain))


def test_without_the_absorbing_state_a_constant_decides():
    """Survival bias, which the test above would find: high rewards make the longest life the best, low ones the end."""
    best = {by: len(max(found := returns(by, ends=False), key=found.get)) for by in (-5.0, 5.0)}
    assert best == {-5.0: 1, 5.0: HORIZON}


# --- paying steps


@pytest.mark.parametrize("objective", FORMS)
def test_each_form_of_reward(objective):
    logits = [-2.0, -0.3, 0.0, 1.5]
    paid = Earned(read, objective)(steps(logits, [False] * 4))
    assert paid.tolist() == pytest.approx([FORMS[objective](logit) for logit in logits])


def test_logits_count_up_to_the_limit():
    paid = Earned(read, AIRL(), limit=2.0)(steps([-9.0, -1.0, 1.0, 9.0], [False] * 4))
    assert paid.tolist() == [-2, -1, 1, 2]
    assert Earned(read, AIRL())(steps([-99.0, 99.0], [False] * 2)).tolist() == [-10, 10]


def test_only_terminations_earn_the_end_besides():
    paid = Earned(read, AIRL(), ending=4.0)(steps([1.0, 1.0], [False, True]))
    assert paid.tolist() == [1, 5]


def test_places_are_kept_and_nothing_is_differentiated():
    weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
    flat = steps([1.0, 2.0, 3.0, 4.0], [False, True, False, False])
    folded = Transitions(*(field.unflatten(0, (2, 2)) for field in flat))
    paid = Earned(lambda found: read(found) * weight, GAIL(), ending=1.0)(folded)
    assert paid.shape == (2, 2)
    assert not paid.requires_grad
    assert torch.equal(paid.flatten(), Earned(read, GAIL(), ending=1.0)(flat))
