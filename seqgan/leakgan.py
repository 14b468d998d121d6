"""LeakGAN: goals and what follows them, both judged by the features that the discriminator leaks."""

import copy
import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from rl.estimators import Mask, PerStep, pathwise, reinforce
from rl.objectives import Objective
from rl.policies import categorical_log_prob
from rl.rewards import MonteCarlo
from rl.rollout import Rollout
from rl.runtime import Engine
from seqgan.adversarial import Baseline
from seqgan.corpus import Corpus
from seqgan.discriminators import OutputL2
from seqgan.leaked import LeakGenerator
from seqgan.likelihood import counted, mle_loss
from seqgan.numbers import Numbers
from seqgan.players import MLE_CLIP, Duo, Metrics, PolicyPlayers, Rows, discriminator_of
from seqgan.sampling import complete, speak
from seqgan.scoring import judge_completions

Leaked = Float[Tensor, "batch time_and_one size"]  # of every prefix, the empty one first
Goals = Float[Tensor, "batch time size"]


def goal_rewards(leaked: Leaked, goals: Goals, steps: int) -> PerStep:
    """Return cos(F(s_t+c) - F(s_t), g_t), how well each goal foretold where the features went, c = `steps` tokens on.

    Guo et al. 2018 (1709.08624), eq. 8. At the end of a row, as far as they went; 0 where they did not move.
    """
    time = goals.shape[1]
    ahead = (torch.arange(time, device=goals.device) + steps).clamp(max=time)
    return F.cosine_similarity(leaked[:, ahead] - leaked[:, :-1], goals.float(), dim=-1)


@torch.no_grad()
def intrinsic_rewards(leaked: Leaked, goals: Goals, steps: int) -> PerStep:
    """Return how well each token followed the goals before it: mean over i = 1..c of cos(F(s_t) - F(s_t-i), g_t-i).

    Guo et al. 2018 (1709.08624), eq. 10; s_t ends with the token that is paid, c = `steps`. Early tokens have fewer
    goals before them, and the mean is over those.
    """
    time, total = goals.shape[1], torch.zeros(goals.shape[:2], device=goals.device)
    for back in range(1, min(steps, time) + 1):
        moved = leaked[:, back:] - leaked[:, :-back]
        total[:, back - 1 :] += F.cosine_similarity(moved, goals[:, : time + 1 - back].float(), dim=-1)
    return total / torch.arange(1, time + 1, device=goals.device).clamp(max=steps)


def rank_rescaled(rewards: PerStep, mask: Mask, scale: float) -> PerStep:
    """Return sigmoid(scale * (0.5 - rank / rows)) for each place by itself, rank 1 the best of the rows that act there.

    Guo et al. 2018 (1709.08624), eq. 12, "bootstrapped rescaled activation": mean and spread no longer depend on how
    sure the discriminator is. Equal rewards share the mean of their ranks. Zero off the mask.
    """
    beaten_by = (rewards[None] > rewards[:, None]) & mask[None]  # [row, other, place]
    equal_to = (rewards[None] == rewards[:, None]) & mask[None]
    ranks = beaten_by.sum(1) + (equal_to.sum(1) + 1) / 2
    return torch.sigmoid(scale * (0.5 - ranks / mask.sum(0).clamp(min=1))).masked_fill(~mask, 0)


class LeakPlayers(PolicyPlayers):
    """Manager and Worker against SeqGAN's discriminator; Guo et al. 2018 (1709.08624), sections 3.2 and 3.3.

    Rollout rewards are rescaled by rank. The Manager climbs them times `goal_rewards`, pathwise through its goals; the
    Worker climbs them times `intrinsic_rewards`, along its log-probabilities (the paper's eq. 9 pays the intrinsic
    reward alone: then no word is better for being judged better). Likelihood and discriminator are learned in turns,
    and an epoch of likelihood is spread over every `interleave` rounds. Sentences are always said at temperature 1.
    """

    def __init__(self, n: Numbers, corpus: Corpus, engine: Engine, *, objective: Objective, baseline: Baseline) -> None:
        judge = discriminator_of(n, corpus)
        generator = LeakGenerator(
            len(corpus.vocabulary.words), judge, embedding=n.embedding, hidden=n.hidden, goal=n.goal,
            goal_steps=n.goal_steps, dropout=n.dropout, end=corpus.end, prompt=corpus.prompt,
        )  # fmt: skip
        Duo.__init__(  # the generator reads the discriminator's features, so it is made last
            self, n, corpus, engine, generator=generator, start=copy.deepcopy(generator), discriminator=judge,
            learned=LeakGenerator.learned,
        )  # fmt: skip
        self.objective, self.baseline = objective, baseline
        self.penalty, self.logits = OutputL2(n.d_l2), engine.fast(self.discriminator)
        judged = partial(judge_completions, self.discriminator, autocast=engine.autocast)
        self.reward = MonteCarlo(partial(complete, self.generator), judged, objective, n.rollouts)
        self.lessons = math.ceil(len(corpus.train) / n.mle_batch / n.interleave) if n.interleave else 0

    def imitate(self, rows: Rows) -> Metrics:
        """Make one step of maximum likelihood, and one of the discriminator, whose features it will read."""
        return self.teach(rows) | self.judge(rows, self.say(len(rows)))

    def teach(self, rows: Rows) -> Metrics:
        """Make one step: the Worker towards these sentences, the Manager towards where their features go."""
        net = self.generator.train()
        with self.engine.autocast():
            nll = mle_loss(net, rows)
            leaked, goals = net.plan(rows)
        foretold = goal_rewards(leaked, goals, net.goal_steps)[counted(rows, net.end, net.prompt)]
        loss = nll + pathwise(foretold)
        norm = self.engine.update(self.mle_optimizer, loss, name="mle/loss", clip=MLE_CLIP)
        return {"mle/loss": nll.detach(), "mle/goal": foretold.detach().mean(), "mle/grad_norm": norm}

    def improve(self, progress: float) -> Metrics:
        """Speak, be paid, and make one step of both; then the round's share of maximum likelihood."""
        net = self.generator.eval()
        with self.engine.autocast():
            given = self.given(self.n.batch // self.engine.world)
            tokens = speak(net, *given.shape, given=given)
            rollout = Rollout.of(tokens, counted(tokens, net.end, net.prompt)).relabel(self.reward)
            leaked, goals = net.plan(tokens)
            log_probs = categorical_log_prob(net.head(net.features(tokens)), tokens)
        rewards = rank_rescaled(rollout.rewards, rollout.mask, self.n.rank_scale)
        foretold = goal_rewards(leaked, goals, net.goal_steps)
        followed = intrinsic_rewards(leaked, goals, net.goal_steps)
        worker = reinforce(log_probs, self.baseline(rewards * followed, rollout.mask), rollout.mask)
        loss = worker + pathwise((rewards * foretold).sum(1))
        norm = self.engine.update(self.g_optimizer, loss, name="g/loss", clip=self.n.g_clip)
        metrics = {
            "g/reward": rollout.rewards[rollout.mask].mean(),
            "g/goal": foretold.detach()[rollout.mask].mean(),
            "g/intrinsic": followed[rollout.mask].mean(),
            "g/length": rollout.mask.float().sum(1).mean(),
            "g/loss": loss.detach(),
            "g/grad_norm": norm,
        }
        for _ in range(self.lessons):
            metrics |= self.teach(self.some_real(self.n.mle_batch // self.engine.world))
        return metrics
