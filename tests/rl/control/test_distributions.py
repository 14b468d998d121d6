import math

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from rl.control.distributions import Choice, Gaussian, distribution
from rl.control.spaces import Actions
from rl.policies import GaussianHead

BOX = Actions("box", 3, (-1.0, 2.0, -math.inf), (1.0, 6.0, 5.0))


def test_the_space_decides() -> None:
    choice, gaussian = distribution(Actions("discrete", 4)), distribution(BOX, -0.5)
    assert isinstance(choice, Choice)
    assert isinstance(gaussian, Gaussian)
    assert (choice.outputs, choice.extra().tolist()) == (4, [])
    assert (gaussian.outputs, gaussian.extra().tolist()) == (3, [-0.5] * 3)


def test_bounded_numbers_are_half_ranges_from_the_middle() -> None:
    gaussian = Gaussian(BOX)
    outputs = torch.tensor([[1.0, -1.0, 7.0], [0.0, 0.5, 0.0]])
    actions = torch.tensor([[1.0, 2.0, 7.0], [0.0, 5.0, 0.0]])
    torch.testing.assert_close(gaussian.mode(outputs), actions)
    torch.testing.assert_close(gaussian.units(actions), outputs)
    assert gaussian.volume.item() == pytest.approx(math.log(2))


def test_samples_have_the_right_moments() -> None:
    torch.manual_seed(0)
    gaussian, rows = Gaussian(BOX), 40_000
    extra = torch.tensor([0.0, -1.0, 1.0])
    drawn = gaussian.sample(torch.tensor([[0.5, -0.5, 2.0]]).expand(rows, 3), extra)
    std = extra.exp() * torch.tensor([1.0, 2.0, 1.0])
    assert ((drawn.mean(0) - torch.tensor([0.5, 3.0, 2.0])).abs() < 5 * std / rows**0.5).all()
    assert ((drawn.std(0) / std - 1).abs() < 5 / (2 * rows) ** 0.5).all()
    outputs = torch.tensor([0.1, 0.6, 0.3]).log().expand(rows, 3)
    shares = torch.bincount(Choice(3).sample(outputs, torch.zeros(0)), minlength=3) / rows
    assert ((shares - torch.tensor([0.1, 0.6, 0.3])).abs() < 5 * 0.5 / rows**0.5).all()


def cases(rows: int = 6) -> list[tuple[Choice | Gaussian, torch.Tensor, torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    outputs, extra = torch.randn(rows, 3).double(), torch.randn(3).double()
    gaussian = Gaussian(BOX).double()
    return [
        (Choice(3), outputs, torch.zeros(0).double(), torch.randint(3, (rows,))),
        (gaussian, outputs, extra, torch.randn(rows, 3).double()),
    ]


def test_log_probabilities_and_entropies_are_torchs() -> None:
    (choice, outputs, none, picked), (gaussian, means, extra, numbers) = cases()
    theirs = Categorical(logits=outputs)
    torch.testing.assert_close(choice.log_prob(outputs, none, picked), (theirs.log_prob(picked), theirs.entropy()))
    normal = Independent(Normal(means, extra.exp()), 1)
    log_probs, entropies = gaussian.log_prob(means, extra, numbers)
    torch.testing.assert_close((log_probs, entropies), (normal.log_prob(numbers), normal.entropy()))
    head = GaussianHead(3, 3).double()
    head.linear.weight.data, head.log_std.data = torch.eye(3).double(), extra
    torch.testing.assert_close((log_probs, entropies), head.log_prob(means, numbers))


@pytest.mark.parametrize("of_entropy", [0.0, 0.7])
@pytest.mark.parametrize("case", [0, 1])
def test_slopes_are_autograds(case: int, of_entropy: float) -> None:
    its, outputs, extra, actions = cases()[case]
    outputs.requires_grad_()
    extra.requires_grad_()
    weights = torch.randn(len(outputs)).double()
    log_probs, entropies = its.log_prob(outputs, extra, actions)
    total = weights @ log_probs + of_entropy * entropies.sum()
    expected = torch.autograd.grad(total, (outputs, extra), allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        again, entropy, slope = its.slopes(outputs, extra, actions)
        torch.testing.assert_close((again, entropy), (log_probs, entropies))
        torch.testing.assert_close(slope(weights, of_entropy), expected)


def test_divergence_is_torchs_and_zero_only_at_home() -> None:
    (choice, outputs, none, _), (gaussian, means, extra, _) = cases()
    other, other_extra = outputs.flip(0), extra.flip(0)
    expected = kl_divergence(Categorical(logits=outputs), Categorical(logits=other))
    torch.testing.assert_close(choice.kl(outputs, none, other, none), expected)
    new = Independent(Normal(other, other_extra.exp()), 1)
    expected = kl_divergence(Independent(Normal(means, extra.exp()), 1), new)
    torch.testing.assert_close(gaussian.kl(means, extra, other, other_extra), expected)
    torch.testing.assert_close(gaussian.kl(means, extra, means, extra), torch.zeros(6).double())
    assert (expected > 0).all()
