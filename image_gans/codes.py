"""InfoGAN: codes that a picture must betray come to mean something, without labels; Chen et al. 2016 (1606.03657)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from image_gans.dealing import Deal, Stored
from image_gans.judging import Judge, Seen
from image_gans.nets import generator_of, judge_of
from image_gans.numbers import Facts, Numbers
from image_gans.players import Examined, Players, no_probe
from image_gans.samples import Labels, Pictures, as_floats
from image_gans.terms import Scalar
from rl.discriminator import evaluating, full_precision

HIDDEN = 128
"""numbers between the features and the guesses of the codes, as in the paper"""
PROBED = 100
"""pictures of each category that are classified"""


class Codes(NamedTuple):
    """What a picture is painted from."""

    noise: Float[Tensor, "batch noise"]
    """says the rest; N(0, 1)"""
    category: Int[Tensor, "batch"]
    """one of so many, each as often"""
    continuous: Float[Tensor, "batch codes"]
    """each between -1 and 1, uniform"""


@dataclass(frozen=True)
class Coded:
    """Deals codes; knows no classes."""

    size: int
    """numbers of noise"""
    categories: int
    continuous: int

    def deal(self, pictures: Stored, labels: Labels) -> Deal:
        """Judge the pictures as they are."""
        rows, device = len(pictures), pictures.device
        return Deal(pictures, self._draw(torch.randint(self.categories, (rows,), device=device)))

    def free(self, rows: int, labels: Labels | None, device: torch.device) -> Codes:
        """Draw codes, the categories in turn: a grid with as many columns shows one in each."""
        return self._draw(torch.arange(rows, device=device) % self.categories)

    def show(self, generator: nn.Module, latent: Codes) -> Pictures:
        """Paint."""
        return generator(latent)

    def _draw(self, category: Int[Tensor, "rows"]) -> Codes:
        rows, device = len(category), category.device
        noise = torch.randn(rows, self.size, device=device)
        return Codes(noise, category, 2 * torch.rand(rows, self.continuous, device=device) - 1)


class CodedGenerator(nn.Module):
    """Paints from noise and codes in one row, the category as an indicator."""

    def __init__(self, n: Numbers, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.categories = n.categories
        self.net = generator_of(n, shape, n.latent + n.categories + n.continuous)

    def forward(self, codes: Codes) -> Pictures:
        """Paint."""
        category = F.one_hot(codes.category, self.categories).to(codes.noise)
        return self.net(torch.cat([codes.noise, category, codes.continuous], 1))


def category_loss(guess: Float[Tensor, "batch categories"], category: Int[Tensor, "batch"]) -> Scalar:
    """-E log Q(category): cross-entropy of the guess."""
    return F.cross_entropy(full_precision(guess), category)


def continuous_loss(guess: Float[Tensor, "batch codes"], codes: Float[Tensor, "batch codes"]) -> Scalar:
    """-E log Q(codes) less its constant, Q normal around the guess with variance one: half the summed squared error."""
    return (full_precision(guess) - codes).square().sum(1).mean() / 2


@dataclass(frozen=True)
class MutualInformation:
    """Both players want the codes to be read off the fakes: eq. 5, less the codes' constant entropy."""

    head: nn.Module
    """from features to the category's logits and a guess of each continuous code; of the discriminator"""
    category_weight: float
    continuous_weight: float

    def of_discriminator(self, codes: Codes, real: Seen, fake: Seen) -> dict[str, Scalar]:
        """Learn to read the codes."""
        guess = self.head(fake.features)
        category, continuous = guess.tensor_split([guess.shape[1] - codes.continuous.shape[1]], 1)
        return {
            "category": self.category_weight * category_loss(category, codes.category),
            "continuous": self.continuous_weight * continuous_loss(continuous, codes.continuous),
        }

    def of_generator(self, codes: Codes, real: Seen, fake: Seen) -> dict[str, Scalar]:
        """Paint so that they can be read."""
        return self.of_discriminator(codes, real, fake)


def matched(codes: Int[Tensor, "rows"], classes: Int[Tensor, "rows"]) -> float:
    """Share of rows whose class is the one that belongs to their code, one class to one code, matched at best."""
    from scipy.optimize import linear_sum_assignment

    size = int(torch.stack([codes, classes]).max()) + 1
    table = torch.bincount(size * codes + classes, minlength=size**2).view(size, size).cpu().numpy()
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / len(codes))


@torch.no_grad()
def meaning(dealer: Coded, examined: Examined) -> Mapping[str, float]:
    """Measure how well the category stands for a class.

    `code_accuracy`: of painted pictures, class by the feature classifier; `code_error_test`: share of test pictures
    that the discriminator's guess of the category puts into the wrong class, the paper's 5 % on MNIST. Both under the
    best one-to-one match of categories and classes.
    """
    codes = dealer.free(PROBED * dealer.categories, None, next(examined.generator.parameters()).device)
    with evaluating(examined.generator), evaluating(examined.discriminator):
        seen = examined.classify(dealer.show(examined.generator, codes))
        parts = [_read(examined.discriminator, part)[:, : dealer.categories] for part in examined.images.split(500)]
    guessed = torch.cat(parts).argmax(1)
    return {
        "code_accuracy": matched(codes.category, seen.to(codes.category)),
        "code_error_test": 1 - matched(guessed, examined.labels.to(guessed)),
    }


def infogan(n: Numbers, facts: Facts) -> Players:
    """Noise and codes to a picture; the discriminator reads the codes back."""
    judge = judge_of(n, facts.shape)
    hidden, guesses = nn.Linear(judge.features, HIDDEN), nn.Linear(HIDDEN, n.categories + n.continuous)
    judge.heads["codes"] = nn.Sequential(hidden, nn.LeakyReLU(0.1), guesses)
    dealer = Coded(n.latent, n.categories, n.continuous)
    terms = MutualInformation(judge.heads["codes"], n.term_weight, n.continuous_weight)
    probe = partial(meaning, dealer) if facts.classes else no_probe
    return Players(CodedGenerator(n, facts.shape), judge, dealer, terms, probe=probe)


def _read(judge: Judge, stored: Tensor) -> Float[Tensor, "rows guesses"]:
    pictures = as_floats(stored).to(next(judge.parameters()).device)
    return judge.heads["codes"](judge.judge(pictures).features)
