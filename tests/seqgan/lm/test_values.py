"""The value head: what it foresees is what GAE needs, and it learns without moving the policy."""

import torch

from rl.rollout import Rollout, gae
from seqgan.generators import LSTMGenerator
from seqgan.likelihood import counted
from seqgan.lm.values import NoValues, Values
from seqgan.sampling import speak
from tests.seqgan.lm.toys import engine


def setting() -> tuple[LSTMGenerator, Rollout[torch.Tensor]]:
    the = engine()
    torch.manual_seed(0)
    net = the.place(LSTMGenerator(5, embedding=4, hidden=8, end=0, deviation=0.8))
    rows = speak(net, 64, 6)
    mask = counted(rows, 0)
    return net, Rollout.of(rows, mask).relabel(lambda rollout: (rollout.steps == 2).float() * mask)


def test_values_before_and_after_each_token() -> None:
    net, rollout = setting()
    values = Values(8, engine(), lr=0.01, lam=0.9)
    found = values.foresee(net, rollout)
    expected = values.head(net.features(rollout.steps)).detach().masked_fill(~rollout.mask, 0)
    torch.testing.assert_close(found.values, expected)
    torch.testing.assert_close(found.next_values[:, :-1], expected[:, 1:])
    assert (found.next_values[:, -1] == 0).all()
    again = NoValues()
    assert again.foresee(net, rollout) is rollout
    assert again.learn(net, rollout) == {}


def test_the_head_learns_what_is_to_come_and_the_policy_stands_still() -> None:
    net, rollout = setting()
    before = [weight.clone() for weight in net.parameters()]
    values = Values(8, engine(), lr=0.03, lam=0.95)
    losses = [values.learn(net, values.foresee(net, rollout))["value/loss"].item() for _ in range(200)]
    assert losses[-1] < 0.6 * losses[0]
    assert all(a.equal(b) for a, b in zip(before, net.parameters(), strict=True))
    advantages, _ = gae(values.foresee(net, rollout), 1.0, 1.0)
    assert abs(advantages[rollout.mask].mean().item()) < 0.1
