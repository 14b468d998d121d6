"""Kernels whose derivatives can be differentiated again, and fast."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]
Shape = tuple[Pair, Pair, Pair, int]
"""stride, padding, dilation, groups"""


@contextmanager
def twice_differentiable(device: str) -> Iterator[None]:
    """Run networks inside with a second derivative: in float32 unless they switch autocast on themselves.

    Recurrent nets go without cuDNN, attention is plain mathematics, convolutions and rectifiers take this file's ways.
    """
    with torch.enable_grad(), torch.autocast(device, enabled=False), sdpa_kernel(SDPBackend.MATH), _Kernels():
        yield


class _Kernels(TorchFunctionMode):
    """Chooses another kernel for some functions; cuDNN's recurrent ones have no second derivative."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _OURS:
            return _OURS[func](*args, **kwargs)
        if getattr(func, "__name__", "") in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
            with torch.backends.cudnn.flags(enabled=False):
                return func(*args, **kwargs)
        return func(*args, **kwargs)


class _LeakyReLU(Function):
    """Its second derivative is zero: nothing flows back to its input through the mask of its gradient.

    torch's own sends zeros there, and all layers before it multiply them by their weights.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slope = slope
        return F.leaky_relu(x, slope) if slope else torch.relu(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.leaky_relu_backward(gradients[0], x.detach(), ctx.slope, False), None


def _relu(input: Tensor, inplace: bool = False) -> Tensor:
    return F.relu(input, inplace=True) if inplace else _leaky_relu(input, 0.0)


def _leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    if inplace:
        return F.leaky_relu(input, negative_slope, inplace=True)
    return _LeakyReLU.apply(input, negative_slope)  # type: ignore[no-any-return, no-untyped-call]


class _Maps(Function):
    """A convolution; its gradient for the maps is a transposed convolution, which is differentiated like any other.

    torch's own is differentiated by convolutions with kernels as large as the maps, which are slow. `handle` stands for
    the weight and takes its gradient: so autograd asks for each of the two by itself.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, handle: Tensor, weights: tuple[Tensor, Tensor | None], shape: Shape) -> Tensor:
        weight, bias = weights
        ctx.save_for_backward(weight)
        ctx.sides, ctx.shape = x.shape[2:], shape
        return torch.conv2d(x, weight, bias, *shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (weight,), gradient = ctx.saved_tensors, gradients[0]
        stride, padding, dilation, groups = ctx.shape
        if not ctx.needs_input_grad[0]:
            return None, gradient, None, None
        sizes = zip(ctx.sides, gradient.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
        left = [side - ((out - 1) * s - 2 * p + d * (taps - 1) + 1) for side, out, taps, s, p, d in sizes]
        found = torch.conv_transpose2d(gradient, weight, None, stride, padding, left, groups, dilation)
        return found, gradient, None, None


class _Handle(Function):
    """Zeros that take no memory, and hand the gradient of a convolution's result on to its weight and bias."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, maps: tuple[Tensor], shape: Shape) -> Tensor:
        (x,) = maps
        ctx.save_for_backward(x, weight)
        ctx.shape = shape
        sides = [
            (side + 2 * p - d * (taps - 1) - 1) // s + 1
            for side, taps, s, p, d in zip(x.shape[2:], weight.shape[2:], *shape[:3], strict=True)
        ]
        return x.new_zeros(()).expand(len(x), len(weight), *sides)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (x, weight), gradient = ctx.saved_tensors, gradients[0]
        stride, padding, dilation, groups = ctx.shape
        of_weight, of_bias = ctx.needs_input_grad[:2]
        rest = (None, stride, padding, dilation, False, (0, 0), groups, (False, True, False))
        found = torch.ops.aten.convolution_backward(gradient, x, weight, *rest)[1] if of_weight else None
        return found, gradient.sum((0, 2, 3)) if of_bias else None, None, None


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str) or input.dim() != 4:
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    shape = (_pair(stride), _pair(padding), _pair(dilation), groups)
    device = input.device.type
    if torch.is_autocast_enabled(device):
        kind = torch.get_autocast_dtype(device)
        input, weight, bias = input.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
    handle = _Handle.apply(weight, bias, (input,), shape)  # type: ignore[no-untyped-call]
    return _Maps.apply(input, handle, (weight, bias), shape)  # type: ignore[no-any-return, no-untyped-call]


def _pair(value: int | Sequence[int]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


_OURS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.conv2d: _conv2d,
    torch.relu: _relu,
    F.relu: _relu,
    F.leaky_relu: _leaky_relu,
}
