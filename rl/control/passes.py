"""Forward and backward of small stacked MLPs by hand, in memory that is kept from one call to the next.

At these sizes autograd's book-keeping and fresh memory cost as much as the arithmetic; and autograd computes gradients
that nobody needs: those of the weights for rows that only pass a gradient on, those of the inputs for rows that do not.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from rl.control.flat import gradient_of
from rl.control.offpolicy_agents import StackedMLP

Call = Callable[[], object]


class Passes:
    """The passes of one net over one memory of inputs [rows width], read anew by each `forward`.

    `nets` chooses among the stacked ones. The first `back` rows can go backward, and the first `learn` of these teach
    the parameters, which then must be part of a Flat. Which tensor goes where is settled here once, so that a pass is a
    list of calls. Run both without a gradient.
    """

    def __init__(
        self, net: StackedMLP, inputs: Tensor, *, back: int = 0, learn: int = 0, nets: slice = slice(None)
    ) -> None:
        weights = [weight.detach()[nets] for weight in net.weights]
        biases = [bias.detach()[nets] for bias in net.biases]
        count, rows = len(weights[0]), len(inputs)
        held = [inputs.expand(count, *inputs.shape)]
        held += [inputs.new_empty(count, rows, size) for size in net.sizes[1:]]
        self.answers: Float[Tensor, "nets rows outputs"] = held[-1]
        self.gradients: Float[Tensor, "nets back outputs"] = inputs.new_empty(count, back, net.sizes[-1])
        """of the answers, for the caller to write"""

        self._forward: list[Call] = []
        for seen, weight, bias, answer in zip(held, weights, biases, held[1:], strict=False):
            self._forward += affine(seen, weight, bias, answer)
            if answer is not self.answers:
                self._forward.append(answer.relu_)

        self._backward: list[Call] = []
        above = self.gradients
        for layer in reversed(range(len(weights))):
            if learn:
                of_weight, of_bias = (gradient_of(of[layer])[nets] for of in (net.weights, net.biases))
                self._backward += product(held[layer][:, :learn].mT, above[:, :learn], of_weight)
                self._backward.append(partial(torch.sum, above[:, :learn], 1, keepdim=True, out=of_bias))
            if layer:
                below = inputs.new_empty(count, back, net.sizes[layer])
                self._backward += product(above, weights[layer].mT, below)
                # of relu: where the layer gave 0 nothing passes
                through = torch.ops.aten.threshold_backward.grad_input
                self._backward.append(partial(through, below, held[layer][:, :back], 0, grad_input=below))
                above = below
        self.first = above
        """the gradient of the first layer's sum [nets back hidden]"""

    def forward(self) -> Float[Tensor, "nets rows outputs"]:
        """Give every net's answer to the inputs as they now are."""
        for call in self._forward:
            call()
        return self.answers

    def backward(self) -> Float[Tensor, "nets back hidden"]:
        """Write the parameters' gradients, from those of the answers, and give that of the first layer's sum."""
        for call in self._backward:
            call()
        return self.first


def affine(seen: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> Iterator[Call]:
    """Plan seen @ weight + bias of every net; a single output is a matrix times a vector, twice as fast."""
    if out.shape[-1] > 1:
        yield partial(torch.baddbmm, bias, seen, weight, out=out)
        return
    for net in range(len(out)):
        yield partial(torch.addmv, bias[net, 0], seen[net], weight[net, :, 0], out=out[net, :, 0])


def product(left: Tensor, right: Tensor, out: Tensor) -> Iterator[Call]:
    """Plan left @ right of every net."""
    if left.shape[-1] == 1:
        yield partial(torch.mul, left, right, out=out)
    elif out.shape[-1] == 1:
        for net in range(len(out)):
            yield partial(torch.mv, left[net], right[net, :, 0], out=out[net, :, 0])
    else:
        yield partial(torch.bmm, left, right, out=out)
