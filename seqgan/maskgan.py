"""MaskGAN: fill in what is missing, and be paid for every word by a discriminator that knows the rest.

Fedus, Goodfellow & Dai 2018 (1801.07736).
"""

import copy
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rl.discriminator import evaluating
from rl.estimators import PerStep, reinforce, value_baseline
from rl.objectives import NonSaturating
from rl.policies import ValueHead
from rl.rollout import returns_to_go
from rl.runtime import Engine, InputError, seeded
from rl.runtime.checkpoints import Stateful
from seqgan.corpus import Corpus
from seqgan.infilling import InfillingDiscriminator, InfillingGenerator, fill, filling_log_probs, filling_nll
from seqgan.likelihood import counted
from seqgan.masks import Filled, Mask, blanked, draw_missing
from seqgan.numbers import Numbers
from seqgan.players import MLE_CLIP, Duo, Metrics
from seqgan.speakers import PolicySpeaker, Speaker, tempered

FIRST = 4  # a curriculum begins with one column in four
MASK_SEED = 1_000_033  # of the masks that likelihoods are measured under: always the same
PART = 500  # sentences that are measured at once


def columns(progress: float, curriculum: float, length: int) -> int:
    """Return how many columns play: all once `progress` has reached `curriculum`, its share of them before.

    Never fewer than one in four; Fedus et al. 2018, section 3.3, train on ever longer sequences.
    """
    if progress >= curriculum:
        return length
    return math.ceil(length * max(1 / FIRST, progress / curriculum))


def value_loss(values: PerStep, returns: PerStep, mask: Bool[Tensor, "batch time"]) -> Float[Tensor, ""]:
    """Return the mean squared error of the estimated returns over the places that count."""
    return (values - returns.detach())[mask].square().mean()


@dataclass(frozen=True)
class InfillingSpeaker(PolicySpeaker):
    """Speaks freely, and is measured at filling in besides."""

    generator: InfillingGenerator
    share: float
    mask: Mask

    @torch.no_grad()
    def likelihood(self, tokens: Int[Tensor, "rows time"], inverse_temperature: float = 1.0) -> dict[str, float]:
        """Give `nll` of free speech, and `nll_missing`, nats per missing token given the rest, under fixed masks."""
        net, total, asked = self.generator, 0.0, 0
        with seeded(MASK_SEED), evaluating(net), tempered(net, inverse_temperature):
            for rows in tokens.to(net.head.weight.device).split(PART):
                said = counted(rows, net.end)
                missing = draw_missing(said, share=self.share, whole=0.0, mask=self.mask)
                total -= filling_log_probs(net, Filled(rows, missing)).double().sum().item()
                asked += int((missing & said).sum())
        return super().likelihood(tokens, inverse_temperature) | {"nll_missing": total / asked}


class Columns:
    """How many columns play; part of a checkpoint."""

    def __init__(self, number: int) -> None:
        self.number = number

    def state_dict(self) -> dict[str, int]:
        """Return the number."""
        return {"number": self.number}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take the number."""
        self.number = state["number"]


class MaskPlayers(Duo):
    """A generator that fills in, a discriminator of every place, and a value head on what the discriminator knows.

    A row of fakes is [tokens | 1 where the token was missing].
    """

    def __init__(self, n: Numbers, corpus: Corpus, engine: Engine) -> None:
        if corpus.prompt:
            raise InputError("maskgan: sentences with a label or a prompt are not filled in (--classes, --prompt)")
        size = len(corpus.vocabulary.words)
        generator = InfillingGenerator(
            size, corpus.length,
            embedding=n.embedding, hidden=n.hidden, layers=n.layers, dropout=n.dropout, end=corpus.end,
        )  # fmt: skip
        super().__init__(
            n, corpus, engine, generator=generator, start=copy.deepcopy(generator),
            discriminator=InfillingDiscriminator(size, embedding=n.d_embedding, hidden=n.d_hidden, dropout=n.d_dropout),
        )  # fmt: skip
        self.end, self.width, self.length = corpus.end, 2 * corpus.length, corpus.length
        self.real, self.objective = corpus.train.to(engine.device), NonSaturating()
        self.value = engine.place(ValueHead(n.d_hidden))
        fused = engine.device.type in ("cpu", "cuda")
        self.value_optimizer = torch.optim.Adam(self.value.parameters(), n.value_lr, fused=fused)
        self.columns = Columns(columns(0.0, n.curriculum, corpus.length))

    def parts(self) -> dict[str, Stateful]:
        """Return everything that has a state."""
        more = {"value": self.value, "value_optimizer": self.value_optimizer, "columns": self.columns}
        return super().parts() | more

    def speaker(self, net: InfillingGenerator) -> Speaker:
        """Let the generator or the start be measured, at free speech and at filling in."""
        return InfillingSpeaker(net, self.length, self.real[:1, :0].cpu(), self.n.mask_share, self.n.mask)

    def imitate(self, rows: Int[Tensor, "batch time"]) -> Metrics:
        """Make one step towards the likelihood of what is missing from training rows, given the rest."""
        filled = self.masked(rows)
        self.generator.train()
        with self.engine.autocast():
            loss = filling_nll(self.generator, filled)
        norm = self.engine.update(self.mle_optimizer, loss, name="mle/loss", clip=MLE_CLIP)
        return {"mle/loss": loss.detach(), "mle/grad_norm": norm}

    def say(self, rows: int) -> Int[Tensor, "rows width"]:
        """Fill blanks in training rows drawn at random."""
        filled = self.play(rows)
        rest = self.length - self.columns.number
        tokens = nn.functional.pad(filled.tokens, (0, rest), value=max(self.end, 0))
        return torch.cat([tokens, nn.functional.pad(filled.missing, (0, rest)).long()], 1)

    def judge(self, real: Int[Tensor, "half time"], fake: Int[Tensor, "half width"]) -> Metrics:
        """Make one step towards telling the real from the filled-in token, at missing places alone.

        The value head learns here too: what it has to foresee is what this discriminator pays.
        """
        tokens, missing = fake.split(self.length, 1)
        spoken = Filled(tokens[:, : self.columns.number], missing[:, : self.columns.number].bool())
        given, mask = self.masked(real[:, : self.columns.number]), self.asked(spoken)
        self.discriminator.train()
        with self.engine.autocast():
            states = self.discriminator.states(spoken)
            on_fake, on_real = self.discriminator.judge(states), self.discriminator(given)[self.asked(given)]
            values = self.value(states[:, :-1].detach())
        loss = self.objective.discriminator_loss(on_real, on_fake[mask])
        error = value_loss(values, self.returns(on_fake.detach(), mask), mask)
        self.engine.update(self.d_optimizer, loss, name="d/loss")
        self.engine.update(self.value_optimizer, error, name="value/loss")
        correct = torch.cat([on_real > 0, on_fake[mask] < 0]).float().mean()
        return {"d/loss": loss.detach(), "d/accuracy": correct, "value/loss": error.detach()}

    def improve(self, progress: float) -> Metrics:
        """Make one step of the actor on fresh fillings; Fedus et al. 2018, section 2.2.

        A filled-in token earns log D, its return is the discounted sum over the missing tokens from it on, and what the
        value head had expected before the token is subtracted.
        """
        n, self.columns.number = self.n, columns(progress, self.n.curriculum, self.length)
        filled = self.play(n.batch // self.engine.world)
        mask = self.asked(filled)
        with torch.no_grad(), evaluating(self.discriminator), self.engine.autocast():
            states = self.discriminator.states(filled)
            returns = self.returns(self.discriminator.judge(states), mask)
            values = self.value(states[:, :-1])  # before the token is read: a baseline must not know the action
        with self.engine.autocast():
            log_probs = filling_log_probs(self.generator, filled)
        advantages = value_baseline(returns, values, mask).clamp(-n.advantage_clip, n.advantage_clip)
        loss = reinforce(log_probs, advantages, mask)
        norm = self.engine.update(self.g_optimizer, loss, name="g/loss", clip=n.g_clip)
        return {
            "g/return": returns[mask].mean(),
            "g/length": mask.float().sum(1).mean(),
            "g/advantage": advantages[mask].mean(),
            "g/loss": loss.detach(),
            "g/grad_norm": norm,
        }

    def returns(self, logits: Float[Tensor, "rows time"], mask: Bool[Tensor, "rows time"]) -> PerStep:
        """Return the discounted sum of log D over the missing tokens from each one on."""
        return returns_to_go(self.objective.reward(logits).masked_fill(~mask, 0), mask, self.n.discount)

    def masked(self, rows: Int[Tensor, "rows time"]) -> Filled:
        """Draw what is missing of whole sentences."""
        n = self.n
        return Filled(rows, draw_missing(counted(rows, self.end), share=n.mask_share, whole=n.mask_whole, mask=n.mask))

    def play(self, rows: int) -> Filled:
        """Blank some of what stands in random training rows and let the generator fill it, dropout off."""
        drawn = torch.randint(len(self.real), (rows,), device=self.real.device)
        blank = self.masked(self.real[drawn, : self.columns.number])
        with evaluating(self.generator), self.engine.autocast():
            return Filled(fill(self.generator, blanked(blank)), blank.missing)

    def asked(self, filled: Filled) -> Bool[Tensor, "rows time"]:
        """Return which tokens were said where something was missing."""
        return filled.missing & counted(filled.tokens, self.end)
