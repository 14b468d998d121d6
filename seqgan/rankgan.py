"""RankGAN: a sentence is judged by its rank among sentences of the other kind, as seen from real ones."""

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from rl.discriminator import full_precision
from rl.objectives import Objective
from rl.rewards import MonteCarlo
from rl.runtime import Engine
from seqgan.adversarial import Baseline
from seqgan.corpus import Corpus
from seqgan.discriminators import ConvDiscriminator
from seqgan.generators import Generator
from seqgan.numbers import Numbers
from seqgan.players import Metrics, PolicyPlayers, Rows
from seqgan.sampling import complete
from seqgan.scoring import score_completions

Features = Float[Tensor, "rows size"]


def rank_logits(
    features: Features,
    references: Float[Tensor, "references size"],
    compared: Float[Tensor, "compared size"],
    gamma: float,
) -> Float[Tensor, "rows"]:
    """Return log R / (1 - R) of each row by itself; Lin et al. 2017 (1705.11001), section 3.2.

    P(s | u, C) is the softmax of gamma cos(y_s, y_u) over s and the sentences C it is compared with, taken at s;
    R(s | U, C) is its mean over the references u. As P = sigmoid(gamma cos(y_s, y_u) - log sum_C exp(gamma cos)), a
    logit per reference, R is a probability, and the paper's two-sided loss in R is the logistic objective in its logit.
    R is 1 / (1 + |C|) where all look alike.
    """
    y, u, c = (F.normalize(full_precision(rows), dim=-1) for rows in (features, references, compared))
    logits = gamma * y @ u.t() - (gamma * c @ u.t()).logsumexp(0)
    return F.logsigmoid(logits).logsumexp(1) - F.logsigmoid(-logits).logsumexp(1)


class RankPlayers(PolicyPlayers):
    """SeqGAN's players with a ranker: real sentences are compared with fakes, fakes with reals."""

    def __init__(self, n: Numbers, corpus: Corpus, engine: Engine, *, objective: Objective, baseline: Baseline) -> None:
        super().__init__(
            n, corpus, engine, objective=objective, reward=partial(ranked_rollouts, corpus.train), baseline=baseline
        )

    def judge(self, real: Rows, fake: Rows) -> Metrics:
        """Make one step towards ranking the real above the fake; dropout on. `d/accuracy` is the share of pairs."""
        net, references = self.discriminator.train(), draw(self.corpus.train, self.n.references).to(real)
        with self.engine.autocast():
            features = net.dropout(net.features(net.pooled(torch.cat([real, fake, references]))))
        y, y_fake, u = features.split([len(real), len(fake), len(references)])
        on_real, on_fake = rank_logits(y, u, y_fake, self.n.gamma), rank_logits(y_fake, u, y, self.n.gamma)
        loss = self.objective.discriminator_loss(on_real, on_fake)
        self.engine.update(self.d_optimizer, loss, name="d/loss")
        return {"d/loss": loss.detach(), "d/accuracy": (on_real[:, None] > on_fake).float().mean()}


def draw(rows: Int[Tensor, "all time"], count: int) -> Int[Tensor, "count time"]:
    """Draw rows with replacement."""
    return rows[torch.randint(len(rows), (count,))]


def ranked_rollouts(
    train: Int[Tensor, "train time"],
    generator: Generator,
    ranker: ConvDiscriminator,
    objective: Objective,
    n: Numbers,
    engine: Engine,
) -> MonteCarlo:
    """Pay each prefix the mean reward of its completions, compared with real sentences drawn anew for each batch."""

    @torch.no_grad()
    def judge(tokens: Tensor, completions: Tensor) -> tuple[Tensor, Tensor]:
        reals = draw(train, n.references + n.d_batch // 2).to(tokens)
        with engine.autocast():
            features = ranker.features(ranker.pooled(reals))
        references, compared = features.split([n.references, n.d_batch // 2])

        def score(pooled: Tensor) -> Tensor:
            return rank_logits(ranker.features(pooled), references, compared, n.gamma)

        return score_completions(ranker, score, tokens, completions, autocast=engine.autocast)

    return MonteCarlo(partial(complete, generator), judge, objective, n.rollouts)
