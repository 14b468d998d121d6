"""Pictures to codes and back: adversarial autoencoders, and VAE/GAN."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from image_gans.dealing import Deal, Plain, Stored
from image_gans.judging import Judge, Seen
from image_gans.nets import generator_of, judge_of
from image_gans.nets.autoencoder import encoder_of
from image_gans.nets.mlp import MLPJudge
from image_gans.numbers import Facts, Numbers
from image_gans.players import Examined, Players
from image_gans.samples import Labels, as_floats
from image_gans.terms import NoTerms, Scalar

Codes = Float[Tensor, "batch size"]
CODE_JUDGE = (256, 256)
"""hidden layers of the perceptron that judges codes"""


class Autoencoder(nn.Module):
    """Called, it gives the codes of pictures, which the discriminator judges; the decoder paints them again."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def code(self, pictures: Stored) -> Codes:
        """Give the code of each picture."""
        return self.encoder(pictures)

    def forward(self, pictures: Stored) -> Codes:
        """Encode."""
        return self.code(pictures)


@dataclass(frozen=True)
class Codified(Plain):
    """The prior's codes N(0, I) are real, the codes of pictures are the fakes."""

    def deal(self, pictures: Stored, labels: Labels) -> Deal:
        """Judge codes; the encoder makes its own of the pictures."""
        return Deal(self.free(len(pictures), None, pictures.device), pictures)

    def show(self, generator: Autoencoder, latent: Codes) -> Stored:
        """Paint codes of the prior."""
        return generator.decoder(latent)


@dataclass(frozen=True)
class Reconstruction(NoTerms):
    """weight E (picture painted again - picture)^2, the mean over pictures and their numbers."""

    decoder: nn.Module
    weight: float

    def of_generator(self, latent: Stored, real: Seen, fake: Seen) -> Mapping[str, Scalar]:
        """Paint the codes that were judged, and compare with the pictures that they came from."""
        return {"reconstruction": self.weight * F.mse_loss(self.decoder(fake.sample).float(), latent)}


def aae(n: Numbers, facts: Facts) -> Players:
    """Codes that look like the prior's and still tell all: adversarial autoencoder, Makhzani et al. 2015 (1511.05644).

    The encoder is deterministic; the paper's two phases, reconstruction and regularisation, are one step here.
    """
    generator = Autoencoder(encoder_of(n, facts.shape, n.latent), generator_of(n, facts.shape, n.latent))
    judge = MLPJudge((n.latent,), CODE_JUDGE, "none")
    terms = Reconstruction(generator.decoder, n.term_weight)
    return Players(generator, judge, Codified(n.latent), terms, probe=autoencoder_probe)


class Glimpse(NamedTuple):
    """What a VAE/GAN paints from."""

    pictures: Stored
    """to be painted again"""
    noise: Codes
    """N(0, I), how far the codes of these pictures lie from their means"""
    prior: Codes
    """N(0, I), to be painted as they are"""


class VariationalAutoencoder(nn.Module):
    """Called, it paints pictures again and codes of the prior, in one batch of twice as many: what is judged.

    The encoder gives means and logarithms of variances, [batch, 2 size]. The reward reaches the decoder alone, as in
    algorithm 1 of Larsen et al. 2016.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def belief(self, pictures: Stored) -> tuple[Codes, Codes]:
        """Give mean and logarithm of the variance of each picture's code."""
        mean, log_variance = self.encoder(pictures).float().chunk(2, dim=1)
        return mean, log_variance

    def code(self, pictures: Stored) -> Codes:
        """Give the mean code of each picture."""
        return self.belief(pictures)[0]

    def forward(self, latent: Glimpse) -> Stored:
        """Paint both; each by itself, as they are two populations to batch norm."""
        codes = drawn(*self.belief(latent.pictures), latent.noise).detach()
        return torch.cat([self.decoder(codes), self.decoder(latent.prior)])


@dataclass(frozen=True)
class Glimpses(Plain):
    """Pictures are real; fakes are pictures painted again, and pictures of the prior's codes."""

    def deal(self, pictures: Stored, labels: Labels) -> Deal:
        """Judge pictures."""
        noise, prior = (self.free(len(pictures), None, pictures.device) for _ in range(2))
        return Deal(pictures, Glimpse(pictures, noise, prior))

    def show(self, generator: VariationalAutoencoder, latent: Codes) -> Stored:
        """Paint codes of the prior."""
        return generator.decoder(latent)


@dataclass(frozen=True)
class Evidence(NoTerms):
    """The evidence bound in the discriminator's features f: weight (E |f(x again) - f(x)|^2 / 2 + KL) / len(f).

    Likely is f(x) under a Gaussian of unit variance around f(x again). The division by the number of features changes
    nothing between the two parts.
    """

    autoencoder: VariationalAutoencoder
    discriminator: Judge
    weight: float

    def of_generator(self, latent: Glimpse, real: Seen, fake: Seen) -> Mapping[str, Scalar]:
        """Paint the pictures again, this time with a gradient to the encoder."""
        mean, log_variance = self.autoencoder.belief(latent.pictures)
        again = self.autoencoder.decoder(drawn(mean, log_variance, latent.noise))
        found = self.discriminator.judge(again).features.float()
        with torch.no_grad():
            wanted = self.discriminator.judge(latent.pictures).features.float()
        divergence = divergence_from_prior(mean, log_variance).mean() / wanted.shape[1]
        return {"features": self.weight * F.mse_loss(found, wanted) / 2, "divergence": self.weight * divergence}


def drawn(mean: Codes, log_variance: Codes, noise: Codes) -> Codes:
    """Move noise N(0, I) to where codes are believed to be; Kingma & Welling 2013 (1312.6114), eq. 10."""
    return mean + (log_variance / 2).exp() * noise


def divergence_from_prior(mean: Codes, log_variance: Codes) -> Float[Tensor, "batch"]:
    """KL(N(mean, variance) || N(0, I)) in nats, the sum over a code; Kingma & Welling 2013 (1312.6114), appendix B."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2


def vae_gan(n: Numbers, facts: Facts) -> Players:
    """Similarity learned by the discriminator: VAE/GAN, Larsen et al. 2016 (1512.09300), algorithm 1.

    `term_weight` over the reward's weight is the paper's gamma times the number of features.
    """
    encoder = encoder_of(n, facts.shape, 2 * n.latent)
    generator = VariationalAutoencoder(encoder, generator_of(n, facts.shape, n.latent))
    judge = judge_of(n, facts.shape)
    terms = Evidence(generator, judge, n.term_weight)
    return Players(generator, judge, Glimpses(n.latent), terms, probe=autoencoder_probe)


@torch.no_grad()
def autoencoder_probe(examined: Examined) -> Mapping[str, float]:
    """Measure on test: the mean squared error of pictures painted again, and how far their codes are from the prior.

    `reconstruction` is per number, from -1 to 1; `code_mean` the root mean square of the codes' means, 0 at the prior;
    `code_std` the mean of their standard deviations, 1 at the prior (less, for the means of a VAE).
    """
    codes, errors = [], []
    for pictures in _portions(examined):
        codes.append(examined.generator.code(pictures))
        errors.append((examined.generator.decoder(codes[-1]) - pictures).square().flatten(1).mean(1))
    code = torch.cat(codes)
    return {
        "reconstruction": float(torch.cat(errors).mean()),
        "code_mean": float(code.mean(0).square().mean().sqrt()),
        "code_std": float(code.std(0).mean()),
    }


def _portions(examined: Examined) -> Iterator[Stored]:
    device = next(examined.generator.parameters()).device
    for part in examined.images.split(500):
        yield as_floats(part.to(device))
