"""IRGAN on matrix factorisation by derivatives written out: `fast_factors` and `pretraining` as players."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.objectives import Objective, Relativistic
from rl.retrieval import fast_factors, pretraining
from rl.retrieval.collection import Collection
from rl.retrieval.numbers import Numbers
from rl.retrieval.players import Hand, Metrics, share_of_rate
from rl.retrieval.rounds import BASELINES
from rl.retrieval.scorers import Factors
from rl.runtime.checkpoints import Stateful


class FactorGame:
    """Two factorisations: the generator over all documents, the discriminator over pairs; 1705.10513, algorithm 1."""

    def __init__(
        self, n: Numbers, collection: Collection, generator: Factors, discriminator: Factors, objective: Objective
    ) -> None:
        self.n, self.positive, self.documents = n, collection.train.positive, collection.documents
        self.generator, self.discriminator, self.objective = generator, discriminator, objective
        self.hand = Hand(self.positive.ids.device)
        self.starter = torch.optim.Adam(generator.parameters(), n.pretrain_lr)

    def imitate(self) -> Metrics:
        """Do an epoch of pretraining."""
        n = self.n
        if n.pretraining == "mle":
            loss = pretraining.likelihood_epoch(self.generator, self.starter, self.positive, decay=n.pretrain_decay)
        else:
            loss = pretraining.pairwise_epoch(
                self.generator, self.positive, candidates=1 if n.pretraining == "bpr" else n.pretrain_candidates,
                rate=n.pretrain_lr, decay=n.pretrain_decay,
            )  # fmt: skip
        return {"pretrain/loss": torch.tensor(loss)}

    def deal(self) -> None:
        """Draw a document for each positive."""
        if self.n.negatives == "uniform":
            drawn = torch.randint(self.documents, (len(self.positive),), device=self.positive.ids.device)
        else:
            drawer = self.generator if self.n.negatives == "generator" else self.discriminator
            drawn = fast_factors.draw_negatives(drawer, self.positive, self.n.temperature)
        self.hand.tensors = {"drawn": drawn}

    def judge(self, done: float) -> Metrics:
        """Do an epoch of the discriminator."""
        rate = self.n.d_lr * share_of_rate(self.n, done)
        loss = fast_factors.discriminator_epoch(
            self.discriminator, self.positive, self.hand.tensors["drawn"], rate=rate, decay=self.n.d_decay
        )
        return {"d/loss": torch.tensor(loss)}

    def improve(self, done: float) -> Metrics:
        """Do an epoch of the generator."""
        n, rate = self.n, self.n.g_lr * share_of_rate(self.n, done)
        if n.estimator == "exact":
            climbed = fast_factors.exact_epoch(self.generator, self._pay_all, self.positive, rate=rate)
        else:
            climbed = fast_factors.generator_epoch(
                self.generator, self._pay, self.positive, rate=rate, share=n.positive_share, draws=n.draws
            )
        return {"g/reward": torch.tensor(climbed)}

    def _pay(self, query: Int[Tensor, "draws"], ids: Int[Tensor, "draws"]) -> Float[Tensor, "draws"]:
        return self._earned(self.discriminator.score(query, ids.unsqueeze(1))).squeeze(1)

    def _pay_all(self, query: Int[Tensor, "rows"]) -> Float[Tensor, "rows documents"]:
        return self._earned(self.discriminator.score_all(query))

    def _earned(self, judged: Float[Tensor, "rows documents"]) -> Float[Tensor, "rows documents"]:
        return self.n.reward_scale * BASELINES[self.n.baseline](self.objective.reward(judged))

    def parts(self) -> dict[str, Stateful]:
        """Return everything that has a state."""
        return {
            "generator": self.generator, "discriminator": self.discriminator, "hand": self.hand,
            "starter": self.starter,
        }  # fmt: skip


def plays(n: Numbers, objective: Objective) -> bool:
    """Whether derivatives are written out for these numbers: of logits one by one, paid as they are or less 1/2."""
    pointwise = not isinstance(objective, Relativistic)
    plain = n.optimizer == "sgd" and not (n.spare_relevant or n.g_decay or n.list)
    return pointwise and plain and (n.estimator == "exact" or n.baseline in ("none", "constant"))
