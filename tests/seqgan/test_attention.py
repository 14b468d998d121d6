import pytest
import torch
from torch import Tensor, nn

from seqgan.attention import Attention, EncoderDecoder, run


def test_attention_by_hand() -> None:
    """Two places with scores log 3 and 0: weights 3/4 and 1/4; then tanh of half the answer plus the state."""
    attention = Attention(1)
    with torch.no_grad():
        attention.query.weight.fill_(2.0)
        attention.combine.weight.copy_(torch.tensor([[0.5, 1.0]]))
    third = torch.tensor(3.0).log() / 2
    memory, state = torch.tensor([[[1.0], [0.0]]]), third.view(1, 1, 1)  # 2 * third * 1 = log 3
    expected = torch.tanh(0.5 * 0.75 + third)
    torch.testing.assert_close(attention(state, memory), expected.view(1, 1, 1))


def test_the_query_is_the_state_not_the_memory() -> None:
    """W is not symmetric: h W m and m W h differ."""
    torch.manual_seed(0)
    attention, states, memory = Attention(4), torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    scores = torch.einsum("nth,kh,npk->ntp", states, attention.query.weight, memory)
    seen = torch.einsum("ntp,nph->nth", scores.softmax(-1), memory)
    expected = torch.tanh(torch.cat([seen, states], -1) @ attention.combine.weight.t())
    torch.testing.assert_close(attention(states, memory), expected)


@pytest.mark.parametrize("layers", [1, 2])
def test_run_is_torchs_lstm_and_goes_on_where_it_stopped(layers: int) -> None:
    torch.manual_seed(0)
    lstm, embedded = nn.LSTM(3, 4, layers, batch_first=True), torch.randn(2, 6, 3)
    zeros = torch.zeros(2, layers, 4)
    outputs, (h, c) = run(lstm, embedded, (zeros, zeros))
    expected, (h_last, c_last) = lstm(embedded)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close((h, c), (h_last.transpose(0, 1), c_last.transpose(0, 1)))
    first, state = run(lstm, embedded[:, :2], (zeros, zeros))
    second, _ = run(lstm, embedded[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), expected)


def decoded(net: EncoderDecoder, source: Tensor, target: Tensor) -> Tensor:
    memory, state = net.encode(source, net.start(len(source)))
    features: Tensor = net.decode(target, state, memory)[0]
    return features


def test_every_place_looks_at_the_whole_source_and_at_no_later_target() -> None:
    torch.manual_seed(0)
    net, source, target = EncoderDecoder(3, 4), torch.randn(2, 5, 3), torch.randn(2, 6, 3)
    before = decoded(net, source, target)
    for place in range(5):
        changed = source.clone()
        changed[:, place] += 1
        assert (decoded(net, changed, target) != before).any(-1).all()
    for place in range(6):
        changed = target.clone()
        changed[:, place] += 1
        differs = (decoded(net, source, changed) != before).any(-1)
        assert not differs[:, :place].any()
        assert differs[:, place:].all()


def test_rows_are_independent() -> None:
    torch.manual_seed(0)
    net, source, target = EncoderDecoder(3, 4, layers=2), torch.randn(3, 5, 3), torch.randn(3, 6, 3)
    rows = [decoded(net, source[i : i + 1], target[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(torch.cat(rows), decoded(net, source, target))


def test_initial_weights() -> None:
    torch.manual_seed(0)
    for name, weight in EncoderDecoder(64, 64).named_parameters():
        if weight.dim() == 1:
            assert not weight.any(), name
        else:  # standard error of a deviation: 1/8 / sqrt(2 n); six of them, at least 4,096 numbers each
            assert weight.std().item() == pytest.approx(1 / 8, abs=6 / 8 / (2 * weight.numel()) ** 0.5), name
