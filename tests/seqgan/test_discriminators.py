import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from seqgan.discriminators import PAPER_FILTERS, SMALL_FILTERS, ConvDiscriminator, OutputL2

FILTERS = ((1, 3), (2, 4), (4, 2), (9, 3), (10, 2), (11, 5))


def judge_of(length: int = 10, **settings: bool | float) -> ConvDiscriminator:
    torch.manual_seed(3)
    return ConvDiscriminator(20, length, embedding=6, filters=FILTERS, **settings)  # type: ignore[arg-type]


def by_conv1d(net: ConvDiscriminator, tokens: Tensor) -> Tensor:
    channels = net.embedding(tokens).transpose(1, 2)
    kernels = [weight.view(len(weight), width, -1).transpose(1, 2) for width, weight in net.filters()]
    return torch.cat([F.conv1d(channels, kernel).amax(2) for kernel in kernels], 1)


@pytest.mark.parametrize("length", [1, 2, 5, 10])
def test_all_ways_to_pool_agree(length: int) -> None:
    net, tokens = judge_of(length), torch.randint(20, (7, length))
    expected = by_conv1d(net, tokens)
    assert expected.shape == (7, sum(count for width, count in FILTERS if width <= length))
    torch.testing.assert_close(net.pooled(tokens), expected)
    with torch.no_grad():
        torch.testing.assert_close(net.pooled(tokens), expected)
    with torch.autocast("cpu", torch.bfloat16):  # the path of other devices, in its precision
        torch.testing.assert_close(net.pooled(tokens).float(), expected, atol=0.05, rtol=0.05)


def test_all_ways_to_pool_have_one_gradient() -> None:
    net, tokens = judge_of().double(), torch.randint(20, (7, 10))
    weights = (net.embedding.weight, *net.weights)
    ours, others = (
        torch.autograd.grad(pooled.square().sum(), weights) for pooled in (net.pooled(tokens), by_conv1d(net, tokens))
    )
    torch.testing.assert_close(ours, others)


@pytest.mark.parametrize("shared_gate", [False, True])
def test_a_logit_written_out(shared_gate: bool) -> None:
    """Embedding, convolution, ReLU, maximum over time, highway, output."""
    net, tokens = judge_of(shared_gate=shared_gate, dropout=0.5).eval(), torch.randint(20, (4, 10))
    maxima = []
    for row in net.embedding(tokens):
        responses = []
        for width, weight in net.filters():
            every = torch.stack([weight @ row[at : at + width].flatten() for at in range(10 - width + 1)])
            responses.append(every)
        bias = net.bias.split([len(weight) for _, weight in net.filters()])
        maxima.append(torch.cat([F.relu(r + b).max(0).values for r, b in zip(responses, bias, strict=True)]))
    x = torch.stack(maxima)
    transformed = x @ net.transform.weight.t() + net.transform.bias
    gate = torch.sigmoid(x @ net.gate.weight.t() + net.gate.bias)
    y = gate * F.relu(transformed) + (1 - gate) * x
    torch.testing.assert_close(net(tokens), (y @ net.output.weight.t() + net.output.bias)[:, 0])


def test_a_shared_gate_is_one_matrix() -> None:
    shared, apart = judge_of(shared_gate=True), judge_of()
    size = len(shared.bias)
    assert shared.gate is shared.transform
    counts = [sum(weight.numel() for weight in net.parameters()) for net in (shared, apart)]
    assert counts[1] - counts[0] == size * size + size


def test_dropout_only_while_learning() -> None:
    net, tokens = judge_of(dropout=0.5), torch.randint(20, (6, 10))
    assert not net(tokens).equal(net(tokens))
    net.eval()
    assert net(tokens).equal(net(tokens))


def test_the_papers_filters() -> None:
    assert sum(count for _, count in PAPER_FILTERS) == 1720
    net = ConvDiscriminator(30, 20)
    assert net.pooled(torch.zeros(2, 20, dtype=torch.long)).shape == (2, 1720)
    assert sum(count for width, count in PAPER_FILTERS if width <= 12) == len(ConvDiscriminator(30, 12).bias)
    assert sum(count for _, count in SMALL_FILTERS) == 256


def test_output_l2_by_hand() -> None:
    """Weights (1, -2, 3) and bias 2: 0.4 * (14 + 4) / 4 = 1.8; the gradient is 0.4 * w / 2."""
    net = ConvDiscriminator(5, 3, embedding=2, filters=((1, 3),))
    with torch.no_grad():
        net.output.weight.copy_(torch.tensor([[1.0, -2.0, 3.0]]))
        net.output.bias.fill_(2)
    nothing = torch.zeros(1, 3, dtype=torch.long)
    penalty = OutputL2(0.4)(net, nothing, nothing)
    assert penalty.item() == pytest.approx(1.8)
    penalty.backward()
    assert net.output.weight.grad is not None
    torch.testing.assert_close(net.output.weight.grad, torch.tensor([[0.2, -0.4, 0.6]]))
    assert net.bias.grad is None


def test_output_l2_is_the_papers_for_two_outputs() -> None:
    """l2_loss(W) + l2_loss(b) = half the sum of squares over both outputs, where W_1 = -W_0 and w = W_1 - W_0."""
    net = judge_of()
    nothing = torch.zeros(1, 10, dtype=torch.long)
    both = torch.cat([parameter.flatten() / 2 for parameter in net.output.parameters()])
    papers = 0.2 * (both.square().sum() + (-both).square().sum()) / 2
    torch.testing.assert_close(OutputL2(0.2)(net, nothing, nothing), papers)
