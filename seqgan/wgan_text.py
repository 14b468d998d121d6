"""Sentences from noise at once, by convolutions: a Wasserstein GAN over rows of distributions.

Gulrajani et al. 2017 (1704.00028), section 5.4 and appendix; Rajeswar et al. 2017 (1705.10929), section 3. Nothing is
said token by token, so that there is no likelihood, and nothing to pretrain.
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rl.discriminator import evaluating, full_precision
from rl.objectives import Objective, Wasserstein
from rl.penalties import GradientPenalty, Penalty
from rl.runtime import Engine, InputError
from seqgan.corpus import Corpus
from seqgan.numbers import Numbers
from seqgan.pathwise import Scalar, SoftPlayers
from seqgan.players import Metrics, Rows
from seqgan.sampling import held
from seqgan.soft import Sentences, Soft, one_hot
from seqgan.speakers import Speaker

BLOCKS, TAPS, STEP = 5, 5, 0.3  # the paper's code's
SPEAKERS = 512  # rows whose distributions stand at once


class Block(nn.Module):
    """x + 0.3 f(x) with f two convolutions over time, each after a ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # over maps of height one: of convolutions of maps the ground floor has fast second derivatives
        self.first, self.second = (nn.Conv2d(channels, channels, (1, TAPS), padding=(0, TAPS // 2)) for _ in range(2))

    def forward(self, x: Float[Tensor, "batch channels 1 time"]) -> Float[Tensor, "batch channels 1 time"]:
        """Return maps of the same shape."""
        return x + STEP * self.second(F.relu(self.first(F.relu(x))))


class LatentGenerator(nn.Module):
    """Noise to a distribution over the vocabulary at every place."""

    def __init__(self, vocabulary: int, length: int, *, latent: int, channels: int, end: int = -1) -> None:
        super().__init__()
        self.length, self.latent, self.end = length, latent, end
        self.spread = nn.Linear(latent, channels * length)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(BLOCKS)))
        self.head = nn.Linear(channels, vocabulary)

    def forward(self, noise: Float[Tensor, "batch latent"]) -> Soft:
        """Return soft sentences, in float32."""
        x = self.blocks(self.spread(noise).view(len(noise), -1, 1, self.length))
        return full_precision(self.head(x[:, :, 0].transpose(1, 2))).softmax(-1)

    def noise(self, rows: int) -> Float[Tensor, "rows latent"]:
        """Draw from N(0, 1)."""
        return torch.randn(rows, self.latent, device=self.head.weight.device)


class ConvolutionalJudge(nn.Module):
    """The same blocks from a sentence, tokens or soft, to one logit."""

    def __init__(self, vocabulary: int, length: int, *, channels: int) -> None:
        super().__init__()
        self.embedding = nn.Linear(vocabulary, channels)
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(BLOCKS)))
        self.output = nn.Linear(channels * length, 1)

    def forward(self, sentences: Sentences) -> Float[Tensor, "batch"]:
        """Return one logit a sentence."""
        soft = sentences.is_floating_point()
        embedding = self.embedding
        x = embedding(sentences) if soft else F.embedding(sentences, embedding.weight.t()) + embedding.bias
        logits: Tensor = self.output(self.blocks(x.transpose(1, 2)[:, :, None]).flatten(1))[:, 0]
        return logits


@dataclass(frozen=True)
class Smooth:
    """Logits of either side, and a penalty between one-hot reals and soft fakes."""

    objective: Objective
    penalty: Penalty
    vocabulary: int

    def discriminator_loss(self, discriminator: nn.Module, real: Rows, fake: Sentences) -> Scalar:
        """Give the penalised loss."""
        penalised = self.penalty(discriminator, one_hot(real, self.vocabulary), fake)
        return self.objective.discriminator_loss(discriminator(real), discriminator(fake)) + penalised

    def reward(self, discriminator: nn.Module, real: Rows, fake: Sentences) -> Float[Tensor, "batch"]:
        """Give what each fake earns."""
        return self.objective.reward(discriminator(fake))


@dataclass(frozen=True)
class LatentSpeaker:
    """Says the likeliest token at every place, at any temperature; what follows an end token is the end token."""

    generator: LatentGenerator

    @torch.no_grad()
    def speak(self, rows: int, inverse_temperature: float = 1.0) -> Rows:
        """Say that many sentences."""
        net = self.generator.eval()
        tokens = torch.cat([net(noise).argmax(-1).cpu() for noise in net.noise(rows).split(SPEAKERS)])
        for time in range(1, net.length):
            tokens[:, time] = held(tokens[:, time], tokens[:, time - 1], net.end)
        return tokens

    def likelihood(self, tokens: Rows, inverse_temperature: float = 1.0) -> dict[str, float]:
        """Give nothing: there is none."""
        return {}


class LatentPlayers(SoftPlayers):
    """Nothing is imitated and nothing said ahead: the discriminator hears new soft sentences at every step."""

    generator: LatentGenerator

    def speaker(self, net: LatentGenerator) -> Speaker:
        """Let a generator be measured."""
        return LatentSpeaker(net)

    def imitate(self, rows: Rows) -> Metrics:
        """Raise ValueError: without a likelihood there is no maximum of it."""
        raise ValueError("WGAN-GP has no likelihood to pretrain by: mle_epochs must be 0")

    def say(self, rows: int) -> Int[Tensor, "rows width"]:
        """Return what only counts how many sentences are to be heard."""
        return torch.zeros(rows, self.width, dtype=torch.long, device=self.engine.device)

    def hear(self, fake: Int[Tensor, "rows width"]) -> Soft:
        """Make new soft sentences; no gradient."""
        with torch.no_grad(), evaluating(self.generator):
            return self.speak_softly(fake)

    def speak_softly(self, real: Rows) -> Soft:
        """Make as many soft sentences, with a gradient."""
        return self.generator(self.generator.noise(len(real)))


def wgan_text(n: Numbers, corpus: Corpus, engine: Engine) -> LatentPlayers:
    """Return the players; `n.hidden` and `n.d_embedding` are the channels of the nets. InputError for what it lacks."""
    if corpus.prompt:
        raise InputError("wgan-gp: says nothing after a label or a prompt (--classes, --prompt)")
    if n.mle_epochs:
        raise InputError(f"--mle-epochs {n.mle_epochs}: wgan-gp has no likelihood to pretrain by")
    size = len(corpus.vocabulary.words)
    make = partial(LatentGenerator, size, corpus.length, latent=n.latent, channels=n.hidden, end=corpus.end)
    return LatentPlayers(
        n,
        corpus,
        engine,
        make_generator=make,
        discriminator=ConvolutionalJudge(size, corpus.length, channels=n.d_embedding),
        game=Smooth(Wasserstein(), GradientPenalty(n.gp_weight), size),
    )
