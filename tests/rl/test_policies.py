import math

import pytest
import torch
from torch import nn

from rl.discriminator import frozen
from rl.policies import (
    CategoricalHead,
    GaussianHead,
    ValueHead,
    categorical_entropy,
    categorical_log_prob,
    categorical_sample,
)


def test_categorical_by_hand():
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]], dtype=torch.float64).log() + 3
    actions = torch.tensor([1, 2])
    torch.testing.assert_close(categorical_log_prob(logits, actions).exp(), torch.tensor([0.25, 0.75]).double())
    expected = torch.tensor([1.5 * math.log(2), 0.25 * math.log(8) + 0.75 * math.log(4 / 3)], dtype=torch.float64)
    torch.testing.assert_close(categorical_entropy(logits), expected)


def test_impossible_actions():
    logits = torch.tensor([[0.0, 0.0, -math.inf]], requires_grad=True)
    entropy = categorical_entropy(logits)
    assert entropy.item() == pytest.approx(math.log(2))
    assert torch.isfinite(torch.autograd.grad(entropy.sum(), logits)[0]).all()
    assert (categorical_sample(logits.expand(1000, 3)) != 2).all()


def test_sampling_has_the_right_frequencies():
    torch.manual_seed(0)
    p = torch.tensor([0.05, 0.15, 0.3, 0.5])
    drawn = categorical_sample(p.log().expand(100, 200, 4))
    assert drawn.shape == (100, 200)
    seen = torch.bincount(drawn.flatten(), minlength=4) / drawn.numel()
    # five standard errors, at most 6e-7 a class to be wrong by chance; the seed is fixed anyway
    assert ((seen - p).abs() < 5 * (p * (1 - p) / drawn.numel()).sqrt()).all()


def test_categorical_head():
    torch.manual_seed(0)
    head, features = CategoricalHead(8, 5), torch.randn(3, 4, 8)
    actions = head.act(features)
    assert actions.shape == (3, 4)
    log_probs, entropies = head.log_prob(features, actions)
    every = torch.stack([head.log_prob(features, torch.full((3, 4), a))[0] for a in range(5)], -1)
    torch.testing.assert_close(every.exp().sum(-1), torch.ones(3, 4))
    torch.testing.assert_close(every.gather(-1, actions[..., None])[..., 0], log_probs)
    torch.testing.assert_close(-(every.exp() * every).sum(-1), entropies)
    assert torch.equal(head.mode(features), every.argmax(-1))
    assert (entropies > math.log(5) - 0.01).all()  # nearly equal at the start


def test_gaussian_head_by_hand_and_against_torch():
    torch.manual_seed(0)
    head, features = GaussianHead(8, 3, scale=1.0).double(), torch.randn(6, 8, dtype=torch.float64)
    with torch.no_grad():
        head.log_std.copy_(torch.tensor([-1.0, 0.0, 0.5]))
    actions = head.act(features)
    assert not actions.requires_grad
    theirs = torch.distributions.Normal(head(features), head.log_std.exp())
    log_probs, entropies = head.log_prob(features, actions)
    torch.testing.assert_close(log_probs, theirs.log_prob(actions).sum(-1))
    torch.testing.assert_close(entropies, theirs.entropy().sum(-1))
    # at the mean of a standard Gaussian the density is (2 pi)^-1/2 per number
    at_mean, _ = head.log_prob(features, head.mode(features))
    torch.testing.assert_close(at_mean, torch.full((6,), -1.5 * math.log(2 * math.pi) + 0.5, dtype=torch.float64))


def test_gaussian_samples_spread_as_they_say():
    torch.manual_seed(0)
    head = GaussianHead(2, 2, log_std=math.log(0.3))
    actions = head.act(torch.ones(20_000, 2))
    # the error of a standard deviation is about sigma / sqrt(2 n) = 0.5 %: five of them
    torch.testing.assert_close(actions.std(0), torch.full((2,), 0.3), rtol=0.025, atol=0)


def test_gradients_match_finite_differences():
    torch.manual_seed(0)
    features = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    choices = CategoricalHead(4, 5, scale=1.0).double()
    numbers = GaussianHead(4, 2, scale=1.0).double()
    actions, moves = choices.act(features), numbers.act(features)
    assert torch.autograd.gradcheck(lambda x: choices.log_prob(x, actions), (features,))
    assert torch.autograd.gradcheck(
        lambda x, s: torch.func.functional_call(
            _LogProb(numbers), {"head.log_std": s}, (x, moves)), (features, numbers.log_std),
    )  # fmt: skip


class _LogProb(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, x, moves):
        return self.head.log_prob(x, moves)


def test_value_head_and_float32_under_half_precision():
    features = torch.randn(3, 4, 8, dtype=torch.bfloat16)
    values = ValueHead(8).to(torch.bfloat16)(features)
    assert values.shape == (3, 4)
    assert values.dtype == torch.float32
    choice = CategoricalHead(8, 5).to(torch.bfloat16)
    log_probs, entropies = choice.log_prob(features, choice.act(features))
    assert log_probs.dtype == entropies.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        number = GaussianHead(8, 2)
        log_probs, entropies = number.log_prob(features.float(), number.act(features.float()))
    assert log_probs.dtype == entropies.dtype == torch.float32


def test_frozen_restores_each_weight():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    net[0].bias.requires_grad_(False)
    before = [p.requires_grad for p in net.parameters()]
    x = torch.ones(1, 2, requires_grad=True)
    with frozen(net):
        assert not any(p.requires_grad for p in net.parameters())
        assert torch.autograd.grad(net(x).sum(), x)[0].abs().sum() > 0
    assert [p.requires_grad for p in net.parameters()] == before
    with pytest.raises(KeyError), frozen(net):
        raise KeyError
    assert [p.requires_grad for p in net.parameters()] == before
