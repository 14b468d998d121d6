"""A policy that is paid, and the round that it is paid in."""

import torch
from torch import Tensor

from rl.discriminator import ranked_right, row_means
from rl.objectives import Objective
from rl.rollout import Rollout
from rl.runtime import Engine, InputError
from rl.runtime.checkpoints import Stateful
from seqgan.lm.advantages import Advantages, generalised, group, mc_rollout, rloo, token
from seqgan.lm.earning import Compose, by_rollouts
from seqgan.lm.judging import SENTENCES, Judging
from seqgan.lm.memory import Memory
from seqgan.lm.numbers import Numbers
from seqgan.lm.players import Metrics, Student
from seqgan.lm.rounds import judge_round, policy_round
from seqgan.lm.task import Rows, Task, there
from seqgan.lm.values import NoValues, Values
from seqgan.reranking import Ids, token_logits


class RewardedPlayers(Student):
    """A policy that is paid, by a discriminator that learns meanwhile, by a verifier, or by both.

    A round: answer prompts in groups, be paid by the discriminator as it stands, let it learn, climb.
    """

    def __init__(
        self,
        n: Numbers,
        task: Task,
        engine: Engine,
        *,
        objective: Objective,
        compose: Compose,
        judging: Judging = SENTENCES,
        learns: bool = True,
        passing_only: bool = False,
    ) -> None:
        if n.batch % n.group:
            raise InputError(f"--batch {n.batch}: not divisible by --group {n.group}")
        super().__init__(n, task, engine, judging=judging)
        self.objective, self.judging, self.learns, self.passing_only = objective, judging, learns, passing_only
        fast = engine.fast(self.discriminator)
        self.judge = lambda rows: fast(rows, there(rows, task.shown.end, task.shown.prompt))
        paid = compose(judging.pays(self.judge, self.discriminator, objective), task.verifier)
        if n.advantage == "rollout":
            paid = by_rollouts(self.generator, paid, prompt=task.shown.prompt, samples=n.rollouts)
        self.reward, self.memory = paid, Memory(n.d_memory, task.shown.length)
        self.advantages = advantages_of(n)
        self.values = (
            Values(self.generator.head.in_features, engine, lr=n.value_lr, lam=n.lam)
            if n.advantage == "gae"
            else NoValues()
        )

    def parts(self) -> dict[str, Stateful]:
        """Give memory and values too."""
        return super().parts() | self.values.parts() | {"memory": self.memory}

    def warm(self) -> Metrics:
        """Make one step of the discriminator on fresh answers besides."""
        metrics = super().warm()
        if self.learns:
            real = self.some_shown(self.n.d_batch // 2 // self.engine.world)
            metrics |= self.discern(self.answer(self.generator, real), real)
        return metrics

    def round(self) -> Metrics:
        """Make one round: the reward is the discriminator's before it learns from this round."""
        n = self.n
        rows = n.batch // self.engine.world
        real = self.some_shown(rows // n.group).repeat_interleave(n.group, 0)
        tokens = self.answer(self.generator, real)
        rollout = Rollout.of(tokens, self.task.said(tokens)).relabel(self.reward)
        rollout = self.values.foresee(self.generator, rollout)
        metrics = {"g/reward": rollout.rewards.sum(1).mean(), "g/length": rollout.mask.float().sum(1).mean()}
        metrics["g/verified"] = self.task.verifier(rollout).mean()
        for _ in range(n.d_steps if self.learns else 0):
            metrics |= self.discern(tokens, real)
        metrics |= self.values.learn(self.generator, rollout)
        advantages = self.advantages(rollout, n.group)
        return metrics | policy_round(
            self.generator, self.start, tokens, rollout.mask, advantages, self.g_optimizer, self.engine,
            epochs=n.epochs, minibatch=max(1, n.minibatch // self.engine.world), clip=n.clip,
            kl_weight=n.kl_weight, max_norm=n.g_clip,
        )  # fmt: skip

    def discern(self, fake: Rows, real: Rows) -> Metrics:
        """Make one step of the discriminator on fresh pairs and remembered ones; none where nothing passes.

        All ranks share their pairs: how many pass differs from rank to rank, and all must make the same steps.
        """
        if self.passing_only:
            passing = self.task.verdicts(fake) > 0
            fake, real = fake[passing], real[passing]
        fake, real = (self.engine.gather_rows(part) for part in (fake, real))
        if not len(fake):
            return {}
        half = self.n.d_batch // 2 // self.engine.world
        drawn = torch.randint(len(fake), (half - int(half * self.n.d_old),), device=fake.device)
        self.memory.add(*(self.engine.gather_rows(part[drawn]) for part in (fake, real)))
        old_fake, old_real = (part.to(fake.device) for part in self.memory.draw(half - len(drawn)))
        return judge_round(
            self.discriminator, self.judge, self.read, torch.cat([real[drawn], old_real]),
            torch.cat([fake[drawn], old_fake]), self.objective, self.d_optimizer, self.engine,
        )  # fmt: skip

    def read(self, logits: Tensor, rows: Rows) -> Tensor:
        """Return the logits that count."""
        return self.judging.read(logits, self.task.said(rows))

    @torch.no_grad()
    def tells(self, real: Rows, fake: Rows) -> dict[str, float]:
        """Return how often a real row that it has not seen has the higher logit, and by how much; dropout off.

        Rows stand beside answers to the same prompts: some objectives know a logit but for a function of the prompt.
        A tie counts half.
        """
        if not self.learns:
            return {}
        self.discriminator.eval()
        both = [rows[: min(len(real), len(fake))] for rows in (real, fake)]
        on_real, on_fake = (row_means(self.judge(rows), self.task.said(rows)) for rows in both)
        return {"d/held_out": ranked_right(on_real, on_fake), "d/margin": (on_real - on_fake).mean().item()}

    def heat(self, prompt: Ids, said: Ids) -> list[float]:
        """Return what each token adds to the verdict, or a judge of tokens' own logits."""
        return token_logits(self.discriminator, prompt, said) if self.learns else []


def advantages_of(n: Numbers) -> Advantages:
    """Return the function that a run's numbers name."""
    table: dict[str, Advantages] = {
        "group": group, "rloo": rloo, "token": token, "rollout": mc_rollout, "gae": generalised(n.lam)
    }  # fmt: skip
    return table[n.advantage]
