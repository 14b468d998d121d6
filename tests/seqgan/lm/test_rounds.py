"""One round: gradients against those of autograd on whole distributions, and the judge's single pass."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from rl.estimators import leave_one_out, reinforce
from rl.objectives import SeqGAN
from rl.runtime import Engine, Runtime
from seqgan.generators import LSTMGenerator
from seqgan.likelihood import action_log_probs, counted
from seqgan.lm.rounds import judge_round, minibatches, placed, policy_round, said_log_probs
from seqgan.sampling import speak

RATE = 0.1


@pytest.fixture
def engine() -> Engine:
    return Engine(Runtime(device="cpu", precision="fp32"), 0)


def tiny(seed: int, prompt: int = 0) -> LSTMGenerator:
    torch.manual_seed(seed)
    return LSTMGenerator(5, embedding=3, hidden=4, end=0, prompt=prompt, deviation=0.8)


def weights(net: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in net.parameters()])


def moved(net: nn.Module, loss: Tensor) -> Tensor:
    gradients = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, materialize_grads=True)
    return weights(net) - RATE * torch.cat([gradient.flatten() for gradient in gradients])


def said_by(net: LSTMGenerator, rows: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    tokens = speak(net, rows, 6)
    mask = counted(tokens, 0, net.prompt)
    return tokens, mask, torch.randn(mask.shape).masked_fill(~mask, 0)


def test_said_log_probs_are_those_of_the_whole_rows() -> None:
    net = tiny(0, prompt=2)
    tokens, mask, _ = said_by(net)
    torch.testing.assert_close(said_log_probs(net, tokens, mask), action_log_probs(net, tokens)[mask])
    numbers = torch.arange(float(mask.sum()))
    assert placed(numbers, mask)[mask].equal(numbers)
    assert (placed(numbers, mask)[~mask] == 0).all()


def test_one_update_on_fresh_rows_is_that_of_reinforce(engine: Engine) -> None:
    net, start = tiny(0), tiny(1)
    tokens, mask, advantages = said_by(net)
    log_probs = action_log_probs(net, tokens).gather(2, tokens[..., None])[..., 0]
    expected = moved(net, reinforce(log_probs, advantages, mask))
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    found = policy_round(net, start, tokens, mask, advantages, optimizer, engine, minibatch=12)
    torch.testing.assert_close(weights(net), expected, rtol=1e-5, atol=1e-6)
    assert found["g/clipped"] == 0


def test_the_divergence_from_the_reference_is_exact_where_it_is_and_reinforced_before(engine: Engine) -> None:
    net, start = tiny(0, prompt=1), tiny(1, prompt=1)
    tokens, mask, _ = said_by(net)
    p, q = action_log_probs(net, tokens), action_log_probs(start, tokens)
    here = (p.exp() * (p - q)).sum(-1) * mask
    kl, later = here.sum(1).mean(), here.detach().flip(1).cumsum(1).flip(1) - here.detach()
    chosen = p.gather(2, tokens[..., None])[..., 0]
    expected = moved(net, 0.3 * kl + reinforce(chosen, -0.3 * leave_one_out(later, mask), mask))
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    zero = torch.zeros(mask.shape)
    found = policy_round(net, start, tokens, mask, zero, optimizer, engine, minibatch=12, kl_weight=0.3)
    torch.testing.assert_close(weights(net), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["g/kl"], kl.detach(), rtol=1e-4, atol=1e-6)


def test_the_divergence_is_that_of_whole_sentences(engine: Engine) -> None:
    """Its gradient over many draws is that of the sum over all sentences; each place's own alone is off by 20 %."""
    torch.manual_seed(0)
    net, start = (LSTMGenerator(3, embedding=3, hidden=4, deviation=1.2) for _ in range(2))
    every = torch.tensor(list(itertools.product(range(3), repeat=3)))
    p, q = (action_log_probs(one, every).gather(2, every[..., None])[..., 0].sum(1) for one in (net, start))
    before = weights(net)
    exact = before - moved(net, (p.exp() * (p - q.detach())).sum())
    tokens = speak(net, 60_000, 3)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    policy_round(net, start, tokens, mask, torch.zeros(mask.shape), optimizer, engine, minibatch=60_000, kl_weight=1.0)
    found = before - weights(net)
    assert (found - exact).norm() < 0.05 * exact.norm()


def test_later_passes_stand_still_beyond_the_clip(engine: Engine) -> None:
    net = tiny(0)
    tokens, mask, _ = said_by(net)
    up = torch.ones(mask.shape).masked_fill(~mask, 0)

    def after(epochs: int, clip: float) -> tuple[Tensor, float]:
        net = tiny(0)
        optimizer = torch.optim.SGD(net.parameters(), 3.0)
        found = policy_round(net, net, tokens, mask, up, optimizer, engine, epochs=epochs, minibatch=12, clip=clip)
        return weights(net), found["g/clipped"].item()

    once, _ = after(1, 0.01)
    again, clipped = after(4, 0.01)
    free, _ = after(4, 1e9)
    assert clipped > 0.8
    assert (again - once).norm() < 0.5 * (free - once).norm()


def test_the_policy_that_climbs_is_the_one_that_spoke_without_dropout(engine: Engine) -> None:
    def after(dropout: float) -> Tensor:
        net = tiny(0)
        net.dropout.p = dropout
        tokens, mask, advantages = said_by(tiny(0))
        optimizer = torch.optim.SGD(net.parameters(), RATE)
        policy_round(net.train(), net, tokens, mask, advantages, optimizer, engine, minibatch=12, epochs=2)
        return weights(net)

    torch.manual_seed(1)
    plain = after(0.0)
    torch.manual_seed(1)
    assert after(0.5).equal(plain)


def test_minibatches_hold_every_row_once() -> None:
    parts = list(minibatches(10, 4, torch.device("cpu")))
    assert [len(part) for part in parts] == [4, 4, 2]
    assert torch.cat(parts).sort().values.equal(torch.arange(10))


def test_the_judge_reads_real_and_fake_in_one_pass_and_learns_from_what_counts(engine: Engine) -> None:
    class Judge(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.calls = nn.Parameter(torch.zeros(5)), 0

        def forward(self, rows: Tensor) -> Tensor:
            self.calls += 1
            return self.weight[rows]

    judge = Judge().eval()
    real, fake = torch.tensor([[1, 0], [1, 2]]), torch.tensor([[3, 4]])
    optimizer = torch.optim.SGD(judge.parameters(), 1.0)

    def read(logits: Tensor, rows: Tensor) -> Tensor:
        return logits[rows != 0]

    found = judge_round(judge, judge, read, real, fake, SeqGAN(), optimizer, engine)
    assert judge.calls == 1
    assert judge.training
    # E softplus(-l) over three real tokens and E softplus(l) over two fake ones, at l = 0
    torch.testing.assert_close(judge.weight.detach(), torch.tensor([0, 2 / 6, 1 / 6, -1 / 4, -1 / 4]))
    assert found["d/loss"].item() == pytest.approx(2 * torch.log(torch.tensor(2.0)).item())
