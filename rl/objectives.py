"""What logits mean: how the discriminator learns, and what a sample earns.

Let l be a logit (high = real) and D = sigmoid(l) the probability of real, so that
log D = -softplus(-l), log(1 - D) = -softplus(l) and l = log D - log(1 - D).
At the best discriminator l = log(real density / fake density).

The generator climbs the mean reward, through the sample or through the log-probability; so no generator loss is
written here. All of it is computed in float32 (float64 stays float64), whatever the precision of the networks.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rl.discriminator import Logits, full_precision

Scalar = Float[Tensor, ""]
AnyLogits = Float[Tensor, "..."]  # real and fake may differ in number and in places


@runtime_checkable
class Objective(Protocol):
    """A pair: the discriminator's loss and the sample's reward."""

    def discriminator_loss(self, real: AnyLogits, fake: AnyLogits) -> Scalar:
        """Fall as real logits and fake logits move apart; the mean over samples and places."""
        ...

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Say what every fake earns, in the shape of `fake`; only relativistic objectives use `real`."""
        ...


def _log_sigmoid(logits: Tensor) -> Tensor:
    return F.logsigmoid(full_precision(logits))


def _softplus(logits: Tensor) -> Tensor:
    # torch's softplus turns linear above 20, which costs float64 nine digits
    return -F.logsigmoid(-full_precision(logits))


class _Logistic:
    """Cross-entropy of real against fake: -E log D(real) - E log(1 - D(fake)); Goodfellow et al. 2014, eq. 1."""

    def discriminator_loss(self, real: AnyLogits, fake: AnyLogits) -> Scalar:
        """E softplus(-real) + E softplus(fake)."""
        return _softplus(-real).mean() + _softplus(fake).mean()


@dataclass(frozen=True)
class NonSaturating(_Logistic):
    """The generator maximises log D; Goodfellow et al. 2014 (arXiv 1406.2661), section 3, the usual GAN, DCGAN, CGAN.

    Its gradient 1 - D does not vanish where the discriminator is sure of a fake.
    """

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Give log D = -softplus(-l), never positive."""
        return _log_sigmoid(fake)


@dataclass(frozen=True)
class Minimax(_Logistic):
    """The generator minimises log(1 - D); Goodfellow et al. 2014, eq. 1; GAIL: Ho & Ermon 2016 (1606.03476), alg. 1.

    Its gradient D vanishes where the discriminator is sure of a fake. The reward is never negative, so an agent is
    paid for staying alive.
    """

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """-log(1 - D) = softplus(l), never negative."""
        return _softplus(fake)


GAIL = Minimax


@dataclass(frozen=True)
class AIRL(_Logistic):
    """The generator maximises log D - log(1 - D), the reverse KL; Fu et al. 2018 (1710.11248), alg. 1."""

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Give log D - log(1 - D) = l, of either sign."""
        return full_precision(fake)


@dataclass(frozen=True)
class FAIRL(_Logistic):
    """The forward KL as a reward: -l e^l; Ghasemipour et al. 2020 (1911.02256), FAIRL.

    E_real[log(real/fake)] = E_fake[(real/fake) log(real/fake)] with real/fake = e^l, and the generator minimises it.
    """

    limit: float = 10.0
    """largest l in the exponent: beyond it the reward falls as -l e^limit, so that it stays finite"""

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """-l e^min(l, limit): at most 1/e (at l = -1), falling without bound as l grows."""
        logits = full_precision(fake)
        return -logits * logits.clamp(max=self.limit).exp()


@dataclass(frozen=True)
class Wasserstein:
    """The difference of means, for a discriminator kept Lipschitz; Arjovsky et al. 2017 (1701.07875), eq. 2."""

    def discriminator_loss(self, real: AnyLogits, fake: AnyLogits) -> Scalar:
        """E fake - E real."""
        return full_precision(fake).mean() - full_precision(real).mean()

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Give the logit itself."""
        return full_precision(fake)


@dataclass(frozen=True)
class Hinge:
    """Margins of one on both sides; Lim & Ye 2017 (1705.02894); Miyato et al. 2018 (1802.05957), eq. 16, 17."""

    def discriminator_loss(self, real: AnyLogits, fake: AnyLogits) -> Scalar:
        """E max(0, 1 - real) + E max(0, 1 + fake)."""
        return F.relu(1 - full_precision(real)).mean() + F.relu(1 + full_precision(fake)).mean()

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Give the logit itself."""
        return full_precision(fake)


@dataclass(frozen=True)
class LeastSquares:
    """Regression of the raw logit on 1 (real) and 0 (fake); Mao et al. 2017 (1611.04076), eq. 9."""

    def discriminator_loss(self, real: AnyLogits, fake: AnyLogits) -> Scalar:
        """E (real - 1)^2 / 2 + E fake^2 / 2."""
        return (full_precision(real) - 1).square().mean() / 2 + full_precision(fake).square().mean() / 2

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """-(l - 1)^2 / 2: best where the discriminator says exactly real."""
        return -(full_precision(fake) - 1).square() / 2


@dataclass(frozen=True)
class BoundarySeeking(_Logistic):
    """The generator seeks D = 1/2; Hjelm et al. 2018 (1702.08431): minimise (log D - log(1 - D))^2 / 2."""

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """-l^2 / 2: best where the discriminator cannot tell."""
        return -full_precision(fake).square() / 2


@dataclass(frozen=True)
class SeqGAN(_Logistic):
    """The probability of real as the reward; Yu et al. 2017 (1609.05473), eq. 4."""

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """D = sigmoid(l), between 0 and 1."""
        return full_precision(fake).sigmoid()


@dataclass(frozen=True)
class MaliGAN(_Logistic):
    """Importance weights D / (1 - D) = e^l, normalised over the batch; Che et al. 2017 (1702.07983), alg. 1.

    Normalised, the weights of one place sum to one over the batch, and adding a constant to every logit changes
    nothing. Their mean is 1 / batch: as `reinforce` averages over the batch, scale them by the batch to get the paper's
    sum.
    """

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """e^l / sum over the batch of e^l, for every place by itself."""
        return full_precision(fake).softmax(0)


@dataclass(frozen=True)
class Relativistic:
    """A real should look more real than a fake; Jolicoeur-Martineau 2018 (1807.00734), RSGAN.

    With R1 and R2 this is R3GAN: Huang et al. 2024 (2501.05441), eq. 2. Real and fake are paired by position.
    """

    def discriminator_loss(self, real: Logits, fake: Logits) -> Scalar:
        """E softplus(fake - real)."""
        return -self.reward(real, fake).mean()

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Give log sigmoid(fake - real); raises ValueError where `real` is missing or of another shape."""
        if real is None:
            raise ValueError("Relativistic: the reward compares fake with real logits: give reward(fake, real)")
        if real.shape != fake.shape:
            raise ValueError(
                f"Relativistic: real {tuple(real.shape)} and fake {tuple(fake.shape)} are paired: shapes must agree"
            )
        return _log_sigmoid(full_precision(fake) - full_precision(real))


@dataclass(frozen=True)
class RelativisticAverage:
    """A real should look more real than the average fake, and a fake less than the average real; RaSGAN, 1807.00734.

    Jolicoeur-Martineau 2018, section 4.2. The averages run over all logits of a side, so the sides may differ in
    number. The generator's loss looks at the reals as well: every fake earns an equal share of that half, so that the
    mean reward is minus the paper's loss.
    """

    def discriminator_loss(self, real: AnyLogits, fake: AnyLogits) -> Scalar:
        """E softplus(mean fake - real) + E softplus(fake - mean real)."""
        return -self.reward(real, fake).mean()

    def reward(self, fake: AnyLogits, real: AnyLogits | None = None) -> AnyLogits:
        """Give log sigmoid(fake - mean real) + E log(1 - sigmoid(real - mean fake)); ValueError without `real`."""
        if real is None:
            raise ValueError("RelativisticAverage: the reward compares fake with real logits: give reward(fake, real)")
        fake, real = full_precision(fake), full_precision(real)
        return _log_sigmoid(fake - real.mean()) - _softplus(real - fake.mean()).mean()


@dataclass(frozen=True)
class EnergyMargin:
    """A logit is minus an energy, low for reals and at least the margin for fakes; EBGAN, Zhao et al. (1609.03126)."""

    margin: float = 1.0
    """energy from which on a fake costs the discriminator nothing"""

    def discriminator_loss(self, real: AnyLogits, fake: AnyLogits) -> Scalar:
        """E energy(real) + E max(0, margin - energy(fake)); eq. 1."""
        return F.relu(self.margin + full_precision(fake)).mean() - full_precision(real).mean()

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Give the logit itself: the generator lowers the energy; eq. 2."""
        return full_precision(fake)


class Equilibrium(nn.Module):
    """A logit is minus an error, and the fakes' weight keeps errors in proportion; BEGAN, Berthelot et al. 2017.

    1703.10717, section 3.4. The weight k starts at 0. In training mode every loss moves k for the next one, so that
    E error(fake) / E error(real) goes to the diversity, and notes how far the game has come (low = far).
    """

    balance: Tensor
    convergence: Tensor

    def __init__(self, diversity: float = 0.5, rate: float = 0.001) -> None:
        super().__init__()
        self.diversity, self.rate = diversity, rate
        self.register_buffer("balance", torch.zeros(()))
        self.register_buffer("convergence", torch.zeros(()))

    def discriminator_loss(self, real: AnyLogits, fake: AnyLogits) -> Scalar:
        """E error(real) - k E error(fake)."""
        real_error, fake_error = -full_precision(real).mean(), -full_precision(fake).mean()
        loss = real_error - self.balance.clone() * fake_error  # the graph keeps the k of this loss
        if self.training:
            self._follow(real_error.detach(), fake_error.detach())
        return loss

    def reward(self, fake: Logits, real: Logits | None = None) -> Logits:
        """Give the logit itself: the generator lowers the error."""
        return full_precision(fake)

    @torch.no_grad()
    def _follow(self, real_error: Scalar, fake_error: Scalar) -> None:
        gap = self.diversity * real_error - fake_error
        self.balance.add_(self.rate * gap).clamp_(0, 1)
        self.convergence.copy_(real_error + gap.abs())


AnyObjective: TypeAlias = (
    NonSaturating
    | Minimax
    | AIRL
    | FAIRL
    | Wasserstein
    | Hinge
    | LeastSquares
    | BoundarySeeking
    | SeqGAN
    | MaliGAN
    | Relativistic
    | RelativisticAverage
    | EnergyMargin
)
