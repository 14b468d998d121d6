"""ScratchGAN: no pretraining, a reward for every token, large batches; de Masson d'Autume et al. 2019 (1905.09922)."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rl.discriminator import evaluating
from rl.estimators import Mask
from rl.estimators import PerStep as PerStepFloats
from rl.objectives import SeqGAN
from rl.rewards import PerStep, Reward, Scaled
from rl.rollout import Rollout, returns_to_go
from rl.runtime import Engine
from rl.runtime.checkpoints import Stateful
from seqgan.corpus import Corpus
from seqgan.generators import Generator
from seqgan.likelihood import counted
from seqgan.numbers import Numbers
from seqgan.players import Metrics, PolicyPlayers, Rows

WAVES = 8  # numbers that tell the position of a token


def waves(length: int, size: int = WAVES) -> Float[Tensor, "length size"]:
    """Return sines and cosines of a token's position at size / 2 wavelengths, geometric from 2 pi to 20,000 pi."""
    rates = 10_000.0 ** -torch.linspace(0, 1, size // 2)
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1)


class RecurrentDiscriminator(nn.Module):
    """An LSTM that gives each token a logit, high = real, from the token and those before it (section 3).

    It reads embeddings beside the token's position, behind dropout. The layer norms stand before and after the cell
    instead of inside it, so that torch's fused cell serves.
    """

    positions: Tensor

    def __init__(self, vocabulary: int, length: int, *, embedding: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.register_buffer("positions", waves(length), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.enter = nn.Sequential(nn.Linear(embedding + WAVES, hidden), nn.LayerNorm(hidden))
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.leave = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, 1))

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
        """Return one logit a token."""
        embedded = self.dropout(self.embedding(tokens))
        places = self.positions[: tokens.shape[1]].to(embedded).expand(len(tokens), -1, -1)
        states, _ = self.lstm(self.enter(torch.cat([embedded, places], 2)))
        logits: Tensor = self.leave(states)[..., 0]
        return logits


class MovingBaseline:
    """Subtract the moving average of the returns of EARLIER batches, so that no row stands in its own baseline.

    average = decay * average + (1 - decay) * mean over the counted steps, and zero at first; part of a checkpoint.
    """

    def __init__(self, decay: float, engine: Engine) -> None:
        self.decay, self.engine, self.average = decay, engine, 0.0

    def __call__(self, returns: PerStepFloats, mask: Mask) -> PerStepFloats:
        """Give the advantages, zero off the mask, then take the returns into the average."""
        advantages = (returns - self.average).masked_fill(~mask, 0)
        mean = self.engine.gather({"mean": returns[mask].mean()})["mean"]
        self.average = self.decay * self.average + (1 - self.decay) * mean
        return advantages

    def state_dict(self) -> dict[str, float]:
        """Return the average."""
        return {"average": self.average}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take the average."""
        self.average = state["average"]


def dense_returns(discriminator: nn.Module, discount: float, engine: Engine) -> Reward[Tensor]:
    """Pay each token 2 D - 1 and what the later ones earn, discounted (section 3)."""
    judged = Scaled(PerStep(engine.fast(discriminator), SeqGAN()), 2.0, -1.0)

    def returns(rollout: Rollout[Tensor]) -> PerStepFloats:
        with evaluating(discriminator):
            return returns_to_go(judged(rollout), rollout.mask, discount)

    return returns


def judge_of_tokens(n: Numbers, corpus: Corpus) -> RecurrentDiscriminator:
    """Return the discriminator that a run's numbers ask for."""
    return RecurrentDiscriminator(
        len(corpus.vocabulary.words), corpus.length,
        embedding=n.d_embedding, hidden=n.d_embedding, dropout=n.d_dropout,
    )  # fmt: skip


class ScratchPlayers(PolicyPlayers):
    """An untrained generator against a discriminator of tokens; its L2 is on all weights, as the optimizer's decay."""

    def __init__(self, n: Numbers, corpus: Corpus, engine: Engine) -> None:
        def earned(generator: Generator, discriminator: Any, *_: object) -> Reward[Tensor]:
            return dense_returns(discriminator, n.discount, engine)

        self.baseline = MovingBaseline(n.baseline_decay, engine)
        super().__init__(
            n, corpus, engine, objective=SeqGAN(), reward=earned, baseline=self.baseline, judges=judge_of_tokens
        )
        for group in self.d_optimizer.param_groups:
            group["weight_decay"] = n.d_l2

    def parts(self) -> dict[str, Stateful]:
        """Give nets, optimizers and the moving baseline."""
        return super().parts() | {"baseline": self.baseline}

    def judge(self, real: Rows, fake: Rows) -> Metrics:
        """Make one step towards telling real tokens from fake ones, the mean over those that were said; dropout on."""
        self.discriminator.train()
        rows = torch.cat([real, fake])
        said = counted(rows, self.corpus.end, self.corpus.prompt)
        logits, halves = self.logits(rows), [len(real), len(fake)]
        on_real, on_fake = (part[mask] for part, mask in zip(logits.split(halves), said.split(halves), strict=True))
        loss = self.objective.discriminator_loss(on_real, on_fake)
        self.engine.update(self.d_optimizer, loss, name="d/loss")
        return {"d/loss": loss.detach(), "d/accuracy": torch.cat([on_real > 0, on_fake < 0]).float().mean()}
