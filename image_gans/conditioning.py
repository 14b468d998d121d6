"""Nets that are told the class: what they see of it, and how a discriminator weighs it."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from image_gans.judging import Judge, Verdict
from image_gans.nets import generator_of, judge_of
from image_gans.nets.parts import FeatureJudge
from image_gans.nets.resnet import ResNetGenerator
from image_gans.numbers import Numbers
from image_gans.samples import Pair

EMBEDDED = 32
"""numbers that tell a row its class"""


class Append(nn.Module):
    """Follow x by an embedding of its class: a picture by one more channel, a row by EMBEDDED more numbers.

    Mirza & Osindero 2014 (1411.1784), figure 1.
    """

    def __init__(self, classes: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.added = (1, *shape[1:]) if len(shape) == 3 else (EMBEDDED,)
        self.shape = (shape[0] + self.added[0], *shape[1:])
        """of what comes out"""
        self.embed = nn.Embedding(classes, math.prod(self.added))

    def forward(self, pair: Pair) -> Float[Tensor, "batch *shape"]:
        """Give x and its class in one tensor."""
        return torch.cat([pair.x, self.embed(pair.label).unflatten(1, self.added)], 1)


class Scale(nn.Module):
    """Multiply x by an embedding of its class, number by number (the Hadamard product)."""

    def __init__(self, classes: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        """of what comes out"""
        self.embed = nn.Embedding(classes, math.prod(shape))

    def forward(self, pair: Pair) -> Float[Tensor, "batch *shape"]:
        """Give x, scaled."""
        return pair.x * self.embed(pair.label).unflatten(1, self.shape)


_TOLD = {"concat": Append, "hadamard": Scale, "projection": Append}


class ConditionalGenerator(nn.Module):
    """Pair of noise and class -> pair of sample and the same class.

    With projection a residual net reads the class in its batch norm, as Miyato & Koyama's does.
    """

    def __init__(self, n: Numbers, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        if n.condition == "projection" and n.net == "resnet" and len(shape) == 3:
            self.tell = nn.Identity()
            self.net = ResNetGenerator(n.latent, shape, n.width, classes, n.attention)
        else:
            self.tell = _TOLD[n.condition](classes, (n.latent,))
            self.net = generator_of(n, shape, *self.tell.shape)

    def forward(self, latent: Pair) -> Pair:
        """Paint pictures of these classes."""
        return Pair(self.net(self.tell(latent)), latent.label)


class ConditionalJudge(Judge):
    """Sees the class beside the sample."""

    def __init__(self, n: Numbers, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.tell = _TOLD[n.condition](classes, shape)
        self.net = judge_of(n, self.tell.shape)
        self.features = self.net.features

    def judge(self, x: Pair) -> Verdict:
        """Judge samples as ones of their class."""
        return self.net.judge(self.tell(x))


class ProjectionJudge(Judge):
    """Adds to a judge's logit how the features point along the class: <embed(y), features>.

    Miyato & Koyama 2018 (1802.05637), eq. 3. The embedding is bounded as the judge's weights are.
    """

    def __init__(self, judge: FeatureJudge, classes: int) -> None:
        super().__init__()
        self.net = judge
        self.features = judge.features
        self.embed = judge.norm.weights(nn.Embedding(classes, judge.features))

    def judge(self, x: Pair) -> Verdict:
        """Judge samples as ones of their class."""
        verdict = self.net.judge(x.x)
        projected = (self.embed(x.label) * verdict.features).sum(1)
        return Verdict(verdict.logits + projected, verdict.features)
