import pytest
import torch
from torch import Tensor, nn

from seqgan.generators import Generator, LSTMGenerator, TransformerGenerator, build_generator, fork_rows, shifted

KINDS = ["lstm", "lstm2", "transformer"]


def build(kind: str, dropout: float = 0.0) -> Generator:
    torch.manual_seed(1)
    if kind == "transformer":
        return TransformerGenerator(9, length=8, width=8, heads=2, dropout=dropout, start=2)
    return LSTMGenerator(9, embedding=4, hidden=5, layers=2 if kind == "lstm2" else 1, dropout=dropout, start=2)


def stepped(net: Generator, tokens: Tensor) -> Tensor:
    state, said, features = net.init(len(tokens)), tokens.new_full((len(tokens),), net.start), []
    for time in range(tokens.shape[1]):
        feature, state = net.step(state, said)
        features.append(feature)
        said = tokens[:, time]
    return torch.stack(features, 1)


def test_shifted_starts_and_drops_the_last() -> None:
    assert shifted(torch.tensor([[5, 6, 7]]), 2).tolist() == [[2, 5, 6]]
    assert shifted(torch.tensor([[5]]), 2).tolist() == [[2]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 2, 8])
def test_step_by_step_is_teacher_forcing(kind: str, length: int) -> None:
    net, tokens = build(kind), torch.randint(9, (5, length))
    torch.testing.assert_close(stepped(net, tokens), net.features(tokens))


@pytest.mark.parametrize("kind", KINDS)
def test_features_see_only_what_stands_before(kind: str) -> None:
    net, tokens = build(kind), torch.randint(9, (3, 8))
    before = net.features(tokens)
    for time in range(8):
        changed = tokens.clone()
        changed[:, time] = (tokens[:, time] + 1) % 9
        differs = (net.features(changed) != before).any(-1)
        assert not differs[:, : time + 1].any()
        assert differs[:, time + 1 : time + 2].all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_appends_copies_that_go_on_alone(kind: str) -> None:
    net, tokens, rows = build(kind), torch.randint(9, (3, 4)), torch.tensor([2, 0, 2, 1])
    state = net.init(3)
    for time in range(4):
        _, state = net.step(state, tokens[:, time])
    forked = net.fork(state, rows)
    for old, new in zip(state, forked, strict=True):
        assert len(old) == 3  # rows stand in dimension 0
        assert new.equal(torch.cat([old, old[rows]]))
    said = torch.randint(9, (7,))
    features, _ = net.step(forked, said)
    history = torch.cat([tokens, tokens[rows]])
    torch.testing.assert_close(features, stepped_after(net, history, said))


def stepped_after(net: Generator, history: Tensor, said: Tensor) -> Tensor:
    """Features after reading history and one token, each row by itself."""
    last = []
    for row, token in zip(history, said, strict=True):
        state = net.init(1)
        for word in (*row, token):
            feature, state = net.step(state, word[None])
        last.append(feature[0])
    return torch.stack(last)


def test_fork_rows_of_several_tensors() -> None:
    state = (torch.arange(2), torch.tensor([[1.0], [2.0]]))
    ids, numbers = fork_rows(state, torch.tensor([1, 1]))
    assert ids.tolist() == [0, 1, 1, 1]
    assert numbers[:, 0].tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_only_in_training(kind: str) -> None:
    net, tokens = build(kind, dropout=0.5), torch.randint(9, (3, 6))
    net.train()
    assert not net.features(tokens).equal(net.features(tokens))
    net.eval()
    assert net.features(tokens).equal(net.features(tokens))
    torch.testing.assert_close(stepped(net, tokens), net.features(tokens))


def test_lstm_by_torchs_own() -> None:
    """The state is (h, c) with rows first; two layers, read by nn.LSTM as one sequence."""
    net, tokens = build("lstm2"), torch.randint(9, (3, 6))
    assert isinstance(net, LSTMGenerator)
    expected, (h, c) = net.lstm(net.embedding(shifted(tokens, 2)))
    torch.testing.assert_close(net.features(tokens), expected)
    state = net.init(3)
    for said in shifted(tokens, 2).unbind(1):
        _, state = net.step(state, said)
    torch.testing.assert_close(state, (h.transpose(0, 1), c.transpose(0, 1)))


def test_every_weight_of_the_lstm_is_drawn_with_the_deviation() -> None:
    torch.manual_seed(0)
    net = LSTMGenerator(3000, hidden=64, embedding=64, deviation=0.5)
    for name, weight in net.named_parameters():
        # standard error of a deviation: 0.5 / sqrt(2 n); six of them, at least 256 numbers each
        assert weight.std().item() == pytest.approx(0.5, abs=6 * 0.5 / (2 * weight.numel()) ** 0.5), name


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_build_generator_passes_its_numbers_on(kind: str) -> None:
    net = build_generator(kind, 30, 7, embedding=6, hidden=16, layers=3, dropout=0.3, end=4)  # type: ignore[arg-type]
    assert (net.start, net.end, net.head.in_features, net.head.out_features) == (0, 4, 16, 30)
    assert {part.p for part in net.modules() if isinstance(part, nn.Dropout)} == {0.3}
    if isinstance(net, LSTMGenerator):
        assert (net.lstm.num_layers, net.lstm.input_size, net.lstm.dropout) == (3, 6, 0.3)
    else:
        assert (len(net.blocks), net.positions.num_embeddings) == (3, 7)
