"""Updates of a perceptron that judges steps, all derivatives written out: what `AutogradUpdates` does, in less time.

Layer k = 1 .. L gives s_k = h_k-1 W_k' + b_k and h_k = phi(s_k), with h_0 the inputs. The logit is s_L, for discrete
actions its number at the action: `picks` is one there, zero elsewhere. With spectral normalisation W = V / norm(V).

A penalty looks at the gradient of the logit in the inputs. That is a second pass through the same matrices, downwards:
p_L = picks, g_k-1 = p_k W_k, p_k = g_k phi'(s_k), so its derivative is a third one, upwards; no graph is needed.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.nn import functional as F

from rl.control.discriminator_updates import AutogradUpdates, Minus, Updates, bernoulli_entropy, parts, verdicts
from rl.control.discriminators import SpectralLinear, StepDiscriminator
from rl.control.flat import Flat, adam_
from rl.control.transitions import Transitions
from rl.objectives import GAIL, Objective
from rl.penalties import GradientPenalty, NoPenalty
from rl.runtime.errors import Diverged

Rows = Float[Tensor, "rows width"]
PerRow = Float[Tensor, "rows"]
Scalar = Float[Tensor, ""]
PerInput = Float[Tensor, "inputs"]
Slope = Callable[[PerRow], PerRow]
_AHEAD = 16  # updates laid out together: enough to share the cost of a call, few enough to stay in the cache


def fast(updates: AutogradUpdates) -> Updates:
    """Return the same updates with written-out derivatives, where there are any, else `updates`.

    There are some for a StepDiscriminator without dropout, a gradient penalty or none, torch's fused Adam (one group,
    without extras), float32, one rank. With spectral normalisation there is one power iteration for each update, where
    autograd makes one for each pass.
    """
    net, penalty, optimizer, engine = updates.discriminator, updates.penalty, updates.optimizer, updates.engine
    if not (
        type(net) is StepDiscriminator
        and not net.description["dropout"]
        and type(penalty) in (GradientPenalty, NoPenalty)
        and type(optimizer) is torch.optim.Adam
        and plain_adam(optimizer, net)
        and engine.world == 1
        and engine.precision != "fp16"
    ):
        return updates
    asked = penalty if isinstance(penalty, GradientPenalty) else GradientPenalty(0.0)
    return FusedUpdates(net, updates.objective, asked, optimizer, updates.batch, updates.entropy)


def plain_adam(optimizer: torch.optim.Adam, net: nn.Module) -> bool:
    """Whether it is the fused Adam on all weights of the net, in their order, and nothing more."""
    group = optimizer.param_groups[0]
    extras = group["weight_decay"], group["amsgrad"], group["maximize"], not group["fused"]
    same = [id(weight) for weight in group["params"]] == [id(weight) for weight in net.parameters()]
    return len(optimizer.param_groups) == 1 and same and not any(extras)


class FusedUpdates:
    """See `fast`. The network's weights become views of one tensor."""

    def __init__(
        self,
        net: StepDiscriminator,
        objective: Objective,
        penalty: GradientPenalty,
        optimizer: torch.optim.Adam,
        batch: int,
        entropy: float,
    ) -> None:
        """Lay the weights out; a penalty of weight 0 is left out."""
        self.net, self.objective, self.penalty, self.batch, self.entropy = net, objective, penalty, batch, entropy
        self.weights = Flat(net.parameters())
        self.layers = layers_of(net, self.weights.gradients)
        self.activation = {"relu": RELU, "tanh": TANH}[str(net.description["activation"])]
        self.adam = FlatMoments(optimizer, self.weights)
        self.slope = slope_of(objective, entropy)
        for weight in self.weights.parameters:
            weight.grad = None  # autograd's, for whoever asks it; ours stay in `weights`

    @torch.no_grad()
    def __call__(self, real: Transitions, own: Transitions, minus: Minus) -> Float[Tensor, "verdicts"]:
        """Update; raises ValueError if the network was moved since."""
        self.weights.require_intact()
        self.adam.take_up()
        stretch = self.net.scale.square().reciprocal()
        logits, penalties = [], []
        for part in parts(real.rows, _AHEAD * self.batch):
            a, b = (steps.take(part) for steps in (real, own))
            rows, picks = lay_out(self.net, a, b, self.batch, self.penalty.weight != 0)
            less = torch.cat([held[part].view(-1, self.batch) for held in minus], 1)
            for update in range(len(rows)):
                judged, penalised = self.update(rows[update], picks[update], less[update], stretch)
                logits.append(judged)
                penalties.append(penalised)
        self.adam.hand_back()
        return self.told(torch.stack(logits), torch.stack(penalties))

    def update(self, rows: Rows, picks: Rows, minus: PerRow, stretch: PerInput) -> tuple[PerRow, Scalar]:
        """Make one update on real rows, own rows and mixtures of both; the logits and the penalty before it."""
        self.weights.gradients.zero_()
        found = fill(self.layers, self.activation, rows, picks, minus, self.slope, self.penalty, stretch)
        self.adam.step()
        return found

    def told(self, logits: Float[Tensor, "updates rows"], penalties: Float[Tensor, "updates"]) -> Tensor:
        """Return the verdicts; raise Diverged if anything is not finite."""
        if not torch.stack([logits.sum(), penalties.sum(), self.weights.values.sum()]).isfinite().all():
            good = (logits.sum(1) + penalties).isfinite().tolist()
            place = f"update {good.index(False) + 1}" if False in good else "the weights after update"
            raise Diverged(f"discriminator: {place} of {len(good)} in this round is not finite")
        on_real, on_own = (side.flatten() for side in logits.chunk(2, 1))
        loss = self.objective.discriminator_loss(on_real, on_own) - self.entropy * bernoulli_entropy(logits)
        return verdicts(loss + penalties.mean(), on_real, on_own)


def lay_out(
    net: StepDiscriminator, real: Transitions, own: Transitions, batch: int, mixed: bool
) -> tuple[Float[Tensor, "updates rows inputs"], Float[Tensor, "updates rows outputs"]]:
    """Return inputs and picks for each update: real rows, own rows, and mixtures if asked for, of the real actions."""
    inputs, picks = [
        [part.view(-1, batch, part.shape[1]) for part in found]
        for found in ([net.inputs(real), net.inputs(own)], [picks_of(net, real), picks_of(net, own)])
    ]
    if mixed:
        share = torch.rand(inputs[0].shape[:2], dtype=inputs[0].dtype, device=inputs[0].device)
        inputs.append(inputs[1].lerp(inputs[0], share.unsqueeze(2)))
        picks.append(picks[0])
    return torch.cat(inputs, 1), torch.cat(picks, 1)


def picks_of(net: StepDiscriminator, steps: Transitions) -> Rows:
    """Return one for the number of the output that is the logit, zero for others."""
    if net.chosen:
        return F.one_hot(steps.actions, net.outputs).to(steps.obs)
    return steps.obs.new_ones(steps.rows, 1)


# --- layers


class Activation(NamedTuple):
    """What follows a layer."""

    apply_: Callable[[Rows], Rows]
    """in place"""
    through_: Callable[[Rows, Rows], Rows]
    """the gradient in its input, from that in its output, in place, and the output"""
    bends: bool
    """whether it has a second derivative, phi'' = -2 phi phi'"""


def _through_relu_(gradient: Rows, output: Rows) -> Rows:
    through: Rows = torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)
    return through


def _through_tanh_(gradient: Rows, output: Rows) -> Rows:
    through: Rows = torch.ops.aten.tanh_backward.grad_input(gradient, output, grad_input=gradient)
    return through


RELU = Activation(torch.relu_, _through_relu_, bends=False)
TANH = Activation(torch.tanh_, _through_tanh_, bends=True)


class Layer(Protocol):
    """A linear layer that acts by `matrix` and `bias`, and where their gradients go."""

    matrix: Float[Tensor, "outputs inputs"]
    bias: Float[Tensor, "outputs"]
    of_matrix: Float[Tensor, "outputs inputs"]
    of_bias: Float[Tensor, "outputs"]

    def prepare(self) -> None:
        """Work out the matrix."""
        ...

    def finish(self) -> None:
        """Turn the gradient of the matrix into that of the weight."""
        ...


class PlainLayer:
    """A layer that acts by its weight."""

    def __init__(self, layer: nn.Linear, of_matrix: Tensor, of_bias: Tensor) -> None:
        self.matrix, self.bias = layer.weight.detach(), layer.bias.detach()
        self.of_matrix, self.of_bias = of_matrix.view_as(self.matrix), of_bias

    def prepare(self) -> None:
        """Nothing to do."""

    def finish(self) -> None:
        """Nothing to do."""


class SpectralLayer(PlainLayer):
    """A layer whose weight is divided by norm = left' weight right, after one power iteration."""

    def __init__(self, layer: SpectralLinear, of_matrix: Tensor, of_bias: Tensor) -> None:
        super().__init__(layer, of_matrix, of_bias)
        self.weight, self.direction = layer.weight.detach(), layer.direction

    def prepare(self) -> None:
        """Follow the singular vectors, and divide."""
        right = torch.mv(self.weight.t(), self.direction)
        self.right = right.div_(vector_norm(right))
        image = torch.mv(self.weight, self.right)
        self.norm = vector_norm(image)
        torch.div(image, self.norm, out=self.direction)
        self.matrix = self.weight / self.norm

    def finish(self) -> None:
        """dL/dV = (dL/dW - <dL/dW, W> left right') / norm."""
        along = torch.dot(self.of_matrix.view(-1), self.matrix.view(-1))
        self.of_matrix.addr_(self.direction * along, self.right, alpha=-1).div_(self.norm)


def layers_of(net: StepDiscriminator, gradients: Float[Tensor, "weights"]) -> list[Layer]:
    """Return the layers, whose gradients are views of one vector, in the order of the parameters."""
    linears = [layer for layer in net.net if isinstance(layer, nn.Linear)]
    sizes = [size for layer in linears for size in (layer.weight.numel(), layer.bias.numel())]
    pieces = torch.split(gradients, sizes)
    return [_layer(*found) for found in zip(linears, pieces[::2], pieces[1::2], strict=True)]


def _layer(layer: nn.Linear, of_matrix: Tensor, of_bias: Tensor) -> Layer:
    if isinstance(layer, SpectralLinear):
        return SpectralLayer(layer, of_matrix, of_bias)
    return PlainLayer(layer, of_matrix, of_bias)


# --- passes


def fill(
    layers: list[Layer],
    activation: Activation,
    rows: Rows,
    picks: Rows,
    minus: PerRow,
    slope: Slope,
    penalty: GradientPenalty,
    stretch: PerInput,
) -> tuple[PerRow, Scalar]:
    """Write the gradients of loss and penalty into those of the layers, which are zero; the logits and the penalty.

    The rows beyond `minus` are mixtures, where the gradient is penalised; `stretch` is the square of how much an input
    moves with the number that it stands for.
    """
    judged, mixed = len(minus), slice(len(minus), len(rows))
    for layer in layers:
        layer.prepare()
    passed = forward(rows, layers, activation)
    logits = (passed[-1][:judged] * picks[:judged]).sum(1).sub_(minus)
    bends: list[Rows] = []
    penalised = logits.new_zeros(())
    if judged < len(rows):
        outputs = [held[mixed] for held in passed]
        slopes, gradients = downwards(picks[mixed], outputs, layers, activation)
        penalised, of_gradients = penalty_slope(gradients, penalty, stretch)
        bends = upwards(of_gradients, slopes, outputs, layers, activation)
    of_sums = slope(logits).unsqueeze(1) * picks[:judged]
    if bends:
        of_sums = F.pad(of_sums, (0, 0, 0, len(rows) - judged))  # the mixtures pass on their bends alone
    backward(of_sums, bends, passed, layers, activation)
    for layer in layers:
        layer.finish()
    return logits, penalised


def forward(rows: Rows, layers: list[Layer], activation: Activation) -> list[Rows]:
    """Return h_0 .. h_L-1 and s_L."""
    passed = [rows]
    for layer in layers[:-1]:
        passed.append(activation.apply_(torch.addmm(layer.bias, passed[-1], layer.matrix.t())))
    return [*passed, torch.addmm(layers[-1].bias, passed[-1], layers[-1].matrix.t())]


def downwards(picks: Rows, passed: list[Rows], layers: list[Layer], activation: Activation) -> tuple[list[Rows], Rows]:
    """Return the slopes of the logits p_1 .. p_L, and g_0, those in the inputs."""
    slopes = [picks]
    for k in range(len(layers) - 1, 0, -1):
        slopes.append(activation.through_(slopes[-1].mm(layers[k].matrix), passed[k]))
    return slopes[::-1], slopes[-1].mm(layers[0].matrix)


def upwards(
    of_gradients: Rows, slopes: list[Rows], passed: list[Rows], layers: list[Layer], activation: Activation
) -> list[Rows]:
    """Lead a loss's slope in g_0 back through `downwards` into the matrices' gradients; its slopes in s_1 .. s_L-1.

    The latter, (slope in p_k) g_k phi''(s_k), are none where the activation has no second derivative.
    """
    above, bends = of_gradients, []
    for k, (layer, slope) in enumerate(zip(layers, slopes, strict=True), 1):
        layer.of_matrix.addmm_(slope.t(), above)
        if k < len(layers):
            of_slope = above.mm(layer.matrix.t())
            if activation.bends:
                bends.append((of_slope * slope).mul_(passed[k]).mul_(-2))
            above = activation.through_(of_slope, passed[k])
    return bends


def backward(of_sums: Rows, bends: list[Rows], passed: list[Rows], layers: list[Layer], activation: Activation) -> None:
    """Lead the slopes in s_L of the first rows back into the gradients; `bends` join on the way, in the last rows."""
    rows = len(of_sums)
    for k in range(len(layers) - 1, -1, -1):
        layers[k].of_matrix.addmm_(of_sums.t(), passed[k][:rows])
        torch.sum(of_sums, 0, out=layers[k].of_bias)
        if k:
            of_sums = activation.through_(of_sums.mm(layers[k].matrix), passed[k][:rows])
            for bend in bends[k - 1 : k]:
                of_sums[-len(bend) :].add_(bend)


# --- losses


def penalty_slope(gradients: Rows, penalty: GradientPenalty, stretch: PerInput) -> tuple[Scalar, Rows]:
    """Return weight E | |gradient| - target |^power, where |gradient|^2 = sum stretch gradient^2; and its slope."""
    norms = gradients.square().mv(stretch).add_(1e-12).sqrt_()  # the root has no derivative at zero
    gaps = norms - penalty.target
    steep = gaps if penalty.power == 2 else gaps.abs().pow_(penalty.power - 1).copysign_(gaps)
    cost = torch.dot(gaps, steep).mul_(penalty.weight / len(norms))
    factors = (steep / norms).mul_(penalty.weight * penalty.power / len(norms))
    return cost, torch.outer(factors, stretch).mul_(gradients)


def slope_of(objective: Objective, entropy: float) -> Slope:
    """Return the slope in the logits [rows], the first half of them real, of the loss less the weighted entropy."""
    logistic = getattr(type(objective), "discriminator_loss", None) is GAIL.discriminator_loss
    told_apart = logistic_slope if logistic else partial(autograd_slope, objective)
    if entropy == 0:
        return told_apart
    return lambda logits: told_apart(logits).sub_(entropy_slope(logits), alpha=entropy)


def logistic_slope(logits: PerRow) -> PerRow:
    """(D - [real]) / batch."""
    batch = len(logits) // 2
    slope = logits.sigmoid().div_(batch)
    slope[:batch].sub_(1 / batch)
    return slope


def autograd_slope(objective: Objective, logits: PerRow) -> PerRow:
    """Ask autograd, from the logits on."""
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        return torch.autograd.grad(objective.discriminator_loss(*leaf.chunk(2)), leaf)[0]


def entropy_slope(logits: PerRow) -> PerRow:
    """-l D (1 - D) / rows."""
    judged = logits.sigmoid()
    return judged.addcmul_(judged, judged, value=-1).mul_(logits).div_(-len(logits))


class FlatMoments:
    """The step of a torch.optim.Adam in one call; between calls the optimizer's own state is the true one."""

    def __init__(self, optimizer: torch.optim.Adam, weights: Flat) -> None:
        self.optimizer, self.weights = optimizer, weights
        self.first, self.second = torch.zeros_like(weights.values), torch.zeros_like(weights.values)
        self.count = torch.zeros((), device=weights.values.device)
        sizes = [weight.numel() for weight in weights.parameters]
        self.views = [
            (weight, first.view_as(weight), second.view_as(weight))
            for weight, first, second in zip(
                weights.parameters, torch.split(self.first, sizes), torch.split(self.second, sizes), strict=True
            )
        ]

    def take_up(self) -> None:
        """Read the optimizer's state, which may be a new one, and hold it as views."""
        for weight, first, second in self.views:
            state = self.optimizer.state[weight]
            if not state:
                state["step"] = torch.zeros_like(self.count)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(first), torch.zeros_like(second)
            first.copy_(state["exp_avg"])
            second.copy_(state["exp_avg_sq"])
            self.count.copy_(state["step"])
            state["exp_avg"], state["exp_avg_sq"] = first, second

    def step(self) -> None:
        """Move the weights against their gradients."""
        group = self.optimizer.param_groups[0]
        held = [self.weights], [self.first], [self.second], [self.count]
        adam_(*held, group["lr"], group["betas"], group["eps"])

    def hand_back(self) -> None:
        """Tell the optimizer how many steps were made; the moments it has."""
        for weight, _, _ in self.views:
            self.optimizer.state[weight]["step"].copy_(self.count)
