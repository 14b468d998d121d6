import math

import pytest
import torch
from torch import nn

from seqgan import likelihood
from seqgan.generators import LSTMGenerator, TransformerGenerator
from seqgan.likelihood import action_log_probs, counted, mle_loss, nll, token_log_probs


def test_counted_up_to_the_first_end() -> None:
    tokens = torch.tensor([[3, 4, 5], [3, 0, 0], [0, 0, 0], [3, 4, 0], [0, 3, 0]])
    assert counted(tokens, 0).int().tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0]]
    assert counted(tokens, -1).all()
    assert counted(tokens, -1).dtype == torch.bool
    assert counted(torch.tensor([[0], [1]]), 0).all()


def coin(end: int = -1) -> LSTMGenerator:
    """Says 0 with probability 1/4, 1 with 3/4, whatever stood before."""
    net = LSTMGenerator(2, embedding=1, hidden=1, end=end)
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor([0.0, math.log(3)]))
    return net


def test_nll_by_hand() -> None:
    tokens = torch.tensor([[1, 1, 0, 1], [0, 1, 1, 1]])
    assert nll(coin(), tokens) == pytest.approx((2 * math.log(4) + 6 * math.log(4 / 3)) / 8, rel=1e-6)
    # 0 ends: three tokens of the first sentence count, one of the second
    assert nll(coin(end=0), tokens) == pytest.approx((2 * math.log(4) + 2 * math.log(4 / 3)) / 4, rel=1e-6)
    assert mle_loss(coin(end=0), tokens).item() == pytest.approx(nll(coin(end=0), tokens), rel=1e-6)


def test_log_probabilities_are_those_of_the_head() -> None:
    net, tokens = LSTMGenerator(6, deviation=1.0), torch.randint(6, (3, 5))
    everything = action_log_probs(net, tokens)
    torch.testing.assert_close(everything.exp().sum(-1), torch.ones(3, 5))
    torch.testing.assert_close(everything, net.head(net.features(tokens)).log_softmax(-1))
    chosen = token_log_probs(net, tokens)
    for row in range(3):
        for time in range(5):
            torch.testing.assert_close(chosen[row, time], everything[row, time, tokens[row, time]])


@pytest.mark.parametrize("training", [False, True])
def test_nll_is_the_same_in_parts_and_without_dropout(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    net = LSTMGenerator(6, dropout=0.5, end=0, deviation=1.0).train(training)
    tokens = torch.randint(6, (10, 5))
    whole = nll(net, tokens)
    assert net.training is training
    monkeypatch.setattr(likelihood, "ROWS", 3)
    monkeypatch.setattr(likelihood, "SENTENCES", 4)
    assert nll(net, tokens) == pytest.approx(whole, rel=1e-6)
    net.eval()
    assert mle_loss(net, tokens).item() == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("end", [-1, 0])
def test_the_fused_loss_has_the_gradient_of_the_plain_one(end: int) -> None:
    torch.manual_seed(3)
    net = TransformerGenerator(6, length=5, width=8, heads=2, end=end)
    tokens = torch.randint(6, (40, 5))
    mask = counted(tokens, end)
    plain = -action_log_probs(net, tokens).gather(2, tokens[..., None])[..., 0][mask].mean()
    weights = list(net.parameters())
    fused = mle_loss(net, tokens)
    torch.testing.assert_close(fused, plain)
    for ours, theirs in zip(torch.autograd.grad(fused, weights), torch.autograd.grad(plain, weights), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_loss_in_low_precision_takes_the_plain_way() -> None:
    torch.manual_seed(4)
    net, tokens = LSTMGenerator(6, deviation=1.0), torch.randint(6, (10, 5))
    with torch.autocast("cpu", torch.bfloat16):
        loss = mle_loss(net, tokens)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(mle_loss(net, tokens).item(), rel=0.03)
    assert mle_loss(net.double(), tokens.clone()).item() == pytest.approx(loss.item(), rel=0.03)


def test_what_stands_after_the_end_has_no_gradient() -> None:
    net = LSTMGenerator(6, end=0, deviation=1.0)
    nn.init.normal_(net.embedding.weight)
    gradients = []
    for after in (0, 5):
        tokens = torch.tensor([[3, 2, 0, after, after]])
        gradients.append(torch.autograd.grad(mle_loss(net, tokens), net.head.weight)[0])
    torch.testing.assert_close(*gradients)
