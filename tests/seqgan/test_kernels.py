import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional as F

from seqgan.kernels import FEW_WINDOWS, ROWS, linear_nll, max_conv, sorted_by_window, windows

# ---------------------------------------------------------------------------------------------- linear_nll


def projection(rows: int, hidden: int, vocabulary: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    torch.manual_seed(rows + vocabulary)
    features, weight, bias = (
        torch.randn(shape, dtype=dtype, requires_grad=True)
        for shape in ((rows, hidden), (vocabulary, hidden), (vocabulary,))
    )
    return features, weight, bias, torch.randint(vocabulary, (rows,)), torch.randn(rows, dtype=dtype)


@pytest.mark.parametrize("rows", [1, ROWS - 1, ROWS, ROWS + 1, 3 * ROWS + 7])
def test_linear_nll_is_the_cross_entropy(rows: int) -> None:
    features, weight, bias, targets, scales = projection(rows, 5, 11)
    fused = linear_nll(features, weight, bias, targets, scales)
    plain = F.cross_entropy(F.linear(features, weight, bias), targets, reduction="none") @ scales
    torch.testing.assert_close(fused, plain)
    for mine, theirs in zip(
        torch.autograd.grad(-2.5 * fused, (features, weight, bias)),
        torch.autograd.grad(-2.5 * plain, (features, weight, bias)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_linear_nll_by_finite_differences() -> None:
    features, weight, bias, targets, scales = projection(4, 3, 5)
    assert gradcheck(lambda f, w, b: linear_nll(f, w, b, targets, scales), (features, weight, bias))


def test_linear_nll_by_hand() -> None:
    """Logits (0, log 3): p = (1/4, 3/4); two rows, one of scale 2 and one that does not count."""
    features, weight = torch.tensor([[1.0], [1.0]], requires_grad=True), torch.tensor([[0.0], [math.log(3)]])
    loss = linear_nll(features, weight, torch.zeros(2), torch.tensor([0, 1]), torch.tensor([2.0, 0.0]))
    assert loss.item() == pytest.approx(2 * math.log(4), rel=1e-6)
    loss.backward()
    assert features.grad is not None
    assert features.grad[0].item() == pytest.approx(2 * 0.75 * math.log(3), rel=1e-6)
    assert features.grad[1].item() == 0


def test_a_target_far_below_the_maximum_keeps_its_loss() -> None:
    """At 200 nats below, exp underflows in float32: the logarithm must not."""
    features = torch.ones(2, 1, requires_grad=True)
    weight = torch.tensor([[0.0], [200.0], [-5.0]], requires_grad=True)
    loss = linear_nll(features, weight, torch.zeros(3), torch.tensor([0, 1]), torch.ones(2))
    assert loss.item() == pytest.approx(200)
    loss.backward()
    assert features.grad is not None
    assert features.grad.tolist() == [[200], [0]]
    assert weight.grad is not None
    assert weight.grad.tolist() == [[-1], [1], [0]]


def test_linear_nll_has_no_second_derivative() -> None:
    features, *rest = projection(4, 3, 5)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(linear_nll(features, *rest), features, create_graph=True)


# ---------------------------------------------------------------------------------------------- max_conv


def plain_max_conv(embedded: Tensor, weight: Tensor) -> Tensor:
    width = weight.shape[1] // embedded.shape[2]
    kernel = weight.view(len(weight), width, -1).transpose(1, 2)
    return F.conv1d(embedded.transpose(1, 2), kernel).amax(2)


def test_windows_are_runs_of_embeddings() -> None:
    embedded = torch.arange(12.0).view(2, 3, 2)
    assert windows(embedded, 2).tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [6, 7, 8, 9], [8, 9, 10, 11]]
    columns_first = embedded.transpose(1, 2).contiguous().transpose(1, 2)  # the same numbers in another layout
    assert windows(columns_first, 2).equal(windows(embedded, 2))


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("width", range(1, FEW_WINDOWS + 5))
def test_max_conv_is_the_maximum_of_a_convolution(width: int, batch: int) -> None:
    """Lengths below, at and above the switch between the two backward paths: from many windows to one."""
    torch.manual_seed(width)
    time = FEW_WINDOWS + 4
    embedded = torch.randn(batch, time, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, width * 3, dtype=torch.float64, requires_grad=True)
    mine, theirs = max_conv(embedded, weight), plain_max_conv(embedded, weight)
    torch.testing.assert_close(mine, theirs)
    upstream = torch.randn_like(mine)
    ours, others = (torch.autograd.grad((out * upstream).sum(), (embedded, weight)) for out in (mine, theirs))
    torch.testing.assert_close(ours, others)


@pytest.mark.parametrize("time", [3, 2 + FEW_WINDOWS, 3 + FEW_WINDOWS, 12])
def test_max_conv_by_finite_differences(time: int) -> None:
    torch.manual_seed(time)
    embedded = torch.randn(2, time, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 3 * 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(max_conv, (embedded, weight))


@pytest.mark.parametrize("time", [4, FEW_WINDOWS + 6])
def test_of_equal_windows_one_wins(time: int) -> None:
    """All windows alike: the whole gradient goes to a single one, and nothing is counted twice."""
    embedded = torch.ones(2, time, 1, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([[2.0, 3.0], [1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    pooled = max_conv(embedded, weight)
    assert pooled.tolist() == [[5, 0], [5, 0]]
    d_embedded, d_weight = torch.autograd.grad(pooled[:, 0].sum(), (embedded, weight))
    assert d_weight.tolist() == [[2, 2], [0, 0]]
    for row in d_embedded[..., 0]:
        assert row.nonzero()[:, 0].diff().tolist() == [1]
        assert row[row != 0].tolist() == [2, 3]


def test_filters_that_win_the_same_window_add_up() -> None:
    embedded = torch.zeros(1, 10, 1, dtype=torch.float64)
    embedded[0, 4] = 1
    embedded.requires_grad_()
    weight = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(max_conv(embedded, weight).sum(), embedded)
    assert gradient[0, :, 0].tolist() == [0, 0, 0, 0, 7, 0, 0, 0, 0, 0]


def test_widths_side_by_side_are_each_as_alone() -> None:
    """All share one piece of memory, forward and backward; the widest window set is not the first."""
    torch.manual_seed(8)
    embedded = torch.randn(3, 12, 2, dtype=torch.float64, requires_grad=True)
    weights = [
        torch.randn(filters, width * 2, dtype=torch.float64, requires_grad=True)
        for width, filters in ((12, 2), (1, 3), (6, 1), (8, 4))
    ]
    together, alone = max_conv(embedded, *weights), torch.cat([plain_max_conv(embedded, w) for w in weights], 1)
    torch.testing.assert_close(together, alone)
    upstream = torch.randn_like(together)
    ours, others = (torch.autograd.grad((out * upstream).sum(), (embedded, *weights)) for out in (together, alone))
    torch.testing.assert_close(ours, others)
    assert gradcheck(max_conv, (embedded, *weights))


def test_max_conv_has_no_second_derivative() -> None:
    embedded, weight = torch.randn(2, 9, 3, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(max_conv(embedded, weight).square().sum(), embedded, create_graph=True)


@given(st.lists(st.integers(0, 9), max_size=40))
def test_sorted_by_window_is_a_stable_sort(won: list[int]) -> None:
    order, first = sorted_by_window(torch.tensor(won, dtype=torch.long), 10)
    assert order.tolist() == sorted(range(len(won)), key=lambda pair: won[pair])
    assert first.tolist() == [sum(window < place for window in won) for place in range(10)]


@pytest.mark.parametrize("count", [1 << 16, (1 << 16) + 1, 200_000])
def test_sorted_by_window_beyond_16_bits(count: int) -> None:
    torch.manual_seed(count)
    won = torch.cat([torch.randint(count, (5_000,)), torch.tensor([count - 1, 0, 65_535])])
    order, first = sorted_by_window(won, count)
    assert won[order].equal(won.sort(stable=True).values)
    assert first.equal(torch.searchsorted(won.sort().values, torch.arange(count)))


def test_max_conv_beyond_65536_windows() -> None:
    torch.manual_seed(6)
    embedded = torch.randn(6_600, 10, 1, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, dtype=torch.float64, requires_grad=True)
    ours, others = (
        torch.autograd.grad(out.square().sum(), (embedded, weight))
        for out in (max_conv(embedded, weight), plain_max_conv(embedded, weight))
    )
    torch.testing.assert_close(ours, others)
