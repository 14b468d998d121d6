"""Small networks whose weights are ONE parameter: an optimizer's step costs one call, not one for each matrix."""

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

Rows = Float[Tensor, "rows width"]
Linear = tuple[Float[Tensor, "outputs inputs"], Float[Tensor, "outputs"]]
_NO_EXTRA = torch.zeros(0)


class TanhLayers(nn.Module):
    """Linear layers with tanh between them, initialised orthogonally: gain sqrt(2), and `gain` in the last one.

    `extra` are further weights that the layers do not use.
    """

    def __init__(self, widths: Sequence[int], gain: float, extra: Float[Tensor, "extra"] = _NO_EXTRA) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.shapes = [(outputs, inputs) for inputs, outputs in pairs]
        self.sizes = [size for outputs, inputs in self.shapes for size in (outputs * inputs, outputs)] + [len(extra)]
        self.weights = nn.Parameter(torch.zeros(sum(self.sizes)))
        self._held: tuple[list[Linear], Tensor] = ([], _NO_EXTRA)
        self._held_at = -1
        with torch.no_grad():
            linears, tail = self.split(self.weights)
            for matrix, _ in linears:
                nn.init.orthogonal_(matrix, gain if matrix is linears[-1][0] else math.sqrt(2))
            tail.copy_(extra)

    def split(self, flat: Float[Tensor, "weights"]) -> tuple[list[Linear], Float[Tensor, "extra"]]:
        """View a vector of weights, or of their gradients, as matrices and biases, and the extra weights."""
        parts = flat.split_with_sizes(self.sizes)
        linears = [
            (matrix.view(shape), bias)
            for matrix, bias, shape in zip(parts[:-1:2], parts[1:-1:2], self.shapes, strict=True)
        ]
        return linears, parts[-1]

    def held(self) -> tuple[list[Linear], Float[Tensor, "extra"]]:
        """View the weights without a gradient; the views are made once, as making them costs as much as a layer."""
        if self._held_at != self.weights.data_ptr():
            self._held, self._held_at = self.split(self.weights.detach()), self.weights.data_ptr()
        return self._held

    def forward(self, rows: Rows) -> tuple[Rows, Float[Tensor, "extra"]]:
        """Give the outputs and the extra weights."""
        linears, extra = self.split(self.weights) if torch.is_grad_enabled() else self.held()
        return forward(rows, linears)[-1], extra


def forward(rows: Rows, linears: list[Linear]) -> list[Rows]:
    """Return what every layer gets, and last the outputs."""
    passed = [rows]
    for matrix, bias in linears[:-1]:
        passed.append(torch.addmm(bias, passed[-1], matrix.t()).tanh())
    matrix, bias = linears[-1]
    return [*passed, torch.addmm(bias, passed[-1], matrix.t())]


def backward(slope: Rows, passed: list[Rows], linears: list[Linear], gradients: list[Linear]) -> Rows:
    """Lead dL/d outputs back into `gradients`, in place; `passed` is `forward`'s. Return it at the first layer's sums.

    dL/d inputs is that times the first matrix.
    """
    for index in range(len(linears) - 1, -1, -1):
        of_matrix, of_bias = gradients[index]
        torch.mm(slope.t(), passed[index], out=of_matrix)
        torch.sum(slope, 0, out=of_bias)
        if index:
            slope = torch.ops.aten.tanh_backward(slope.mm(linears[index][0]), passed[index])
    return slope
