"""Players whose generator climbs its reward through the sentences themselves, soft ones: the pathwise gradient."""

from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rl.discriminator import evaluating
from rl.estimators import pathwise
from rl.runtime import Engine
from rl.runtime.checkpoints import Stateful
from seqgan.corpus import Corpus
from seqgan.numbers import Numbers
from seqgan.players import Duo, Metrics, Rows
from seqgan.sampling import speak
from seqgan.soft import RELAXATIONS, Sentences, SoftDiscriminator, speak_softly
from seqgan.speakers import prompted

Scalar = Float[Tensor, ""]


class Game(Protocol):
    """What the discriminator goes down and the generator up, for as many reals as fakes."""

    def discriminator_loss(self, discriminator: SoftDiscriminator, real: Rows, fake: Sentences, /) -> Scalar:
        """Give the discriminator's loss, penalties included; `fake` comes without a gradient."""
        ...

    def reward(self, discriminator: SoftDiscriminator, real: Rows, fake: Sentences, /) -> Float[Tensor, "..."]:
        """Say what the fakes earn, one by one or together, differentiable in them."""
        ...


class Progress:
    """The share of the rounds that are over; part of a checkpoint, as the discriminator is not told."""

    def __init__(self) -> None:
        self.share = 0.0

    def state_dict(self) -> dict[str, float]:
        """Give the share."""
        return {"share": self.share}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take a share."""
        self.share = float(state["share"])


class SoftPlayers(Duo):
    """A generator of soft sentences and a discriminator of both kinds.

    The inverse temperature grows exponentially over the rounds that are really made, from 1 towards `n.sharpest`, which
    it would have after the last; Nie, Narodytska & Patel (ICLR 2019), section 2.3.
    """

    def __init__(
        self,
        n: Numbers,
        corpus: Corpus,
        engine: Engine,
        *,
        make_generator: Callable[[], nn.Module],
        discriminator: nn.Module,
        game: Game,
    ) -> None:
        super().__init__(
            n, corpus, engine, generator=make_generator(), start=make_generator(), discriminator=discriminator
        )
        self.game, self.relaxation, self.progress = game, RELAXATIONS[n.relaxation], Progress()

    def parts(self) -> dict[str, Stateful]:
        """Give nets, optimizers and the share of the rounds."""
        return super().parts() | {"progress": self.progress}

    def given(self, rows: Rows) -> Rows:
        """Keep the prompts of some sentences, and leave the rest blank."""
        return prompted(rows[:, : self.corpus.prompt], len(rows), self.corpus.length).to(self.engine.device)

    @property
    def temperature(self) -> float:
        """Of soft sentences, as the rounds stand."""
        return float(self.n.sharpest**-self.progress.share)

    def say(self, rows: int) -> Int[Tensor, "rows width"]:
        """Speak in tokens; dropout off."""
        return speak(self.generator.eval(), rows, self.corpus.length, given=self.given(self.some_real(rows)))

    def hear(self, fake: Int[Tensor, "rows width"]) -> Sentences:
        """Return what the discriminator learns from where that was said; no gradient."""
        with evaluating(self.generator):
            return self.relaxation.hear(self.generator, fake, self.temperature)

    def speak_softly(self, real: Rows) -> Sentences:
        """Speak, with a gradient, after the prompts of the real sentences; dropout off."""
        with evaluating(self.generator):
            return speak_softly(self.generator, self.given(real), self.temperature, self.relaxation.relax)[0]

    def judge(self, real: Rows, fake: Int[Tensor, "rows width"]) -> Metrics:
        """Make one step of the discriminator, dropout on."""
        with torch.no_grad(), self.engine.autocast():
            heard = self.hear(fake)
        self.discriminator.train()
        with self.engine.autocast():
            loss = self.game.discriminator_loss(self.discriminator, real, heard)
        self.engine.update(self.d_optimizer, loss, name="d/loss")
        return {"d/loss": loss.detach()}

    def improve(self, progress: float) -> Metrics:
        """Make one step of the generator, beside real sentences drawn for it."""
        self.progress.share = progress
        real = self.some_real(self.n.batch // self.engine.world)
        with evaluating(self.discriminator), self.engine.autocast():
            reward = self.game.reward(self.discriminator, real, self.speak_softly(real))
        norm = self.engine.update(self.g_optimizer, pathwise(reward), name="g/loss", clip=self.n.g_clip)
        return {"g/reward": reward.detach().mean(), "g/grad_norm": norm}
