"""Who plays in a text GAN, and the moves they make; the order of the moves is the script's."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from jaxtyping import Int
from torch import Tensor, nn

from rl.objectives import Objective
from rl.rewards import Reward
from rl.runtime import Engine
from rl.runtime.checkpoints import Stateful
from seqgan.adversarial import Baseline, GeneratorGoal, discriminator_round, generator_round
from seqgan.by_label import silence
from seqgan.corpus import Corpus
from seqgan.discriminators import PAPER_FILTERS, SMALL_FILTERS, ConvDiscriminator, OutputL2
from seqgan.generators import Generator, build_generator, sharpen
from seqgan.numbers import Numbers
from seqgan.pretraining import mle_round
from seqgan.sampling import speak
from seqgan.speakers import PolicySpeaker, Speaker, prompted

FILTERS = {"paper": PAPER_FILTERS, "small": SMALL_FILTERS}
MLE_CLIP = 5.0

Rows = Int[Tensor, "rows time"]
Metrics = dict[str, Tensor]
RewardOf = Callable[[Generator, ConvDiscriminator, Objective, Numbers, Engine], Reward[Tensor]]


class Players(Protocol):
    """A method's nets and moves."""

    generator: nn.Module
    start: nn.Module
    """the generator after maximum likelihood, frozen"""
    discriminator: nn.Module
    width: int
    """columns of a row of fakes"""

    def parts(self) -> dict[str, Stateful]:
        """Give everything that has a state, by the name that it has in a checkpoint."""
        ...

    def speaker(self, net: Any) -> Speaker:
        """Let the generator, or the start, be measured."""
        ...

    def imitate(self, rows: Rows) -> Metrics:
        """Make one step of maximum likelihood on training rows."""
        ...

    def begin(self) -> None:
        """Keep the generator as the start: maximum likelihood is over."""
        ...

    def say(self, rows: int) -> Int[Tensor, "rows width"]:
        """Say what the discriminator learns from next; no gradient."""
        ...

    def judge(self, real: Rows, fake: Int[Tensor, "rows width"]) -> Metrics:
        """Make one step of the discriminator."""
        ...

    def improve(self, progress: float) -> Metrics:
        """Make one step of the generator; `progress` is the share of the rounds that are over."""
        ...


def generator_of(n: Numbers, corpus: Corpus) -> Generator:
    """Return the net of `n.generator`; labels are never said."""
    net = build_generator(
        n.generator, len(corpus.vocabulary.words), corpus.length,
        embedding=n.embedding, hidden=n.hidden, layers=n.layers, dropout=n.dropout,
        end=corpus.end, prompt=corpus.prompt,
    )  # fmt: skip
    silence(net.head, corpus.labels)
    return net


def discriminator_of(n: Numbers, corpus: Corpus) -> ConvDiscriminator:
    """Return SeqGAN's CNN."""
    return ConvDiscriminator(
        len(corpus.vocabulary.words), corpus.length,
        embedding=n.d_embedding, filters=FILTERS[n.d_filters], dropout=n.d_dropout,
    )  # fmt: skip


def trainable(net: nn.Module) -> list[nn.Parameter]:
    """Return the weights that learn."""
    return [weight for weight in net.parameters() if weight.requires_grad]


class Duo:
    """Two who learn, a generator and a discriminator, with what both need to and what is kept of them."""

    def __init__(
        self,
        n: Numbers,
        corpus: Corpus,
        engine: Engine,
        *,
        generator: nn.Module,
        start: nn.Module,
        discriminator: nn.Module,
        learned: Callable[[Any], list[nn.Parameter]] = trainable,
    ) -> None:
        self.n, self.corpus, self.engine, self.width = n, corpus, engine, corpus.length
        self.generator: Any = engine.place(generator)
        self.start: Any = engine.place(start).requires_grad_(False).eval()
        self.discriminator: Any = engine.place(discriminator)
        weights, judging = learned(self.generator), self.discriminator.parameters()
        fused, betas = engine.device.type in ("cpu", "cuda"), (n.beta1, 0.999)
        self.mle_optimizer = torch.optim.AdamW(weights, n.mle_lr, weight_decay=n.mle_decay, fused=fused)
        self.g_optimizer = torch.optim.Adam(weights, n.g_lr, betas=betas, fused=fused)
        self.d_optimizer = torch.optim.Adam(judging, n.d_lr, betas=betas, fused=fused)

    def parts(self) -> dict[str, Stateful]:
        """Give nets and optimizers."""
        names = ("generator", "start", "discriminator", "mle_optimizer", "g_optimizer", "d_optimizer")
        return {name: getattr(self, name) for name in names}

    def speaker(self, net: Any) -> Speaker:
        """Let a generator be measured, on the prompts of the test sentences."""
        return PolicySpeaker(net, self.corpus.length, self.corpus.test[:, : self.corpus.prompt])

    def imitate(self, rows: Rows) -> Metrics:
        """Make one step of maximum likelihood; dropout on."""
        return mle_round(self.generator, rows, self.mle_optimizer, self.engine, clip=MLE_CLIP)

    def some_real(self, rows: int) -> Rows:
        """Draw training sentences."""
        return self.corpus.train[torch.randint(len(self.corpus.train), (rows,))].to(self.engine.device)

    def begin(self) -> None:
        """Keep the start."""
        self.start.load_state_dict(self.generator.state_dict())


class PolicyPlayers(Duo):
    """A generator that is paid for tokens and climbs along their log-probabilities, and a discriminator."""

    def __init__(
        self,
        n: Numbers,
        corpus: Corpus,
        engine: Engine,
        *,
        objective: Objective,
        reward: RewardOf,
        baseline: Baseline,
        speaks: Callable[[Numbers, Corpus], nn.Module] = generator_of,
        judges: Callable[[Numbers, Corpus], nn.Module] = discriminator_of,
    ) -> None:
        super().__init__(
            n, corpus, engine, generator=speaks(n, corpus), start=speaks(n, corpus), discriminator=judges(n, corpus)
        )
        self.objective, self.penalty, self.logits = objective, OutputL2(n.d_l2), engine.fast(self.discriminator)
        paid = reward(self.generator, self.discriminator, objective, n, engine)
        self.goal = GeneratorGoal(paid, baseline, n.kl_weight, n.sharpness, n.entropy_weight)

    def begin(self) -> None:
        """Keep the start, and sharpen the generator where its distance is to a power of the start."""
        super().begin()
        sharpen(self.generator, self.n.sharpness)

    def given(self, rows: int) -> Rows:
        """Draw prompts from the training sentences, and leave the rest blank."""
        drawn = torch.randint(len(self.corpus.train), (rows,))
        prompts = self.corpus.train[drawn, : self.corpus.prompt]
        return prompted(prompts, rows, self.corpus.length).to(self.engine.device)

    def say(self, rows: int) -> Rows:
        """Speak; dropout off."""
        return speak(self.generator.eval(), rows, self.corpus.length, given=self.given(rows))

    def judge(self, real: Rows, fake: Rows) -> Metrics:
        """Make one step towards telling real from fake."""
        return discriminator_round(
            self.discriminator, self.logits, real, fake, self.objective, self.penalty, self.d_optimizer, self.engine
        )

    def improve(self, progress: float) -> Metrics:
        """Make one policy-gradient step."""
        given = self.given(self.n.batch // self.engine.world)
        return generator_round(
            self.generator, self.start, self.goal, self.g_optimizer, self.engine, given=given, clip=self.n.g_clip
        )
