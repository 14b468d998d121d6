"""What judges the steps of an agent: small networks on an observation, an action, what followed.

They read steps whose observations are features already (`embed`): standardised numbers, or what the agent's encoder
makes of pixels, without its gradient.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rl.control.spaces import Actions
from rl.control.transitions import Transitions
from rl.discriminator import full_precision

PerStep = Float[Tensor, "*places"]
Sees: TypeAlias = Literal["state-action", "state", "state-next"]


@torch.no_grad()
def embed(encoder: Callable[[Tensor], Tensor], steps: Transitions, actions: Actions) -> Transitions:
    """Replace observations by the encoder's features, without its gradient, and clip actions as the environment does.

    What an agent sampled beyond the bounds was never done: shown unclipped, it would be told from the expert's actions
    by that alone.
    """
    if actions.kind == "box":
        low, high = (steps.actions.new_tensor(bound) for bound in (actions.low, actions.high))
        steps = steps._replace(actions=steps.actions.clamp(low, high))
    return steps._replace(obs=encoder(steps.obs), next_obs=encoder(steps.next_obs))


class SpectralLinear(nn.Linear):
    """A linear map divided by its largest singular value; Miyato et al. 2018 (1802.05957), algorithm 1.

    The singular vector is followed by one power iteration per pass in training mode.
    """

    direction: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("direction", F.normalize(torch.randn(outputs), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """Map."""
        with torch.no_grad():
            right = F.normalize(self.weight.t() @ self.direction, dim=0)
            image = self.weight @ right
            left = F.normalize(image, dim=0)
            if self.training:
                self.direction.copy_(left)
        norm = torch.dot(left, self.weight @ right)
        return F.linear(x, self.weight / norm, self.bias)


class StepDiscriminator(nn.Module):
    """A perceptron on (s, a), s or (s, s').

    A box action is one more input, scaled to about [-1, 1] where it is bounded; discrete actions have one logit each
    (Ho & Ermon 2016, the authors' code). Steps [*places] give logits [*places].
    """

    middle: Tensor
    reach: Tensor

    def __init__(
        self,
        width: int,
        actions: Actions,
        sees: Sees = "state-action",
        hidden: tuple[int, ...] = (64,),
        spectral: bool = False,
        dropout: float = 0.0,
        activation: Literal["relu", "tanh"] = "relu",
    ) -> None:
        super().__init__()
        self.description = {
            "kind": "step", "width": width, "sees": sees, "hidden": list(hidden), "spectral": spectral,
            "dropout": dropout, "activation": activation,
        }  # fmt: skip
        self.sees = sees
        self.chosen = sees == "state-action" and actions.kind == "discrete"
        boxed = sees == "state-action" and actions.kind == "box"
        middle, reach = actions.scale if boxed else (torch.zeros(0), torch.ones(0))
        self.register_buffer("middle", middle)
        self.register_buffer("reach", reach)
        self.numbers = width * (2 if sees == "state-next" else 1)
        self.outputs = actions.size if self.chosen else 1
        self.net = perceptron(self.numbers + len(middle), hidden, self.outputs, spectral, dropout, activation)

    @property
    def scale(self) -> Float[Tensor, "inputs"]:
        """Return by what each number of a step is divided to be an input."""
        return torch.cat([self.reach.new_ones(self.numbers), self.reach])

    def inputs(self, steps: Transitions) -> Float[Tensor, "*places inputs"]:
        """Return what the perceptron reads."""
        parts = [steps.obs]
        if self.sees == "state-next":
            parts.append(steps.next_obs)
        if len(self.middle):
            parts.append((steps.actions - self.middle) / self.reach)
        return torch.cat(parts, -1)

    def forward(self, steps: Transitions) -> PerStep:
        """Judge every step."""
        logits: Tensor = self.net(self.inputs(steps))
        if self.chosen:
            return full_precision(logits).gather(-1, steps.actions.unsqueeze(-1)).squeeze(-1)
        return full_precision(logits).squeeze(-1)


class ShapedDiscriminator(nn.Module):
    """f(s, s') = g(s) + gamma h(s') - h(s); Fu et al. 2018 (1710.11248), eq. 4.

    g depends on the state alone, so it can serve where the dynamics differ. A termination (never a time limit) ends the
    shaping: h is 0 there. The logit of AIRL is f - log pi: see `sources.log_prob_under`.
    """

    def __init__(
        self, width: int, discount: float, hidden: tuple[int, ...] = (32,), activation: Literal["relu", "tanh"] = "relu"
    ) -> None:
        super().__init__()
        self.description = {
            "kind": "shaped", "width": width, "discount": discount, "hidden": list(hidden), "activation": activation,
        }  # fmt: skip
        self.discount = discount
        self.g = perceptron(width, hidden, 1, False, 0.0, activation)
        self.h = perceptron(width, hidden, 1, False, 0.0, activation)

    def forward(self, steps: Transitions) -> PerStep:
        """Judge every step: f."""
        after = full_precision(self.h(steps.next_obs)).squeeze(-1).masked_fill(steps.terminated, 0)
        before = full_precision(self.h(steps.obs)).squeeze(-1)
        return self.state_reward(steps) + self.discount * after - before

    def state_reward(self, steps: Transitions) -> PerStep:
        """Return g(s), the reward that is left without the shaping: what to keep and to carry elsewhere."""
        return full_precision(self.g(steps.obs)).squeeze(-1)


class StateReward(nn.Module):
    """g of a ShapedDiscriminator as a discriminator of its own."""

    def __init__(self, shaped: ShapedDiscriminator) -> None:
        super().__init__()
        self.description = shaped.description | {"kind": "state reward"}
        self.shaped = shaped

    def forward(self, steps: Transitions) -> PerStep:
        """Judge states."""
        return self.shaped.state_reward(steps)


def build(description: dict[str, Any], actions: Actions) -> nn.Module:
    """Make the discriminator that a `description` speaks of, with new weights. Raises KeyError or TypeError if none."""
    kind, numbers = description["kind"], {key: value for key, value in description.items() if key != "kind"}
    numbers["hidden"] = tuple(numbers["hidden"])
    if kind == "step":
        return StepDiscriminator(actions=actions, **numbers)
    shaped = ShapedDiscriminator(**numbers)
    return {"shaped": shaped, "state reward": StateReward(shaped)}[kind]


def perceptron(
    inputs: int,
    hidden: tuple[int, ...],
    outputs: int,
    spectral: bool = False,
    dropout: float = 0.0,
    activation: Literal["relu", "tanh"] = "relu",
) -> nn.Sequential:
    """Build layers of `hidden` units with an activation (and dropout) after each, then `outputs` numbers."""
    linear, nonlinear = SpectralLinear if spectral else nn.Linear, nn.ReLU if activation == "relu" else nn.Tanh
    layers: list[nn.Module] = []
    for size in hidden:
        layers += [linear(inputs, size), nonlinear()]
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        inputs = size
    return nn.Sequential(*layers, linear(inputs, outputs))
