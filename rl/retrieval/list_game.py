"""Games over slates by autograd: any scorers, any data. What a row teaches are two lessons, pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.objectives import Objective, Relativistic
from rl.retrieval import rounds
from rl.retrieval.collection import Collection
from rl.retrieval.numbers import Numbers
from rl.retrieval.players import Hand, Metrics, Net, share_of_rate
from rl.retrieval.relevance import Relevance
from rl.retrieval.slates import Pools, Slate, Slates, retrieved, widest
from rl.runtime.checkpoints import Stateful
from rl.runtime.engine import Engine
from rl.runtime.shuffled import Shuffled

Scalar = Float[Tensor, ""]


class Two(NamedTuple):
    """The players, as a lesson sees them."""

    generator: Net
    discriminator: Net


Lesson = Callable[[Numbers, Two, Slate, Slates], tuple[Scalar, Metrics]]
"""What a slate teaches; the last argument says what else could stand on it."""


def telling_apart(objective: Objective) -> Lesson:
    """Teach the discriminator to tell the relevant from what is drawn, pointwise or pairwise; IRGAN."""

    def lesson(n: Numbers, two: Two, slate: Slate, wide: Slates) -> tuple[Scalar, Metrics]:
        with torch.no_grad():
            drawer = {"generator": two.generator, "discriminator": two.discriminator}.get(n.negatives)
            scores = slate.scores(drawer) if drawer else torch.zeros(slate.ids.shape, device=slate.ids.device)
            allowed = slate.mask & ~slate.relevant if n.spare_relevant else slate.mask
            log_probs = rounds.log_policy(scores, allowed, n.temperature)
        return rounds.contrast(two.discriminator, objective, slate, log_probs)

    return lesson


def climbing(objective: Objective) -> Lesson:
    """Let the generator climb the reward of its documents; IRGAN."""

    def lesson(n: Numbers, two: Two, slate: Slate, wide: Slates) -> tuple[Scalar, Metrics]:
        scores = slate.scores(two.generator)
        if n.estimator == "exact":
            judged = judged_by(two.discriminator, slate)
            loss = rounds.exact_climb(scores, judged, objective, slate.relevant, slate.mask)
        else:
            loss = rounds.sampled_climb(
                scores, two.discriminator, objective, slate, draws=n.draws, share=n.positive_share,
                baseline=rounds.BASELINES[n.baseline],
            )  # fmt: skip
        return n.reward_scale * loss, {"g/loss": loss.detach()}

    return lesson


def ranking(n: Numbers, two: Two, slate: Slate, wide: Slates) -> tuple[Scalar, Metrics]:
    """Teach the ranker to put each relevant document above the retrieved; AR2."""
    loss = rounds.ranking_loss(slate.scores(two.discriminator), slate.relevant, slate.mask)
    return loss, {"d/loss": loss.detach()}


def likelihood(n: Numbers, two: Two, slate: Slate, wide: Slates) -> tuple[Scalar, Metrics]:
    """Pretrain by the softmax over the slate."""
    loss = rounds.likelihood_loss(slate.scores(two.generator), slate.relevant, slate.mask)
    return loss, {"pretrain/loss": loss.detach()}


def finding_and_copying(n: Numbers, two: Two, slate: Slate, wide: Slates) -> tuple[Scalar, Metrics]:
    """Let the retriever find what the ranker takes for relevant, and rank as it does; AR2 (2110.03611), eq. 9."""
    scores, judged = slate.scores(two.generator), judged_by(two.discriminator, slate)
    finding = rounds.hardness_climb(scores, judged, slate.relevant, slate.mask)
    copying = rounds.distillation_loss(scores, judged, slate.mask, n.lesson_temperature)
    loss = n.adversarial * finding + (1 - n.adversarial) * copying
    metrics = {"g/hardness": -finding.detach(), "g/distillation": copying.detach()}
    if n.likelihood == 0:  # it scores all there is
        return loss, metrics
    likely, its = likelihood(n, two, wide.of(slate.query), wide)
    return loss + n.likelihood * likely, metrics | {"g/nll": its["pretrain/loss"]}


def pairs(n: Numbers, two: Two, slate: Slate, wide: Slates) -> tuple[Scalar, Metrics]:
    """Pretrain by pairs, the other document the best-scored of some: BPR with one, dynamic negatives with more."""
    candidates = 1 if n.pretraining == "bpr" else n.pretrain_candidates
    with torch.no_grad():
        others = slate.mask & ~slate.relevant
        log_probs = rounds.hardest_of(slate.scores(two.generator), others, candidates)
    loss, _ = rounds.contrast(two.generator, Relativistic(), slate, log_probs)
    return loss, {"pretrain/loss": loss.detach()}


PRETRAINING: dict[str, Lesson] = {"mle": likelihood, "bpr": pairs, "dns": pairs}


@torch.no_grad()
def judged_by(discriminator: Net, slate: Slate) -> Float[Tensor, "batch list"]:
    """Return verdicts on a slate."""
    return slate.scores(discriminator)


@dataclass(frozen=True)
class Lessons:
    """What a row teaches its players."""

    judging: Lesson
    improving: Lesson


class ListGame:
    """Players whose epochs pass over the queries that have both kinds of documents, a batch of slates at a time."""

    def __init__(
        self, n: Numbers, collection: Collection, two: Two, lessons: Lessons, engine: Engine, *, seed: int
    ) -> None:
        self.n, self.collection, self.engine, self.lessons = n, collection, engine, lessons
        self.generator, self.discriminator = self.two = two
        self.slates, self.hand = widest(collection), Hand(collection.train.ids.device)
        self.taught = teaching(self.slates, collection.train.answered)
        self.order = Shuffled(len(self.taught), n.batch, seed=seed)
        self.starter = optimizer_of(n, two.generator, n.pretrain_lr, n.pretrain_decay)
        self.g_optimizer = optimizer_of(n, two.generator, n.g_lr, n.g_decay)
        self.d_optimizer = optimizer_of(n, two.discriminator, n.d_lr, n.d_decay)

    def imitate(self) -> Metrics:
        """Do an epoch of pretraining."""
        return self._epoch(PRETRAINING[self.n.pretraining], self.starter, self.slates, "generator")

    def deal(self) -> None:
        """Retrieve lists anew, where lists are retrieved; else negatives are drawn as they are needed."""
        if self.n.list:
            pool = retrieved(self.generator, self.collection, self.n.list).pool
            self.hand.tensors = {"offsets": pool.offsets, "ids": pool.ids, "grades": pool.grades}

    def judge(self, done: float) -> Metrics:
        """Do an epoch of the discriminator."""
        set_rate(self.d_optimizer, self.n.d_lr * share_of_rate(self.n, done))
        return self._epoch(self.lessons.judging, self.d_optimizer, self.dealt(), "discriminator")

    def improve(self, done: float) -> Metrics:
        """Do an epoch of the generator."""
        set_rate(self.g_optimizer, self.n.g_lr * share_of_rate(self.n, done))
        return self._epoch(self.lessons.improving, self.g_optimizer, self.dealt(), "generator")

    def dealt(self) -> Slates:
        """Return the lists that were retrieved last; those of the data, if none were."""
        return Pools(Relevance(**self.hand.tensors)) if self.hand.tensors else self.slates

    def parts(self) -> dict[str, Stateful]:
        """Return everything that has a state."""
        fixed = ("n", "collection", "engine", "lessons", "two", "slates", "taught")
        return {name: part for name, part in vars(self).items() if name not in fixed}

    def _epoch(self, lesson: Lesson, optimizer: torch.optim.Optimizer, slates: Slates, player: str) -> Metrics:
        sums: Metrics = {}
        for net in self.two:
            net.train(net is getattr(self.two, player))  # who draws or pays leaves nothing out
        for _ in range(len(self.order)):
            slate = slates.of(self.taught[next(self.order).to(self.taught.device)])
            with self.engine.autocast():
                loss, metrics = lesson(self.n, self.two, slate, self.slates)
            self.engine.update(optimizer, loss, name=player)
            sums = {name: sums.get(name, 0) + value for name, value in metrics.items()}
        return {name: total / len(self.order) for name, total in sums.items()}


def teaching(slates: Slates, answered: Int[Tensor, "queries"], at_once: int = 256) -> Int[Tensor, "taught"]:
    """Return the queries that have something relevant and something else on their slate: the others teach nothing."""
    kept = []
    for query in torch.split(answered, at_once):
        slate = slates.of(query)
        kept.append(query[slate.relevant.any(1) & (slate.mask & ~slate.relevant).any(1)])
    return torch.cat([answered[:0], *kept])


def optimizer_of(n: Numbers, net: Net, rate: float, decay: float) -> torch.optim.Optimizer:
    """Return the optimizer that the numbers name, for the weights that move."""
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    if n.optimizer == "sgd":
        return torch.optim.SGD(weights, rate, weight_decay=decay)
    return torch.optim.AdamW(weights, rate, weight_decay=decay)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let an optimizer step at a rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
