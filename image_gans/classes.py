"""AC-GAN: the generator is told a class, and the discriminator must find it out; Odena et al. 2017 (1610.09585)."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from image_gans.conditioning import ConditionalGenerator
from image_gans.dealing import Classes
from image_gans.judging import Judge, Seen, Verdict
from image_gans.nets import judge_of
from image_gans.nets.parts import FeatureJudge
from image_gans.numbers import Facts, Numbers
from image_gans.players import Players
from image_gans.samples import Labels, Pair
from image_gans.terms import Scalar
from rl.discriminator import full_precision


class BlindJudge(Judge):
    """Judges the picture of a pair without a look at its class; the head `class` says what it sees."""

    def __init__(self, judge: FeatureJudge, classes: int) -> None:
        super().__init__()
        self.net = judge
        self.features = judge.features
        self.heads["class"] = nn.Linear(judge.features, classes)

    def judge(self, x: Pair) -> Verdict:
        """Judge the picture."""
        return self.net.judge(x.x)


def class_loss(logits: Float[Tensor, "batch classes"], labels: Labels) -> Scalar:
    """-E log P(class | picture)."""
    return F.cross_entropy(full_precision(logits), labels)


@dataclass(frozen=True)
class ClassTerms:
    """The discriminator learns to see the classes of reals, the generator wants its own seen: weight times -L_C.

    Section 3 asks the discriminator for the classes of fakes too. As long as it can tell fakes from reals, both
    players may then agree on classes of fakes that no real picture shares: on MNIST they did, a seven for a two.
    """

    head: nn.Module
    """from features to class logits; of the discriminator"""
    weight: float

    def of_discriminator(self, latent: Pair, real: Seen, fake: Seen) -> dict[str, Scalar]:
        """Learn to see the classes of reals."""
        return {"class": self._loss(real)}

    def of_generator(self, latent: Pair, real: Seen, fake: Seen) -> dict[str, Scalar]:
        """Paint so that the class is seen."""
        return {"class": self._loss(fake)}

    def _loss(self, seen: Seen) -> Scalar:
        return self.weight * class_loss(self.head(seen.features), seen.sample.label)


def acgan(n: Numbers, facts: Facts) -> Players:
    """Noise and class to a picture of that class."""
    judge = BlindJudge(judge_of(n, facts.shape), facts.classes)
    generator = ConditionalGenerator(n, facts.shape, facts.classes)
    return Players(generator, judge, Classes(n.latent, facts.classes), ClassTerms(judge.heads["class"], n.term_weight))
