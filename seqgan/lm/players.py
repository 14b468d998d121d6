"""Who learns from demonstrations, and one round of each; the order of the rounds is the script's."""

import copy
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from rl.objectives import Objective, Relativistic
from rl.penalties import NoPenalty
from rl.rollout import Rollout
from rl.runtime import Engine, InputError
from rl.runtime.checkpoints import Stateful
from seqgan.generators import build_generator
from seqgan.likelihood import counted, token_log_probs
from seqgan.lm.advantages import Advantages, generalised, group, mc_rollout, rloo, token
from seqgan.lm.earning import Compose, by_rollouts
from seqgan.lm.judging import SENTENCES, Judging
from seqgan.lm.memory import Memory
from seqgan.lm.numbers import Numbers
from seqgan.lm.rounds import judge_round, placed, policy_round, said_log_probs
from seqgan.lm.task import Rows, Task, there
from seqgan.lm.values import NoValues, Values
from seqgan.players import Duo, trainable
from seqgan.pretraining import mle_round
from seqgan.sampling import speak
from seqgan.speakers import Speaker, prompted

Metrics = dict[str, Tensor]


class Learner(Protocol):
    """One that begins as a language model of the text and becomes like the demonstrations."""

    generator: Any
    start: Any
    """the policy after maximum likelihood, frozen"""

    def parts(self) -> dict[str, Stateful]:
        """Give everything that has a state, by the name that it has in a checkpoint."""
        ...

    def speaker(self, net: Any) -> Speaker:
        """Let the policy, or the start, be measured."""
        ...

    def imitate(self, rows: Rows) -> Metrics:
        """Make one step of maximum likelihood on the text."""
        ...

    def begin(self) -> None:
        """Keep the policy as the start: maximum likelihood is over."""
        ...

    def warm(self) -> Metrics:
        """Make one step of the discriminator before the first round."""
        ...

    def round(self) -> Metrics:
        """Make one round."""
        ...

    def tells(self, real: Rows, fake: Rows) -> dict[str, float]:
        """Return how well the discriminator tells rows that it has not seen; nothing where none learns."""
        ...


class Student(Duo):
    """What all learners share: nets, demonstrations by prompt, and no discriminator that learns."""

    def __init__(self, n: Numbers, task: Task, engine: Engine, *, judging: Judging = SENTENCES) -> None:
        policy, start = policy_of(n, task), policy_of(n, task)
        super().__init__(n, task.shown, engine, generator=policy, start=start, discriminator=judging.build(n, task))
        self.task, self.shown = task, task.shown.train.to(engine.device)
        self.sft_optimizer = torch.optim.Adam(trainable(self.generator), n.sft_lr, betas=(n.beta1, 0.999))

    def parts(self) -> dict[str, Stateful]:
        """Give the optimizer of maximum likelihood on the demonstrations too."""
        return super().parts() | {"sft_optimizer": self.sft_optimizer}

    def learn_shown(self) -> Metrics:
        """Make one step of maximum likelihood on demonstrations; dropout on."""
        rows = self.some_shown(self.n.mle_batch // self.engine.world)
        return mle_round(self.generator, rows, self.sft_optimizer, self.engine, clip=self.n.g_clip)

    def some_shown(self, rows: int) -> Rows:
        """Draw demonstrations."""
        return self.shown[torch.randint(len(self.shown), (rows,), device=self.shown.device)]

    def answer(self, net: Any, real: Rows) -> Rows:
        """Answer the prompts of demonstrations; dropout off."""
        prompts = real[:, : self.corpus.prompt]
        given = prompted(prompts.cpu(), len(real), self.corpus.length).to(real.device)
        with self.engine.autocast():
            return speak(net.eval(), len(real), self.corpus.length, given=given)

    def said(self, rows: Rows) -> Tensor:
        """Return which tokens were said."""
        return counted(rows, self.corpus.end, self.corpus.prompt)

    def warm(self) -> Metrics:
        """Make a step of the policy on demonstrations, if asked."""
        return self.learn_shown() if self.n.warm_sft else {}

    def tells(self, real: Rows, fake: Rows) -> dict[str, float]:
        """Return nothing."""
        return {}


class Imitator(Student):
    """SFT: maximum likelihood on the demonstrations."""

    def round(self) -> Metrics:
        """Make one update."""
        return self.learn_shown()


class SelfPlayer(Student):
    """SPIN: the policy is its own discriminator, against what it said an iteration ago; Chen et al. 2024 (2401.01335).

    The logit of a row is beta times the log-ratio of the policy to its opponent, and a demonstration should have a
    larger one than the opponent's answer to the same prompt (eq. 4.7).
    """

    def __init__(self, n: Numbers, task: Task, engine: Engine) -> None:
        super().__init__(n, task, engine)
        self.opponent = copy.deepcopy(self.start)
        self.age = Age()

    def parts(self) -> dict[str, Stateful]:
        """Give the opponent too."""
        return super().parts() | {"opponent": self.opponent, "age": self.age}

    def round(self) -> Metrics:
        """Make one update; at first and after every `spin_every` the opponent becomes the policy as it is."""
        n = self.n
        if self.age.rounds % n.spin_every == 0:
            self.opponent.load_state_dict(self.generator.state_dict())
        self.age.rounds += 1
        real = self.some_shown(n.mle_batch // self.engine.world)
        fake = self.answer(self.opponent, real)
        rows = torch.cat([real, fake])
        mask = self.said(rows)
        self.generator.eval()
        with self.engine.autocast():
            log_probs = said_log_probs(self.generator, rows, mask).gather(1, rows[mask][:, None])[:, 0]
        ratios = placed(log_probs, mask) - token_log_probs(self.opponent, rows)
        on_real, on_fake = (n.spin_beta * ratios.sum(1)).chunk(2)
        loss = Relativistic().discriminator_loss(on_real, on_fake)
        norm = self.engine.update(self.g_optimizer, loss, name="g/loss", clip=n.g_clip)
        better = (on_real > on_fake).float().mean()
        return {"g/loss": loss.detach(), "g/preferred": better, "g/grad_norm": norm}


class Age:
    """How many rounds were made; part of a checkpoint."""

    def __init__(self) -> None:
        self.rounds = 0

    def state_dict(self) -> dict[str, int]:
        """Return the number."""
        return {"rounds": self.rounds}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take the number."""
        self.rounds = state["rounds"]


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
        rollout = Rollout.of(tokens, self.said(tokens)).relabel(self.reward)
        rollout = self.values.foresee(self.generator, rollout)
        metrics = {"g/reward": rollout.rewards.sum(1).mean(), "g/length": rollout.mask.float().sum(1).mean()}
        metrics["g/verified"] = self.task.verifier(rollout).mean()
        for _ in range(n.d_steps if self.learns else 0):
            metrics |= self.discern(tokens, real)
        metrics |= self.values.learn(self.generator, rollout)
        return metrics | policy_round(
            self.generator, self.start, tokens, rollout.mask, self.advantages(rollout, n.group), self.g_optimizer,
            self.engine, epochs=n.epochs, minibatch=n.minibatch, clip=n.clip, kl_weight=n.kl_weight, max_norm=n.g_clip,
        )  # fmt: skip

    def discern(self, fake: Rows, real: Rows) -> Metrics:
        """Make one step of the discriminator on fresh pairs and remembered ones; none where nothing passes."""
        if self.passing_only:
            passing = self.task.verdicts(fake) > 0
            fake, real = fake[passing], real[passing]
        if not len(fake):
            return {}
        half = self.n.d_batch // 2 // self.engine.world
        drawn = torch.randint(len(fake), (half - int(half * self.n.d_old),), device=fake.device)
        self.memory.add(fake[drawn], real[drawn])
        old_fake, old_real = (part.to(fake.device) for part in self.memory.draw(half - len(drawn)))
        return judge_round(
            self.discriminator, self.judge, self.read, torch.cat([real[drawn], old_real]),
            torch.cat([fake[drawn], old_fake]), self.objective, NoPenalty(), self.d_optimizer, self.engine,
        )  # fmt: skip

    def read(self, logits: Tensor, rows: Rows) -> Tensor:
        """Return the logits that count."""
        return self.judging.read(logits, self.said(rows))

    @torch.no_grad()
    def tells(self, real: Rows, fake: Rows) -> dict[str, float]:
        """Return `d/held_out`, its accuracy on rows that it has not seen, dropout off."""
        if not self.learns:
            return {}
        self.discriminator.eval()
        on_real, on_fake = (self.read(self.judge(rows.to(self.engine.device)), rows) for rows in (real, fake))
        return {
            "d/held_out": ((on_real > 0).float().mean() + (on_fake < 0).float().mean()).item() / 2,
            "d/margin": (on_real.mean() - on_fake.mean()).item(),
        }


def policy_of(n: Numbers, task: Task) -> Any:
    """Return the net of `n.generator`."""
    corpus = task.shown
    return build_generator(
        n.generator, len(corpus.vocabulary.words), corpus.length,
        embedding=n.embedding, hidden=n.hidden, layers=n.layers, dropout=n.dropout,
        end=corpus.end, prompt=corpus.prompt,
    )  # fmt: skip


def advantages_of(n: Numbers) -> Advantages:
    """Return the function that a run's numbers name."""
    table: dict[str, Advantages] = {
        "group": group, "rloo": rloo, "token": token, "rollout": mc_rollout, "gae": generalised(n.lam)
    }  # fmt: skip
    return table[n.advantage]


Players = Callable[[Numbers, Task, Engine], Learner]
