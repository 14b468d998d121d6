"""Picture GANs written the plain way: nets, losses and steps of public PyTorch scripts; what we are measured against.

The nets have our sizes and take our weights over, and they are the same functions: doubling is interpolation before a
3x3 convolution, halving an average after one, a spectral norm follows its weights in every forward pass. All is
float32 and contiguous. The generator's step also differentiates the discriminator's weights, which nobody uses.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from image_gans.nets.dcgan import DCGANGenerator, DCGANJudge
from image_gans.nets.parts import Canvas
from image_gans.nets.resnet import DownBlock, FirstBlock, FlatBlock, ResNetGenerator, ResNetJudge, UpBlock
from image_gans.samples import Pictures

Logits = Float[Tensor, "batch"]
relu = partial(F.relu, inplace=True)


def normalised(weight: Tensor, u: Float[Tensor, "out"], training: bool) -> Tensor:
    """Make one power iteration and divide the weight by the largest singular value found."""
    matrix = weight.flatten(1)
    with torch.no_grad():
        v = F.normalize(matrix.T @ u, dim=0)
        after = F.normalize(matrix @ v, dim=0)
        if training:
            u.copy_(after)
    return weight / (after @ (matrix @ v))


class SNConv2d(nn.Conv2d):
    """A convolution under a spectral norm."""

    u: Tensor

    def forward(self, maps: Tensor) -> Tensor:
        """Convolve with the normalised weight."""
        return F.conv2d(maps, normalised(self.weight, self.u, self.training), self.bias, self.stride, self.padding)


class SNLinear(nn.Linear):
    """A linear layer under a spectral norm."""

    u: Tensor

    def forward(self, rows: Tensor) -> Tensor:
        """Multiply by the normalised weight."""
        return F.linear(rows, normalised(self.weight, self.u, self.training), self.bias)


def original(layer: nn.Module) -> Tensor:
    """Return a layer's weight as it was before any spectral norm."""
    weight = layer.parametrizations.weight.original if is_parametrized(layer) else layer.weight
    return weight.detach()


@torch.no_grad()
def filled(layer: nn.Module, weight: Tensor, ours: nn.Module) -> nn.Module:
    """Give a fresh layer a weight, our layer's bias and, under a spectral norm, our singular vector."""
    layer.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format))
    if ours.bias is not None:
        layer.bias = nn.Parameter(ours.bias.detach().clone())
    if is_parametrized(ours):
        layer.register_buffer("u", ours.parametrizations.weight[0]._u.clone())
    return layer


def conv(ours: nn.Conv2d, stride: int = 1) -> nn.Module:
    """Take a convolution over."""
    kind = SNConv2d if is_parametrized(ours) else nn.Conv2d
    made = kind(ours.in_channels, ours.out_channels, ours.kernel_size, stride, ours.padding, bias=ours.bias is not None)
    return filled(made, original(ours), ours)


def linear(ours: nn.Linear) -> nn.Module:
    """Take a linear layer over."""
    kind = SNLinear if is_parametrized(ours) else nn.Linear
    return filled(kind(ours.in_features, ours.out_features, bias=ours.bias is not None), original(ours), ours)


def copied(ours: nn.Module) -> nn.Module:
    """Take over a layer that is no different here: in contiguous layout, and in place where that can be."""
    made = deepcopy(ours).to(memory_format=torch.contiguous_format)
    if isinstance(made, nn.ReLU | nn.LeakyReLU):
        made.inplace = True
    return made


def norm(ours: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """Take batch norm over."""
    made = nn.BatchNorm2d(ours.num_features, dtype=ours.weight.dtype)
    made.load_state_dict(ours.state_dict())
    return made


def canvas(ours: Canvas) -> tuple[nn.Module, nn.Module]:
    """Take over rows that become maps: by channels first, as a view of contiguous rows has them."""
    side, _, channels = ours.map
    made = nn.Linear(ours.in_features, ours.out_features)
    made.weight = nn.Parameter(ours.weight.detach().view(side * side, channels, -1).transpose(0, 1).flatten(0, 1))
    made.bias = nn.Parameter(ours.bias.detach().view(side * side, channels).T.flatten())
    return made, nn.Unflatten(1, (channels, side, side))


class NaiveDCGANGenerator(nn.Sequential):
    """Transposed convolutions, the first of a picture of one pixel, and batch norm."""

    def __init__(self, ours: DCGANGenerator) -> None:
        start, *layers = ours
        side, _, channels = start.map
        first = nn.ConvTranspose2d(start.in_features, channels, side, 1, 0, bias=False)
        weight = start.weight.detach().view(side, side, channels, -1).permute(3, 2, 0, 1)
        super().__init__(nn.Unflatten(1, (-1, 1, 1)), filled(first, weight, start), *map(copied, layers))


class NaiveDCGANDiscriminator(nn.Sequential):
    """Strided convolutions, batch norm, and a probability."""

    def __init__(self, ours: DCGANJudge) -> None:
        *layers, _ = ours.body
        channels = layers[-3].out_channels
        side = int((ours.features // channels) ** 0.5)
        weight = ours.logit.weight.detach().view(1, side, side, channels).permute(0, 3, 1, 2)
        last = filled(nn.Conv2d(channels, 1, side, 1, 0), weight, ours.logit)
        super().__init__(*map(copied, layers), last, nn.Sigmoid(), nn.Flatten(0))


class NaiveUpBlock(nn.Module):
    """Norm, ReLU, interpolation, convolution, norm, ReLU, convolution; interpolation, 1x1 convolution beside them."""

    def __init__(self, ours: UpBlock) -> None:
        super().__init__()
        self.first_norm, self.second_norm = norm(ours.first_norm), norm(ours.second_norm)
        first = ours.first
        made = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=False)
        # a transposed convolution's weight is [in, out], and turned by half a circle
        self.first = filled(made, first.weight.detach().transpose(0, 1).flip(2, 3), first)
        self.second, self.short = conv(ours.second), conv(ours.short)

    def forward(self, maps: Tensor) -> Tensor:
        """Give maps of twice the side."""
        found = F.interpolate(relu(self.first_norm(maps)), scale_factor=2)
        found = self.second(relu(self.second_norm(self.first(found))))
        return found + self.short(F.interpolate(maps, scale_factor=2))


class NaiveResNetGenerator(nn.Sequential):
    """SNGAN's generator."""

    def __init__(self, ours: ResNetGenerator) -> None:
        super().__init__(*canvas(ours.start), *map(NaiveUpBlock, ours.blocks), *map(copied, ours.end))


class NaiveFirstBlock(nn.Module):
    """Convolution, ReLU, convolution, average; average, 1x1 convolution beside them."""

    def __init__(self, ours: FirstBlock) -> None:
        super().__init__()
        self.first, self.second, self.short = conv(ours.body[0]), conv(ours.body[2]), conv(ours.short)

    def forward(self, pictures: Pictures) -> Tensor:
        """Give maps of half the side."""
        found = F.avg_pool2d(self.second(relu(self.first(pictures))), 2)
        return found + self.short(F.avg_pool2d(pictures, 2))


class NaiveDownBlock(nn.Module):
    """ReLU, convolution, twice, average; 1x1 convolution, average beside them."""

    def __init__(self, ours: DownBlock) -> None:
        super().__init__()
        self.first, self.second, self.short = conv(ours.body[2]), conv(ours.body[5]), conv(ours.short)

    def forward(self, maps: Tensor) -> Tensor:
        """Give maps of half the side."""
        found = F.avg_pool2d(self.second(relu(self.first(F.relu(maps)))), 2)
        return found + F.avg_pool2d(self.short(maps), 2)


class NaiveFlatBlock(nn.Module):
    """ReLU, convolution, twice."""

    def __init__(self, ours: FlatBlock) -> None:
        super().__init__()
        self.first, self.second = conv(ours.body[2]), conv(ours.body[5])

    def forward(self, maps: Tensor) -> Tensor:
        """Give maps of the same shape."""
        return maps + self.second(relu(self.first(F.relu(maps))))


class NaiveResNetDiscriminator(nn.Module):
    """SNGAN's discriminator."""

    def __init__(self, ours: ResNetJudge) -> None:
        super().__init__()
        first, *down, flat, _ = ours.body
        self.body = nn.Sequential(NaiveFirstBlock(first), *map(NaiveDownBlock, down), NaiveFlatBlock(flat))
        self.logit = linear(ours.logit)

    def forward(self, pictures: Pictures) -> Logits:
        """Judge."""
        return self.logit(relu(self.body(pictures)).sum((2, 3))).squeeze(1)


def take(ours: nn.Module) -> nn.Module:
    """Make the plain net of the same function with the weights of ours."""
    kinds = {
        DCGANGenerator: NaiveDCGANGenerator,
        DCGANJudge: NaiveDCGANDiscriminator,
        ResNetGenerator: NaiveResNetGenerator,
        ResNetJudge: NaiveResNetDiscriminator,
    }
    return kinds.get(type(ours), copied)(ours)


class Players(NamedTuple):
    """Two nets and their optimizers."""

    generator: nn.Module
    discriminator: nn.Module
    g_optimizer: torch.optim.Optimizer
    d_optimizer: torch.optim.Optimizer


Step = Callable[[Players, Pictures, int, int], None]
"""from players, a real batch, the numbers in a latent, and the steps of the discriminator to each of the generator"""


def dcgan_step(players: Players, real: Pictures, latent: int, d_steps: int) -> None:
    """Make ONE step of each player on the same fakes, in the order of PyTorch's example of DCGAN."""
    generator, discriminator, g_optimizer, d_optimizer = players
    ones, zeros = real.new_ones(len(real)), real.new_zeros(len(real))
    d_optimizer.zero_grad()
    F.binary_cross_entropy(discriminator(real), ones).backward()
    fake = generator(torch.randn(len(real), latent, device=real.device))
    F.binary_cross_entropy(discriminator(fake.detach()), zeros).backward()
    d_optimizer.step()

    g_optimizer.zero_grad()
    F.binary_cross_entropy(discriminator(fake), ones).backward()
    g_optimizer.step()


def alternating_step(
    discriminator_loss: Callable[[nn.Module, Pictures, Pictures], Tensor],
    players: Players,
    real: Pictures,
    latent: int,
    d_steps: int,
) -> None:
    """Make some steps of the discriminator and one of the generator, each on its own fakes, as torch-mimicry does."""
    generator, discriminator, g_optimizer, d_optimizer = players
    for _ in range(d_steps):
        d_optimizer.zero_grad()
        fake = generator(torch.randn(len(real), latent, device=real.device)).detach()
        discriminator_loss(discriminator, real, fake).backward()
        d_optimizer.step()

    g_optimizer.zero_grad()
    fake = generator(torch.randn(len(real), latent, device=real.device))
    (-discriminator(fake).mean()).backward()
    g_optimizer.step()


def hinge(discriminator: nn.Module, real: Pictures, fake: Pictures) -> Tensor:
    """Hold reals above 1 and fakes below -1."""
    return F.relu(1 - discriminator(real)).mean() + F.relu(1 + discriminator(fake)).mean()


def wasserstein_gp(discriminator: nn.Module, real: Pictures, fake: Pictures) -> Tensor:
    """Part the means, and hold the gradient between real and fake at norm one."""
    parted = discriminator(fake).mean() - discriminator(real).mean()
    return parted + 10 * gradient_penalty(discriminator, real, fake)


def gradient_penalty(discriminator: nn.Module, real: Pictures, fake: Pictures) -> Tensor:
    """Square the distance to one of the gradient's norm at random mixtures."""
    alpha = torch.rand(len(real), 1, 1, 1, device=real.device)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_()
    logits = discriminator(mixed)
    given = torch.ones_like(logits)
    (gradient,) = torch.autograd.grad(logits, mixed, grad_outputs=given, create_graph=True, retain_graph=True)
    return ((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
