import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from image_gans.judging import Seen
from image_gans.margins import LogitReward, SampleMargin, by_margins, distance
from image_gans.numbers import Facts, Numbers
from rl.objectives import Wasserstein

REAL = torch.tensor([[[1.0, 1.0]], [[0.0, -1.0]], [[0.0, 0.0]]])
FAKE = torch.tensor([[[0.0, -1.0]], [[0.0, 0.0]], [[0.0, 0.0]]])  # at distances 1.5, 0.5, 0
ON_REAL, ON_FAKE = torch.tensor([1.0, 3.0, -1.0]), torch.tensor([2.0, 0.0, -0.5])


def cost(slope, margin=2.0, shift=0.0, on_real=ON_REAL, on_fake=ON_FAKE):
    terms = SampleMargin(margin, slope)
    real, fake = Seen(REAL, on_real + shift, torch.empty(3, 0)), Seen(FAKE, on_fake + shift, torch.empty(3, 0))
    assert terms.of_generator(torch.zeros(3), real, fake) == {}
    return terms.of_discriminator(torch.zeros(3), real, fake)["margin"]


def test_distance_by_hand():
    torch.testing.assert_close(distance(REAL, FAKE), torch.tensor([1.5, 0.5, 0.0]))


# margin 2 * distance + fake - real: 3 + 1, 1 - 3 (kept), 0 + 0.5
@pytest.mark.parametrize(("slope", "expected"), [(0, 4.5 / 3), (0.2, 4.1 / 3), (1, 2.5 / 3), (-1, 6.5 / 3)])
def test_costs_by_hand(slope, expected):
    assert cost(slope).item() == pytest.approx(expected)


def test_half_of_the_margin():
    assert cost(0, margin=1.0).item() == pytest.approx((2.5 + 0 + 0.5) / 3)


def test_slope_one_is_wasserstein_but_for_a_constant():
    on_real, on_fake = ON_REAL.clone().requires_grad_(), ON_FAKE.clone().requires_grad_()
    ours = torch.autograd.grad(cost(1, on_real=on_real, on_fake=on_fake), [on_real, on_fake])
    theirs = torch.autograd.grad(Wasserstein().discriminator_loss(on_real, on_fake), [on_real, on_fake])
    torch.testing.assert_close(ours, theirs)


def test_slope_zero_lets_kept_margins_go():
    on_real = ON_REAL.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(cost(0, on_real=on_real), on_real)
    torch.testing.assert_close(gradient, torch.tensor([-1 / 3, 0, -1 / 3]))


@given(st.floats(-50, 50), st.floats(-1, 1))
def test_a_constant_on_all_logits_changes_nothing(shift, slope):
    assert cost(slope, shift=shift).item() == pytest.approx(cost(slope).item(), abs=1e-4)


def test_every_place_has_the_margin_of_its_sample():
    maps = [logits.view(3, 1, 1).expand(3, 2, 4) for logits in (ON_REAL, ON_FAKE)]
    torch.testing.assert_close(cost(0.2, on_real=maps[0], on_fake=maps[1]), cost(0.2))


def test_the_logit_is_the_reward_and_no_loss():
    objective = LogitReward()
    assert objective.discriminator_loss(ON_REAL, ON_FAKE) == 0
    half = ON_FAKE.to(torch.bfloat16)
    assert torch.equal(objective.reward(half), half.float())


def test_both_numbers_reach_the_terms():
    facts = Facts((2,), 0, torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))
    assert by_margins(Numbers(margin=3.0, slope=0.5, width=8, d_norm="none"), facts).terms == SampleMargin(3.0, 0.5)
