"""What keeps a discriminator smooth: terms that are added to its loss.

A penalty gets the EAGER network, never a compiled one: torch.compile has no double backward. A round computes the
penalty before the discriminator's forward pass, because weight clipping changes the weights in place.

A sample is a tensor [batch ...], or a tuple, named tuple or dataclass of such (an image with its label, an observation
with its action). Its floating-point tensors are differentiated, interpolated and perturbed together; all others
(labels) are conditions, taken from the real sample. A sample's gradient norm runs over all its floating-point numbers.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.discriminator import Discriminator, full_precision
from rl.second_order import twice_differentiable

X = TypeVar("X")
Scalar = Float[Tensor, ""]


@runtime_checkable
class Penalty(Protocol):
    """A term of the discriminator's loss that may look at the discriminator itself."""

    def __call__(self, discriminator: Discriminator[X], real: X, fake: X, /) -> Scalar:
        """Give the term, weighted, differentiable in the discriminator's weights."""
        ...


def input_gradient(discriminator: Discriminator[X], x: X) -> X:
    """Gradient of the sum of all logits with respect to x, in the shape of x, itself differentiable.

    Each sample gets its own gradient, as long as the discriminator judges samples one by one (no batch norm). What is
    not floating-point gets zeros. Runs in float32 and with kernels that have a second derivative: no autocast, no
    cuDNN for recurrent nets, plain mathematics for attention. Raises ValueError where the logits ignore all of x.
    """
    wanted = [_is_floating(leaf) for leaf in _leaves(x)]
    leaves = [full_precision(leaf.detach()).requires_grad_(want) for leaf, want in zip(_leaves(x), wanted, strict=True)]
    with twice_differentiable(leaves[0].device.type):
        logits = full_precision(discriminator(_rebuild(x, iter(leaves))))
        inputs = [leaf for leaf in leaves if leaf.requires_grad]
        found = torch.autograd.grad(logits.sum(), inputs, create_graph=True, allow_unused=True)
    if all(gradient is None for gradient in found):
        raise ValueError("input_gradient: the logits do not depend on the sample, its graph is cut somewhere")
    gradients = iter(found)
    filled = [next(gradients) if want else None for want in wanted]
    zeros = (torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, filled, strict=True))
    return _rebuild(x, zeros)


@dataclass(frozen=True)
class NoPenalty:
    """Nothing added."""

    def __call__(self, discriminator: Discriminator[X], real: X, fake: X) -> Scalar:
        """Give zero."""
        return _zero(real)


@dataclass(frozen=True)
class GradientPenalty:
    """weight E (|gradient| - target)^power between real and fake; Gulrajani et al. 2017 (1704.00028), eq. 3.

    Each pair is mixed in its own proportion, drawn uniformly. WGAN-div is target 0, power 6, weight 2:
    Wu et al. 2018 (1712.01026). Target 0 with power 2 is the zero-centred penalty of Thanh-Tung et al. 2019.
    """

    weight: float = 10.0
    """of the term in the loss"""
    target: float = 1.0
    """norm of the gradient that costs nothing"""
    power: float = 2.0
    """of the distance to the target"""

    def __call__(self, discriminator: Discriminator[X], real: X, fake: X) -> Scalar:
        """Penalise on random mixtures; raises ValueError where real and fake differ in shape."""
        norms = _norms(input_gradient(discriminator, _mix(real, fake)))
        return self.weight * (norms - self.target).abs().pow(self.power).mean()


@dataclass(frozen=True)
class R1:
    """weight / 2 E |gradient|^2 on real samples; Mescheder et al. 2018 (1801.04406), eq. 9."""

    weight: float = 10.0
    """gamma of the paper"""

    def __call__(self, discriminator: Discriminator[X], real: X, fake: X) -> Scalar:
        """Penalise on reals."""
        return self.weight / 2 * _squared_norms(input_gradient(discriminator, real)).mean()


@dataclass(frozen=True)
class R2:
    """weight / 2 E |gradient|^2 on fakes; Mescheder et al. 2018 (1801.04406), eq. 10."""

    weight: float = 10.0
    """gamma of the paper"""

    def __call__(self, discriminator: Discriminator[X], real: X, fake: X) -> Scalar:
        """Penalise on fakes."""
        return self.weight / 2 * _squared_norms(input_gradient(discriminator, fake)).mean()


@dataclass(frozen=True)
class DRAGAN:
    """weight E (|gradient| - target)^2 around real samples; Kodali et al. 2017 (1705.07215).

    Every number of every sample gets its own Gaussian noise, of `noise` times the standard deviation of the batch.
    """

    weight: float = 10.0
    """of the term in the loss"""
    target: float = 1.0
    """norm of the gradient that costs nothing"""
    noise: float = 0.5
    """in standard deviations of the real batch"""

    def __call__(self, discriminator: Discriminator[X], real: X, fake: X) -> Scalar:
        """Penalise on perturbed reals."""
        near = _map(lambda leaf: leaf + self.noise * leaf.std() * torch.randn_like(leaf), real)
        return self.weight * (_norms(input_gradient(discriminator, near)) - self.target).square().mean()


@dataclass(frozen=True)
class WeightClipping:
    """Hold every weight between -limit and limit; Arjovsky et al. 2017 (1701.07875), algorithm 1.

    The discriminator must be an nn.Module. It is clipped in place, before its forward pass: autograd raises where
    that comes between a forward and its backward pass.
    """

    limit: float = 0.01
    """largest size of a weight"""

    @torch.no_grad()
    def __call__(self, discriminator: Discriminator[X], real: X, fake: X) -> Scalar:
        """Clip, and give zero; raises TypeError for a discriminator without weights."""
        if not isinstance(discriminator, nn.Module):
            raise TypeError(f"WeightClipping: needs an nn.Module to clip, got {type(discriminator).__name__}")
        for weight in discriminator.parameters():
            weight.clamp_(-self.limit, self.limit)
        return _zero(real)


AnyPenalty: TypeAlias = NoPenalty | GradientPenalty | R1 | R2 | DRAGAN | WeightClipping
"""The penalties without a memory: plain values, fit for a configuration."""


class LeCam(nn.Module):
    """Pull logits towards the running mean of the other side; Tseng et al. 2021 (2104.03310), section 3.

    weight (E (real - mean of fakes)^2 + E (fake - mean of reals)^2). The means are buffers; in training mode every call
    first takes its own batch into them.
    """

    real_mean: Tensor
    fake_mean: Tensor
    started: Tensor

    def __init__(self, weight: float = 0.1, decay: float = 0.99) -> None:
        super().__init__()
        self.weight = weight
        self.decay = decay
        self.register_buffer("real_mean", torch.zeros(()))
        self.register_buffer("fake_mean", torch.zeros(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def forward(self, discriminator: Discriminator[X], real: X, fake: X) -> Scalar:
        """Judge both again, move the means, give the term."""
        on_real, on_fake = full_precision(discriminator(real)), full_precision(discriminator(fake))
        if self.training:
            with torch.no_grad():
                # the first batch stands for all that came before; no branch, so no wait for the device
                decay = self.decay * self.started
                self.real_mean.copy_(on_real.mean().lerp(self.real_mean.to(on_real), decay.to(on_real)))
                self.fake_mean.copy_(on_fake.mean().lerp(self.fake_mean.to(on_fake), decay.to(on_fake)))
                self.started.fill_(True)
        # copies, as the buffers may move before the backward pass
        real_mean, fake_mean = self.real_mean.clone(), self.fake_mean.clone()
        return self.weight * ((on_real - fake_mean).square().mean() + (on_fake - real_mean).square().mean())


class Every(nn.Module):
    """Lazy regularisation: the penalty on calls 0, n, 2n, ..., times n; Karras et al. 2020 (1912.04958), appendix B."""

    def __init__(self, n: int, penalty: Penalty) -> None:
        super().__init__()
        if n < 1:
            raise ValueError(f"Every: n must be at least 1, got {n}")
        self.n = n
        self.penalty = penalty
        self.calls = 0

    def forward(self, discriminator: Discriminator[X], real: X, fake: X) -> Scalar:
        """Give n times the penalty, or zero out of turn."""
        due = self.calls % self.n == 0
        self.calls += 1
        return self.n * self.penalty(discriminator, real, fake) if due else _zero(real)

    def get_extra_state(self) -> dict[str, int]:
        """Put the count into the state_dict."""
        return {"calls": self.calls}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take the count from a state_dict."""
        self.calls = state["calls"]


class Sum(nn.Module):
    """Several penalties at once."""

    def __init__(self, penalties: Sequence[Penalty]) -> None:
        super().__init__()
        self.penalties = tuple(penalties)
        self.stateful = nn.ModuleList(penalty for penalty in self.penalties if isinstance(penalty, nn.Module))

    def forward(self, discriminator: Discriminator[X], real: X, fake: X) -> Scalar:
        """Give the sum."""
        total = _zero(real)
        for penalty in self.penalties:
            total = total + penalty(discriminator, real, fake)
        return total


def _squared_norms(x: object) -> Float[Tensor, "batch"]:
    per_leaf = [leaf.reshape(len(leaf), -1).square().sum(1) for leaf in _leaves(x) if _is_floating(leaf)]
    return torch.stack(per_leaf).sum(0)


def _norms(x: object) -> Float[Tensor, "batch"]:
    # the root has no derivative at zero
    return (_squared_norms(x) + 1e-12).sqrt()


def _mix(real: X, fake: X) -> X:
    """Interpolate with one proportion per sample, the same for all tensors of a sample."""
    ours, theirs = list(_leaves(real)), list(_leaves(fake))
    shapes = [[tuple(leaf.shape) for leaf in leaves] for leaves in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"GradientPenalty: real {shapes[0]} and fake {shapes[1]} are mixed, their shapes must agree")
    share = torch.rand(ours[0].shape[0], device=ours[0].device)

    def mixed(a: Tensor, b: Tensor) -> Tensor:
        if not _is_floating(a):
            return a
        a, b = full_precision(a.detach()), full_precision(b.detach())
        return b.lerp(a, share.to(a.dtype).view(-1, *[1] * (a.dim() - 1)))

    return _rebuild(real, (mixed(a, b) for a, b in zip(ours, theirs, strict=True)))


def _map(change: Callable[[Tensor], Tensor], x: X) -> X:
    return _rebuild(x, (change(full_precision(leaf)) if _is_floating(leaf) else leaf for leaf in _leaves(x)))


def _is_floating(leaf: Tensor) -> bool:
    return leaf.is_floating_point()


def _zero(x: object) -> Scalar:
    return torch.zeros((), device=next(_leaves(x)).device)


def _leaves(x: object) -> Iterator[Tensor]:
    """Walk the tensors of a sample, in order."""
    if isinstance(x, Tensor):
        yield x
    else:
        for part in _parts(x):
            yield from _leaves(part)


def _rebuild(x: X, leaves: Iterator[Tensor]) -> X:
    """Make a sample like x from other tensors."""
    if isinstance(x, Tensor):
        return cast(X, next(leaves))
    parts = [_rebuild(part, leaves) for part in _parts(x)]
    kind: Callable[..., Any] = type(x)
    return cast(X, tuple(parts) if type(x) is tuple else kind(*parts))


def _parts(x: object) -> list[Any]:
    if isinstance(x, tuple):
        return list(x)
    if dataclasses.is_dataclass(x):
        return [getattr(x, field.name) for field in dataclasses.fields(x)]
    raise TypeError(f"a sample is a tensor, or a tuple or dataclass of tensors, not {type(x).__name__}")
