from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from seqgan import scoring
from seqgan.discriminators import PAPER_FILTERS, ConvDiscriminator
from seqgan.generators import LSTMGenerator
from seqgan.sampling import complete, speak
from seqgan.scoring import judge_completions

FILTERS = ((1, 3), (2, 4), (3, 2), (5, 3), (8, 2), (12, 2), (13, 1))


def scene(
    length: int, samples: int = 3, end: int = -1, **settings: bool | float
) -> tuple[ConvDiscriminator, Tensor, Tensor]:
    torch.manual_seed(length + samples)
    policy = LSTMGenerator(9, embedding=4, hidden=5, end=end, deviation=1.0)
    tokens = speak(policy, 4, length)
    net = ConvDiscriminator(9, length, embedding=4, filters=FILTERS, dropout=0.5, **settings)  # type: ignore[arg-type]
    return net, tokens, complete(policy, tokens, samples)


def check(net: ConvDiscriminator, tokens: Tensor, completions: Tensor) -> None:
    whole, completed = judge_completions(net, tokens, completions)
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(whole, net(tokens))
        for prefix, row in enumerate(completions):
            expected = net(row.reshape(-1, row.shape[-1])).view(row.shape[:2])
            torch.testing.assert_close(completed[prefix], expected, msg=lambda text, p=prefix: f"prefix {p}: {text}")


@pytest.mark.parametrize("length", range(1, 14))
@pytest.mark.parametrize("end", [-1, 0])
def test_every_row_gets_the_discriminators_logit(length: int, end: int) -> None:
    """With every filter width from one token to the whole sentence; wider ones are left out."""
    check(*scene(length, end=end))


@pytest.mark.parametrize("shared_gate", [False, True])
def test_with_one_gate_or_two(shared_gate: bool) -> None:
    check(*scene(9, shared_gate=shared_gate))


@pytest.mark.parametrize("samples", [1, 2])
def test_few_samples_and_one_sentence(samples: int) -> None:
    net, tokens, completions = scene(8, samples)
    check(net, tokens[:1], completions[:, :1])


def test_the_papers_filters() -> None:
    _, tokens, completions = scene(20)
    check(ConvDiscriminator(9, 20, filters=PAPER_FILTERS), tokens, completions)


def test_windows_that_win_inside_the_prefix_and_across_its_edge() -> None:
    """One filter of width 3 that answers to 1, 2, 3 in a row: wherever the run stands, all prefixes see it."""
    length = 8
    net = ConvDiscriminator(5, length, embedding=5, filters=((3, 1),))
    with torch.no_grad():
        net.embedding.weight.copy_(torch.eye(5))
        net.weights[0].zero_()
        net.weights[0][0, [1, 5 + 2, 10 + 3]] = 1.0
    for start in range(length - 2):
        tokens = torch.zeros(1, length, dtype=torch.long)
        tokens[0, start : start + 3] = torch.tensor([1, 2, 3])
        completions = tokens[None, :, None].repeat(length - 1, 1, 2, 1)
        for prefix in range(length - 1):
            completions[prefix, :, 1, prefix + 1 :] = 4  # the second sample breaks off after the prefix
        check(net, tokens, completions)


def test_rows_pass_the_highway_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "HEAD_ROWS", 7)
    check(*scene(6))


@pytest.mark.parametrize("training", [False, True])
def test_dropout_is_off_while_judging_and_the_mode_comes_back(training: bool) -> None:
    net, tokens, completions = scene(6)
    net.train(training)
    first, second = (judge_completions(net, tokens, completions) for _ in range(2))
    assert first[0].equal(second[0])
    assert first[1].equal(second[1])
    assert net.training is training
    assert net.dropout.training is training
    assert not first[1].requires_grad


def test_the_mode_comes_back_after_a_failure() -> None:
    net, tokens, completions = scene(6)
    net.train()

    def autocast() -> nullcontext[None]:
        raise RuntimeError("no such precision")

    with pytest.raises(RuntimeError, match="no such precision"):
        judge_completions(net, tokens, completions, autocast=autocast)
    assert net.training


def test_precision_of_the_highway() -> None:
    net, tokens, completions = scene(6)
    entered = []

    def autocast() -> torch.autocast:
        entered.append(True)
        return torch.autocast("cpu", torch.bfloat16)

    low = judge_completions(net, tokens, completions, autocast=autocast)
    full = judge_completions(net, tokens, completions, autocast=nullcontext)
    assert entered
    assert low[1].dtype == torch.float32
    assert not low[1].equal(full[1])
    torch.testing.assert_close(low[1], full[1], atol=0.05, rtol=0.05)
