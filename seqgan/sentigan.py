"""SentiGAN: a generator for each kind of sentence, one judge of all kinds and of fakes; Wang & Wan 2018 (IJCAI)."""

from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rl.estimators import no_baseline
from rl.objectives import Objective, SeqGAN
from rl.rewards import MonteCarlo, Reward, Scaled
from rl.runtime import Engine
from seqgan.by_label import ByLabel
from seqgan.corpus import Corpus
from seqgan.discriminators import ConvDiscriminator, OutputL2
from seqgan.generators import Generator
from seqgan.numbers import Numbers
from seqgan.players import FILTERS, Metrics, Players, PolicyPlayers, Rows, generator_of
from seqgan.sampling import complete
from seqgan.scoring import judge_completions


class KindDiscriminator(ConvDiscriminator):
    """SeqGAN's CNN with one output for each kind of real sentence and a last one for fakes.

    It judges sentences without their labels: [batch, kinds + 1] logits of one softmax.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        kinds: int,
        *,
        embedding: int,
        filters: tuple[tuple[int, int], ...],
        dropout: float,
    ) -> None:
        super().__init__(vocabulary, length, embedding=embedding, filters=filters, dropout=dropout)
        self.output = nn.Linear(self.output.in_features, kinds + 1)
        nn.init.trunc_normal_(self.output.weight, std=0.1, a=-0.2, b=0.2)
        nn.init.constant_(self.output.bias, 0.1)

    def judge_pooled(self, pooled: Float[Tensor, "batch features"]) -> Float[Tensor, "batch kinds"]:
        """Return the logits of the kinds, the fakes' last."""
        logits: Tensor = self.output(self.dropout(self.features(pooled)))
        return logits


def own_logits(logits: Float[Tensor, "*rows kinds"], kinds: Int[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """Return log D_i / (1 - D_i), where D_i is the softmax's share of the row's own kind i."""
    own = F.one_hot(kinds, logits.shape[-1]).bool()
    others = logits.float().masked_fill(own, -torch.inf).logsumexp(-1)
    return logits.float().gather(-1, kinds[..., None])[..., 0] - others


def penalised_rollouts(
    generator: Generator, discriminator: ConvDiscriminator, objective: Objective, n: Numbers, engine: Engine
) -> Reward[Tensor]:
    """Charge each prefix the mean penalty V = 1 - D of its completions: the reward D - 1, never positive (eq. 2).

    The paper minimises sum_X G(X) V(X), the expected penalty. Without a baseline this is not SeqGAN with other units:
    what is said at all is made less likely, the less the better it is, so that the generator spreads.
    """
    judge = partial(judge_completions, discriminator, autocast=engine.autocast)
    return Scaled(MonteCarlo(partial(complete, generator), judge, objective, n.rollouts), 1.0, -1.0)


def own_kind_rollouts(
    generator: ByLabel, discriminator: KindDiscriminator, objective: Objective, n: Numbers, engine: Engine
) -> Reward[Tensor]:
    """Charge the same for rows [label | sentence], where D is the share of the row's own kind."""

    def judge(tokens: Tensor, completions: Tensor) -> tuple[Tensor, Tensor]:
        kinds = generator.kinds(tokens[:, 0]).argmax(1)
        # the prefix that is the label alone needs no value: the label is given
        whole, completed = judge_completions(
            discriminator, tokens[:, 1:], completions[1:, ..., 1:], autocast=engine.autocast
        )
        own = own_logits(completed, kinds[:, None].expand(completed.shape[:-1]))
        return own_logits(whole, kinds), F.pad(own, (0, 0, 0, 0, 1, 0))

    return Scaled(MonteCarlo(partial(complete, generator), judge, objective, n.rollouts), 1.0, -1.0)


def choir(n: Numbers, corpus: Corpus) -> ByLabel:
    """Return a generator for each label; they say none."""
    members = [generator_of(n, replace(corpus, prompt=0)) for _ in corpus.labels]
    return ByLabel(members, corpus.labels, prompt=corpus.prompt)


def judge_of_kinds(n: Numbers, corpus: Corpus) -> KindDiscriminator:
    """Return the judge of sentences without their label."""
    return KindDiscriminator(
        len(corpus.vocabulary.words), corpus.length - 1, len(corpus.labels),
        embedding=n.d_embedding, filters=FILTERS[n.d_filters], dropout=n.d_dropout,
    )  # fmt: skip


class SentiPlayers(PolicyPlayers):
    """A generator for each label, and one judge that tells the kinds and the fakes apart without seeing the label."""

    def __init__(self, n: Numbers, corpus: Corpus, engine: Engine) -> None:
        super().__init__(
            n, corpus, engine, objective=SeqGAN(), reward=own_kind_rollouts, baseline=no_baseline,
            speaks=choir, judges=judge_of_kinds,
        )  # fmt: skip
        self.penalty = OutputL2(2 * n.d_l2)  # of an output that is as wide as the paper's

    def judge(self, real: Rows, fake: Rows) -> Metrics:
        """Make one step towards naming the kind of the reals, and the fakes as fakes; dropout on."""
        self.discriminator.train()
        penalised = self.penalty(self.discriminator, real, fake)
        on_real, on_fake = self.logits(torch.cat([real, fake])[:, 1:]).float().split([len(real), len(fake)])
        kinds = self.generator.kinds(real[:, 0]).argmax(1)
        fakes = torch.full_like(fake[:, 0], len(self.corpus.labels))
        loss = F.cross_entropy(on_real, kinds) + F.cross_entropy(on_fake, fakes) + penalised
        self.engine.update(self.d_optimizer, loss, name="d/loss")
        named = torch.cat([on_real.argmax(1) == kinds, on_fake.argmax(1) == fakes])
        return {"d/loss": loss.detach(), "d/accuracy": named.float().mean()}


def sentigan(n: Numbers, corpus: Corpus, engine: Engine) -> Players:
    """Return SentiGAN's players; where sentences have no kinds, k = 1 leaves SeqGAN's nets and the penalty."""
    if corpus.labels:
        return SentiPlayers(n, corpus, engine)
    return PolicyPlayers(n, corpus, engine, objective=SeqGAN(), reward=penalised_rollouts, baseline=no_baseline)
