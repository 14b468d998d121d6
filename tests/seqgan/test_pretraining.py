import math

import pytest
import torch

from rl.runtime import Engine, Runtime
from seqgan.generators import LSTMGenerator
from seqgan.likelihood import nll
from seqgan.pretraining import Best, mle_round


def filled(value: float) -> LSTMGenerator:
    net = LSTMGenerator(4, embedding=2, hidden=2)
    with torch.no_grad():
        for weight in net.parameters():
            weight.fill_(value)
    return net


def test_best_keeps_a_copy_of_the_lowest_loss() -> None:
    net = filled(0.0)
    best = Best(net)
    assert best.loss == math.inf
    for value, loss in ((1.0, 3.0), (2.0, 2.0), (3.0, 2.0), (4.0, 2.5), (5.0, math.nan)):
        with torch.no_grad():
            for weight in net.parameters():
                weight.fill_(value)
        best.offer(net, loss)
    assert best.loss == 2.0
    assert all((weight == 2).all() for weight in best.weights.values())
    other = Best(filled(9.0))
    other.load_state_dict(best.state_dict())
    other.offer(net, 2.2)
    assert other.loss == 2.0
    assert all((weight == 2).all() for weight in other.weights.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rounds_lower_the_loss_of_their_batch(precision: str) -> None:
    engine = Engine(Runtime(device="cpu", precision=precision), 0)  # type: ignore[arg-type]
    net, tokens = LSTMGenerator(30, dropout=0.1, end=0), torch.randint(30, (32, 6))
    optimizer, before = torch.optim.Adam(net.parameters(), 0.01), nll(net, tokens)
    net.eval()
    first = mle_round(net, tokens, optimizer, engine, clip=5.0)
    assert net.training
    assert first["mle/loss"].item() == pytest.approx(before, rel=0.02)  # the loss before the step; dropout is on
    assert nll(net, tokens) < before
    for _ in range(20):
        mle_round(net, tokens, optimizer, engine, clip=5.0)
    assert nll(net, tokens) < before - 0.1
    assert first["mle/grad_norm"].item() > 0


def test_a_round_is_clipped() -> None:
    engine = Engine(Runtime(device="cpu", precision="fp32"), 0)
    net, tokens = LSTMGenerator(30), torch.randint(30, (32, 6))
    before = [weight.detach().clone() for weight in net.parameters()]
    norm = mle_round(net, tokens, torch.optim.SGD(net.parameters(), 1.0), engine, clip=1e-3)["mle/grad_norm"]
    moved = torch.cat([(now - then).flatten() for now, then in zip(net.parameters(), before, strict=True)])
    assert norm.item() > 1e-3
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)
