"""Two fused operations for training on CPU; both have a first derivative only and say so when asked for a second."""

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
        logits, p = (features.new_empty(min(ROWS, len(features)), len(weight)) for _ in range(2))
        d_features, d_weight, d_bias = torch.empty_like(features), torch.zeros_like(weight), torch.zeros_like(bias)
        loss = features.new_zeros(())
        for h, target, scale, d_h in zip(
            *(part.split(ROWS) for part in (features, targets, scales, d_features)), strict=True
        ):
            l_, p_ = logits[: len(h)], p[: len(h)]
            torch.addmm(bias, h, weight.t(), out=l_)
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
    embedded: Float[Tensor, "batch time embedding"], weight: Float[Tensor, "filters taps"]
) -> Float[Tensor, "batch filters"]:
    """Return max over windows of a convolution (no bias): `weight` [filters, width * embedding].

    The backward pass touches the winning windows only: one window a filter and sentence instead of all of them.
    """
    pooled: Tensor = MaxConv.apply(embedded, weight)
    return pooled


def windows(embedded: Float[Tensor, "batch time embedding"], width: int) -> Float[Tensor, "windows taps"]:
    """Return every run of `width` embeddings as a row, sentence by sentence."""
    batch, time, size = embedded.shape
    shape, strides = (batch, time - width + 1, width * size), (time * size, size, 1)
    return embedded.contiguous().as_strided(shape, strides).reshape(-1, width * size)


class MaxConv(torch.autograd.Function):
    """See `max_conv`."""

    @staticmethod
    def forward(ctx: Any, embedded: Tensor, weight: Tensor) -> Tensor:
        """Convolve by one matrix product, keep the maximum and the last window that attains it."""
        batch, width = len(embedded), weight.shape[1] // embedded.shape[2]
        rows = windows(embedded, width)
        responses = (rows @ weight.t()).view(batch, -1, len(weight))
        count = responses.shape[1]
        pooled = responses.amax(1)
        # `max` with indices is an order of magnitude slower here than three vectorised passes
        places = torch.arange(count, dtype=responses.dtype, device=responses.device)[:, None]
        winners = responses.eq(pooled[:, None]).mul(places).amax(1).long()
        ctx.save_for_backward(rows, weight, winners)
        ctx.shape = embedded.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, d_pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Gather winners: dW_n = sum_b g_bn window_b(n), d window = sum of g_bn W_n over the filters it won."""
        refuse_second_derivative()
        rows, weight, winners = ctx.saved_tensors
        batch, time, size = ctx.shape
        filters, width = len(weight), weight.shape[1] // size
        count = time - width + 1
        won = winners + torch.arange(batch)[:, None] * count
        if count > FEW_WINDOWS:
            d_weight = F.embedding_bag(
                won.t().contiguous(), rows, mode="sum", per_sample_weights=d_pooled.t().contiguous()
            )
            order, first = sorted_by_window(won.view(-1), batch * count)
            d_rows = F.embedding_bag(
                order % filters, weight, first, mode="sum", per_sample_weights=d_pooled.reshape(-1)[order]
            )
        else:
            d_responses = d_pooled.new_zeros(batch * count, filters)
            d_responses.scatter_(0, won, d_pooled)
            d_weight, d_rows = d_responses.t() @ rows, d_responses @ weight
        d_embedded = d_pooled.new_zeros(ctx.shape)
        d_windows = d_rows.view(batch, count, width, size)
        for place in range(width):
            d_embedded[:, place : place + count] += d_windows[:, :, place]
        return d_embedded, d_weight


FEW_WINDOWS = 6  # up to here the dense matrix product wins over gathering


def sorted_by_window(won: Int[Tensor, "pairs"], count: int) -> tuple[Int[Tensor, "pairs"], Int[Tensor, "windows"]]:
    """Return the pairs in the order of the windows they won, and where each window's run begins."""
    keys = won.numpy()
    # numpy sorts 16-bit keys by radix, ten times as fast as torch sorts 64-bit ones
    order = np.argsort(keys.astype(np.uint16) if count <= 1 << 16 else keys, kind="stable")
    first = np.zeros(count, np.int64)
    np.cumsum(np.bincount(keys, minlength=count)[:-1], out=first[1:])
    return torch.from_numpy(order), torch.from_numpy(first)
