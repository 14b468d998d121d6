"""Who plays: from a method's numbers and the data to the two nets, their dealer and their auxiliary losses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from image_gans.conditioning import ConditionalGenerator, ConditionalJudge, ProjectionJudge
from image_gans.dealing import Classes, Dealer, Plain
from image_gans.judging import Judge
from image_gans.nets import generator_of, judge_of
from image_gans.numbers import Facts, Numbers
from image_gans.terms import NoTerms, Terms


@dataclass(frozen=True)
class Examined:
    """What a method's own measurement may look at, at the end of a run and while it lasts."""

    generator: nn.Module
    """the averaged one, where there is an average"""
    discriminator: Judge
    images: Tensor
    """of test, as stored"""
    labels: Tensor
    classify: Callable[[Tensor], Tensor]
    """from pictures to the classes that the feature classifier sees in them; int64"""


Probe = Callable[[Examined], Mapping[str, float]]


def no_probe(examined: Examined) -> Mapping[str, float]:
    """Measure nothing of one's own."""
    return {}


def stay(share: float) -> None:
    """Stay as one is."""


@dataclass(frozen=True)
class Players:
    """The two nets of a run, and what its rounds are dealt."""

    generator: nn.Module
    discriminator: Judge
    dealer: Dealer
    terms: Terms = field(default_factory=NoTerms)
    grow: Callable[[float], None] = stay
    """told before every step which share of the run is done: nets that grow do so"""
    probe: Probe = no_probe
    """what is measured of this method alone"""


Build = Callable[[Numbers, Facts], Players]


def plain(n: Numbers, facts: Facts) -> Players:
    """Noise to picture."""
    return Players(generator_of(n, facts.shape, n.latent), judge_of(n, facts.shape), Plain(n.latent))


def conditional(n: Numbers, facts: Facts) -> Players:
    """Noise and class to a picture of that class; both nets are told the class; Mirza & Osindero 2014 (1411.1784)."""
    dealer = Classes(n.latent, facts.classes)
    generator = ConditionalGenerator(n, facts.shape, facts.classes)
    if n.condition == "projection":
        return Players(generator, ProjectionJudge(judge_of(n, facts.shape), facts.classes), dealer)
    return Players(generator, ConditionalJudge(n, facts.shape, facts.classes), dealer)
