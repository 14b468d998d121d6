"""A classifier that learns from a few labels and from fakes; Salimans et al. 2016 (1606.03498), section 5."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from image_gans.classes import class_loss
from image_gans.dealing import Plain
from image_gans.judging import Judge, Seen, Verdict
from image_gans.matching import FeatureMatching
from image_gans.nets import generator_of, judge_of
from image_gans.nets.parts import scaled
from image_gans.numbers import Facts, Numbers
from image_gans.players import Examined, Players
from image_gans.samples import Labels, Pictures, as_floats
from image_gans.terms import Scalar
from rl.discriminator import evaluating, full_precision
from rl.runtime import InputError


class Noise(nn.Module):
    """Adds N(0, sd^2) in training."""

    def __init__(self, sd: float) -> None:
        super().__init__()
        self.sd = sd

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Add noise of its own to every number."""
        return x + self.sd * torch.randn_like(x) if self.training else x


class NoisyPerceptron(nn.Sequential):
    """The paper's net for MNIST: ReLU layers of bounded weights, noise before each; features are the last layer's."""

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        sizes = (math.prod(shape), 4 * width, 2 * width, width, width, width)
        sds = (0.6, *[0.5] * 4)  # the paper's 0.3 is for pictures from 0 to 1
        layers = [
            layer
            for sd, (a, b) in zip(sds, pairwise(sizes), strict=True)
            for layer in (Noise(sd), weight_norm(scaled(nn.Linear(a, b))), nn.ReLU())
        ]
        super().__init__(nn.Flatten(), *layers)


class ClassJudge(Judge):
    """Says one logit for each class; the fakes' own logit is held at 0, so log sum exp of the others is that of real.

    D(x) = Z / (Z + 1) with Z = sum of exp(class logits).
    """

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.heads["class"] = head

    def judge(self, x: Pictures) -> Verdict:
        """Judge pictures."""
        features = self.body(x)
        return Verdict(full_precision(self.heads["class"](features)).logsumexp(1), features)

    def classify(self, x: Pictures) -> Float[Tensor, "batch classes"]:
        """Give the logits of the classes."""
        return full_precision(self.heads["class"](self.body(x)))


@dataclass(frozen=True)
class FewLabels:
    """The discriminator learns the labelled pictures' classes, the generator matches features."""

    judge: ClassJudge
    images: Tensor
    """labelled, as stored"""
    labels: Labels
    weight: float
    """of the classes"""
    matching: FeatureMatching

    def of_discriminator(self, latent: Tensor, real: Seen, fake: Seen) -> dict[str, Scalar]:
        """Classify as many labelled pictures as there are reals, drawn at random."""
        rows = torch.randint(len(self.labels), (len(real.features),))
        return {"class": self.weight * self.loss(rows, real.features.device)}

    def of_generator(self, latent: Tensor, real: Seen, fake: Seen) -> dict[str, Scalar]:
        """Match features."""
        return self.matching.of_generator(latent, real, fake)

    def loss(self, rows: Int[Tensor, "batch"], device: torch.device) -> Scalar:
        """Give how badly these of the labelled pictures are classified."""
        pictures = as_floats(self.images[rows]).to(device)
        return class_loss(self.judge.classify(pictures), self.labels[rows].to(device))


def chosen(labels: Labels, count: int, seed: int) -> Int[Tensor, "count"]:
    """Choose rows, of every class as many as of another up to one; the same for a seed, whatever was drawn before.

    Raises InputError where there are fewer labels than classes, or a class has too few pictures.
    """
    classes = labels.unique()
    if count < len(classes):
        raise InputError(f"--labels {count}: fewer than there are classes, {len(classes)}")
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    rows = []
    for place, label in enumerate(classes):
        wanted = count // len(classes) + (place < count % len(classes))
        own = shuffled[labels[shuffled] == label][:wanted]
        if len(own) < wanted:
            raise InputError(f"--labels {count}: class {int(label)} has {len(own)} pictures, {wanted} are wanted")
        rows.append(own)
    return torch.cat(rows)


def error(judge: ClassJudge, images: Tensor, labels: Labels) -> float:
    """Return the share of pictures (as stored) that are put into the wrong class."""
    device = next(judge.parameters()).device
    with torch.no_grad(), evaluating(judge):
        seen = torch.cat([judge.classify(as_floats(part).to(device)).argmax(1).cpu() for part in images.split(500)])
    return float((seen != labels.cpu()).float().mean())


def test_error(examined: Examined) -> Mapping[str, float]:
    """Measure the share of test pictures that the discriminator puts into the wrong class."""
    return {"error": error(examined.discriminator, examined.images, examined.labels)}


def judge_for(n: Numbers, facts: Facts) -> ClassJudge:
    """Return the paper's perceptron where perceptrons play, else the usual discriminator with other logits."""
    if n.net == "mlp":
        head = nn.Sequential(Noise(0.5), weight_norm(scaled(nn.Linear(n.width, facts.classes))))
        return ClassJudge(NoisyPerceptron(facts.shape, n.width), head)
    usual = judge_of(n, facts.shape)
    return ClassJudge(usual.body, nn.Linear(usual.features, facts.classes))


def labelled(n: Numbers, facts: Facts, judge: ClassJudge) -> FewLabels:
    """Let a judge learn from the labels of a run."""
    rows = chosen(facts.labels, n.labels, n.labels_seed)
    return FewLabels(judge, facts.images[rows], facts.labels[rows], n.term_weight, FeatureMatching(1.0))


def ssgan(n: Numbers, facts: Facts) -> Players:
    """Noise to picture; the discriminator is a classifier."""
    judge = judge_for(n, facts)
    generator = generator_of(n, facts.shape, n.latent)
    return Players(generator, judge, Plain(n.latent), labelled(n, facts, judge), probe=test_error)


def supervised_error(n: Numbers, facts: Facts, images: Tensor, labels: Labels) -> float:
    """Train the same net on the same labels for as many steps, without fakes: the error on pictures of test."""
    judge = judge_for(n, facts)
    terms = labelled(n, facts, judge)
    optimizer = torch.optim.Adam(judge.parameters(), n.d_lr, (n.beta1, n.beta2))
    for _ in range(n.steps * n.d_steps):
        optimizer.zero_grad()
        terms.loss(torch.randint(n.labels, (n.batch,)), torch.device("cpu")).backward()
        optimizer.step()
    return error(judge, images, labels)
