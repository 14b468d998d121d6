"""Discriminators that reconstruct: what is reconstructed badly looks fake. EBGAN and BEGAN.

As in the papers, EBGAN's decoder has batch norm, which reconstructs fakes badly where they are all alike, and so drives
them apart; BEGAN's has none, as its errors are compared.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from image_gans.dealing import Plain
from image_gans.judging import Judge, Seen, Verdict
from image_gans.nets import generator_of
from image_gans.nets.autoencoder import encoder_of
from image_gans.nets.parts import Canvas, halvings
from image_gans.numbers import Facts, Numbers
from image_gans.players import Players
from image_gans.terms import NoTerms, Scalar
from rl.discriminator import full_precision

Error = Callable[[Tensor, Tensor], Tensor]
"""from two tensors to how far apart they are, number by number"""


class Decoder(nn.Sequential):
    """BEGAN's: maps of side 4 are convolved and doubled until they are the picture, `width` channels throughout.

    Berthelot et al. 2017, figure 1, with one convolution a level. A picture has a side of 8, 16, 32, ...; ValueError
    otherwise.
    """

    def __init__(self, code: int, shape: tuple[int, ...], width: int) -> None:
        doubled = [layer for _ in range(halvings(shape, 4)) for layer in (*_level(width), nn.Upsample(scale_factor=2))]
        painted = nn.Conv2d(width, shape[0], 3, padding=1)
        super().__init__(Canvas(code, width, 4), *doubled, *_level(width), painted, nn.Tanh())


class AutoencoderJudge(Judge):
    """Codes a sample and paints it again: the logit is minus the mean error, the features are the code."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, error: Error) -> None:
        super().__init__()
        self.encoder, self.decoder, self.error = encoder, decoder, error

    def judge(self, x: Float[Tensor, "batch *shape"]) -> Verdict:
        """Reconstruct; each sample's error is the mean over its numbers."""
        code = self.encoder(x)
        errors = self.error(full_precision(self.decoder(code)), full_precision(x))
        return Verdict(-errors.flatten(1).mean(1), code)


def pulling_away(codes: Float[Tensor, "batch features"]) -> Scalar:
    """Mean squared cosine between the codes of a batch, 0 where all are orthogonal; Zhao et al. 2016, eq. 4."""
    directions = F.normalize(full_precision(codes), dim=1)
    squares = (directions @ directions.T).square()
    rows = len(codes)
    return (squares.sum() - squares.diagonal().sum()) / (rows * (rows - 1))


@dataclass(frozen=True)
class PullingAway(NoTerms):
    """The generator spreads its codes, so that it paints more than one thing."""

    weight: float

    def of_generator(self, latent: Tensor, real: Seen, fake: Seen) -> dict[str, Scalar]:
        """Give the fakes' mean squared cosine."""
        return {"pulling_away": self.weight * pulling_away(fake.features)}


def ebgan(n: Numbers, facts: Facts) -> Players:
    """Squared errors and codes that are pulled apart; Zhao et al. 2016 (1609.03126)."""
    generator, decoder = (generator_of(n, facts.shape, n.latent) for _ in range(2))
    judge = AutoencoderJudge(encoder_of(n, facts.shape, n.latent), decoder, squared)
    return Players(generator, judge, Plain(n.latent), PullingAway(n.term_weight))


def began(n: Numbers, facts: Facts) -> Players:
    """Absolute errors; the generator is built as the decoder is; Berthelot et al. 2017 (1703.10717)."""
    generator, decoder = (Decoder(n.latent, facts.shape, n.width) for _ in range(2))
    judge = AutoencoderJudge(encoder_of(n, facts.shape, n.latent), decoder, absolute)
    return Players(generator, judge, Plain(n.latent))


def squared(a: Tensor, b: Tensor) -> Tensor:
    """Give squared differences."""
    return (a - b).square()


def absolute(a: Tensor, b: Tensor) -> Tensor:
    """Give absolute differences."""
    return (a - b).abs()


def _level(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(width, width, 3, padding=1), nn.ELU()
