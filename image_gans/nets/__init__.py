"""Networks; which of them play is said by `Numbers.net`."""

from torch import nn

from image_gans.nets.dcgan import DCGANGenerator, DCGANJudge
from image_gans.nets.mlp import MLPGenerator, MLPJudge
from image_gans.nets.parts import FeatureJudge
from image_gans.nets.r3 import R3Generator, R3Judge
from image_gans.nets.resnet import ResNetGenerator, ResNetJudge
from image_gans.numbers import Numbers

_GENERATORS = {
    "mlp": lambda n, shape, latent: MLPGenerator(latent, shape, (n.width,) * 3),
    "dcgan": lambda n, shape, latent: DCGANGenerator(latent, shape, n.width),
    "resnet": lambda n, shape, latent: ResNetGenerator(latent, shape, n.width, attention=n.attention),
    "r3": lambda n, shape, latent: R3Generator(latent, shape, n.width),
}
_JUDGES = {
    "mlp": lambda n, shape: MLPJudge(shape, (n.width,) * 3, n.d_norm),
    "dcgan": lambda n, shape: DCGANJudge(shape, n.width, n.d_norm),
    "resnet": lambda n, shape: ResNetJudge(shape, n.width, n.d_norm, n.attention),
    "r3": lambda n, shape: R3Judge(shape, n.width),
}


def generator_of(n: Numbers, shape: tuple[int, ...], latent: int) -> nn.Module:
    """Build a generator from `latent` numbers to samples of a shape; points are painted by a perceptron."""
    return _GENERATORS[_net(n, shape)](n, shape, latent)


def judge_of(n: Numbers, shape: tuple[int, ...]) -> FeatureJudge:
    """Build a discriminator of samples of a shape; points are judged by a perceptron."""
    return _JUDGES[_net(n, shape)](n, shape)


def _net(n: Numbers, shape: tuple[int, ...]) -> str:
    return n.net if len(shape) == 3 else "mlp"
