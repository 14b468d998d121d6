"""Dirac-GAN: the smallest game in which training may go round for ever; Mescheder et al. 2018 (1801.04406), section 2.

The data is the origin of a line, the generator paints one point theta, the discriminator's logit is psi x: whatever
slope tells them apart at one moment is wrong at the next. The only equilibrium is theta = psi = 0.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from image_gans.dealing import Plain
from image_gans.judging import Judge, Verdict
from image_gans.numbers import Facts, Numbers
from image_gans.players import Examined, Players
from rl.estimators import pathwise
from rl.objectives import Objective
from rl.penalties import Penalty
from rl.runtime import InputError

Many = Float[Tensor, "games"]
Places = Float[Tensor, "games 2"]
"""theta and psi of each game"""


class Point(nn.Module):
    """Paint one point, whatever the noise."""

    def __init__(self, theta: float = 1.0) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta))

    def forward(self, latent: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch 1"]:
        """Paint."""
        return self.theta.expand(len(latent), 1)


class Slope(Judge):
    """Judge x by psi x."""

    def __init__(self, psi: float = 1.0) -> None:
        super().__init__()
        self.psi = nn.Parameter(torch.tensor(psi))

    def judge(self, x: Float[Tensor, "batch 1"]) -> Verdict:
        """Give psi x; the feature is x."""
        return Verdict(self.psi * x[:, 0], x)


@dataclass(frozen=True)
class InstanceNoise:
    """Gaussian noise on everything judged; Sonderby et al. 2017 (1610.04490), section 2.6."""

    sd: float

    def __call__(self, sample: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Add noise."""
        return sample + self.sd * torch.randn_like(sample)

    def observe(self, logits: Float[Tensor, "..."]) -> None:
        """Ignore."""


def dirac(n: Numbers, facts: Facts) -> Players:
    """Return the two nets of one parameter each. Raises InputError for data that are not numbers."""
    if facts.shape != (1,):
        raise InputError(f"--data: Dirac-GAN plays on single numbers such as `origin`, not on shape {facts.shape}")
    return Players(Point(), Slope(), Plain(n.latent), probe=where)


def where(examined: Examined) -> dict[str, float]:
    """Measure the two parameters, and their distance to the equilibrium."""
    place = torch.stack([examined.generator.theta, examined.discriminator.psi]).detach()
    return {"theta": place[0].item(), "psi": place[1].item(), "radius": radius(place).item()}


def field(objective: Objective, penalty: Penalty, places: Places) -> Places:
    """Return where plain gradient descent of both players moves (theta, psi), for many games at once.

    Section 2, the gradient vector field: minus the gradient of each player's own loss. The objective must judge samples
    (or pairs) one by one.
    """
    theta, psi = (column.detach().requires_grad_() for column in places.unbind(1))
    fake, origin = theta[:, None], torch.zeros_like(theta)[:, None]

    def judge(slopes: Many) -> Any:
        return lambda x: slopes * x[:, 0]

    learning, fixed = judge(psi), judge(psi.detach())
    # means over the games, each of which has its own parameters: times the games, these are each one's own gradient
    loss = objective.discriminator_loss(learning(origin), learning(fake.detach()))
    loss = loss + penalty(learning, origin, fake.detach())
    climb = pathwise(objective.reward(fixed(fake), fixed(origin)))
    gradients = [torch.autograd.grad(climb, theta)[0], torch.autograd.grad(loss, psi)[0]]
    return -len(places) * torch.stack(gradients, 1)


def eigenvalues(objective: Objective, penalty: Penalty, step: float = 1e-4) -> Tensor:
    """Return the two complex eigenvalues of the field's Jacobian at the equilibrium, by central differences.

    Small steps lead there if both real parts are negative, and go round if they are zero. Of logistic losses with R1 or
    R2 of weight gamma they are (-gamma +- sqrt(gamma^2 - 1)) / 2; section 3. Meaningless where the field has a kink
    there, as a penalty that wants another gradient than zero has.
    """
    sides = torch.cat([torch.eye(2), -torch.eye(2)]).double() * step
    ahead, behind = field(objective, penalty, sides).split(2)
    return torch.linalg.eigvals((ahead - behind).T / (2 * step))


def radius(places: Float[Tensor, "*games 2"]) -> Float[Tensor, "*games"]:
    """Return the distance to the equilibrium."""
    return places.norm(dim=-1)
