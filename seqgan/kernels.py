"""Two fused operations for training on CPU; both have a first derivative only and say so when asked for a second."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

ROWS = 128  # rows of logits that stand in memory at once: they stay in the cache between projection and softmax


def refuse_second_derivative() -> None:
    """Raise RuntimeError in a backward pass that builds a graph of itself.

    torch's once_differentiable raises later, and not at all where unused gradients are allowed: it would lose the
    second derivative in silence.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("the fused operations have no second derivative (create_graph=True)")


def linear_nll(
    features: Float[Tensor, "rows hidden"],
    weight: Float[Tensor, "vocabulary hidden"],
    bias: Float[Tensor, "vocabulary"],
    targets: Int[Tensor, "rows"],
    scales: Float[Tensor, "rows"],
) -> Float[Tensor, ""]:
    """Return sum_r scales_r * -log softmax(W h_r + b)[target_r] without ever holding rows x vocabulary logits.

    Gradients for features, weight and bias are made in the forward pass, 128 rows at a time. No gradient for `scales`.
    """
    loss: Tensor = LinearNLL.apply(features, weight, bias, targets, scales)
    return loss


class LinearNLL(torch.autograd.Function):
    """See `linear_nll`."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, scales: Tensor) -> Tensor:
        """Walk the rows in chunks through two buffers; the gradient of a row's logits is scale * (p - onehot)."""
        # the bias is one more column, against a feature of one: added apart it costs as much as the product itself
        extended, ones = torch.cat([weight, bias[:, None]], 1), features.new_ones(ROWS, 1)
        logits, p = (features.new_empty(min(ROWS, len(features)), len(weight)) for _ in range(2))
        d_features, d_weight, d_bias = torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        loss = features.new_zeros(())
        for h, target, scale, d_h in zip(
            *(part.split(ROWS) for part in (features, targets, scales, d_features)), strict=True
        ):
            l_, p_ = logits[: len(h)], p[: len(h)]
            torch.mm(torch.cat([h, ones[: len(h)]], 1), extended.t(), out=l_)
            torch.softmax(l_, -1, out=p_)
            loss += scale @ -log_probability(l_, p_, target)
            p_[torch.arange(len(h)), target] -= 1
            torch.mm(p_, weight, out=d_h).mul_(scale[:, None])
            d_weight.addmm_(p_.t(), h * scale[:, None])
            d_bias.addmv_(p_.t(), scale)
        ctx.save_for_backward(d_features, d_weight, d_bias)
        return loss

    @staticmethod
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        """Scale what the forward pass made."""
        refuse_second_derivative()
        d_features, d_weight, d_bias = ctx.saved_tensors
        return d_features * d_loss, d_weight * d_loss, d_bias * d_loss, None, None


def log_probability(logits: Tensor, p: Tensor, target: Tensor) -> Tensor:
    """Return log p[target] for each row; from the logits where p is too small to have a good logarithm."""
    chosen = p.gather(1, target[:, None])[:, 0]
    small = chosen < 1e-30
    if small.any():
        exact = logits[small].log_softmax(-1).gather(1, target[small, None])[:, 0]
        return chosen.log().masked_scatter(small, exact)
    return chosen.log()


def max_conv(
    embedded: Float[Tensor, "batch time embedding"], *weights: Float[Tensor, "filters taps"]
) -> Float[Tensor, "batch features"]:
    """Return max over windows of convolutions (no bias), side by side; a weight is [filters, width * embedding].

    The backward pass touches the winning windows only: one window a filter and sentence instead of all of them.
    """
    pooled: Tensor = MaxConv.apply(embedded, *weights)
    return pooled


def windows(embedded: Float[Tensor, "batch time embedding"], width: int) -> Float[Tensor, "windows taps"]:
    """Return every run of `width` embeddings as a row, sentence by sentence."""
    return windows_in(memory_for_windows(embedded, [width]), embedded, width)


def memory_for_windows(
    embedded: Float[Tensor, "batch time embedding"], widths: Iterable[int]
) -> Float[Tensor, "floats"]:
    """Return memory for the windows of any one of these widths: copying into fresh pages takes five times as long."""
    batch, time, size = embedded.shape
    return embedded.new_empty(max((time - width + 1) * width for width in widths) * batch * size)


def windows_in(
    memory: Float[Tensor, "floats"], embedded: Float[Tensor, "batch time embedding"], width: int
) -> Float[Tensor, "windows taps"]:
    """Return the same rows as `windows`; they stand until `memory` is used again."""
    batch, time, size = embedded.shape
    shape, strides = (batch, time - width + 1, width * size), (time * size, size, 1)
    rows = memory[: math.prod(shape)].view(shape).copy_(embedded.contiguous().as_strided(shape, strides))
    return rows.view(-1, width * size)


class MaxConv(torch.autograd.Function):
    """See `max_conv`."""

    @staticmethod
    def forward(ctx: Any, embedded: Tensor, *weights: Tensor) -> Tensor:
        """Convolve by one matrix product a width, keep each maximum and the last window that attains it."""
        batch, _, size = embedded.shape
        memory = memory_for_windows(embedded, (weight.shape[1] // size for weight in weights))
        pooled, winners = embedded.new_empty(2, batch, sum(map(len, weights))).unbind()
        column = 0
        for weight in weights:
            columns = slice(column, column + len(weight))
            rows = windows_in(memory, embedded, weight.shape[1] // size)
            responses = (rows @ weight.t()).view(batch, -1, len(weight))
            best = torch.amax(responses, 1)
            # `max` with indices is an order of magnitude slower here than vectorised passes over floats
            places = torch.arange(responses.shape[1], dtype=responses.dtype, device=responses.device)[:, None]
            pooled[:, columns], winners[:, columns] = best, responses.eq_(best[:, None]).mul_(places).amax(1)
            column += len(weight)
        ctx.save_for_backward(embedded, winners.long(), *weights)
        return pooled

    @staticmethod
    def backward(ctx: Any, d_pooled: Tensor) -> tuple[Tensor, ...]:
        """Gather winners: dW_n = sum_b g_bn window_b(n), d window = sum of g_bn W_n over the filters it won."""
        refuse_second_derivative()
        embedded, winners, *weights = ctx.saved_tensors
        batch, time, size = embedded.shape
        memory = memory_for_windows(embedded, (weight.shape[1] // size for weight in weights))
        d_embedded, d_weights = torch.zeros_like(embedded), []
        counts = [len(weight) for weight in weights]
        for weight, won, d_best in zip(weights, winners.split(counts, 1), d_pooled.split(counts, 1), strict=True):
            width = weight.shape[1] // size
            count = time - width + 1
            won = won + torch.arange(batch)[:, None] * count
            d_weight, d_rows = gather_winners(windows_in(memory, embedded, width), weight, won, d_best)
            d_weights.append(d_weight)
            d_windows = d_rows.view(batch, count, width, size)
            for place in range(width):
                d_embedded[:, place : place + count] += d_windows[:, :, place]
        return d_embedded, *d_weights


def gather_winners(
    rows: Float[Tensor, "windows taps"],
    weight: Float[Tensor, "filters taps"],
    won: Int[Tensor, "batch filters"],
    d_best: Float[Tensor, "batch filters"],
) -> tuple[Float[Tensor, "filters taps"], Float[Tensor, "windows taps"]]:
    """Return the gradients of the filters and of the windows."""
    if len(rows) <= FEW_WINDOWS * len(won):
        d_responses = d_best.new_zeros(len(rows), len(weight)).scatter_(0, won, d_best)
        return d_responses.t() @ rows, d_responses @ weight
    scales = d_best.t().contiguous()
    d_weight = F.embedding_bag(won.t().contiguous(), rows, mode="sum", per_sample_weights=scales)
    order, first = sorted_by_window(won.view(-1), len(rows))
    scales = d_best.reshape(-1)[order]
    return d_weight, F.embedding_bag(order % len(weight), weight, first, mode="sum", per_sample_weights=scales)


FEW_WINDOWS = 6  # up to here the dense matrix product wins over gathering


def sorted_by_window(won: Int[Tensor, "pairs"], count: int) -> tuple[Int[Tensor, "pairs"], Int[Tensor, "windows"]]:
    """Return the pairs in the order of the windows they won, and where each window's run begins."""
    keys = won.numpy()
    # numpy sorts 16-bit keys by radix, ten times as fast as torch sorts 64-bit ones
    order = np.argsort(keys.astype(np.uint16) if count <= 1 << 16 else keys, kind="stable")
    first = np.zeros(count, np.int64)
    np.cumsum(np.bincount(keys, minlength=count)[:-1], out=first[1:])
    return torch.from_numpy(order), torch.from_numpy(first)
