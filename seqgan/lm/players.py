"""Who learns from demonstrations, and one round of each; the order of the rounds is the script's."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from rl.runtime import Engine
from rl.runtime.checkpoints import Stateful
from seqgan.lm.judging import SENTENCES, Judging
from seqgan.lm.numbers import Numbers
from seqgan.lm.task import Rows, Task
from seqgan.players import Duo, trainable
from seqgan.pretraining import mle_round
from seqgan.reranking import Ids
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

    def heat(self, prompt: Ids, said: Ids) -> list[float]:
        """Return what each token that was said is worth to the discriminator; nothing where none learns."""
        ...


class Student(Duo):
    """What all learners share: nets, demonstrations by prompt, and no discriminator that learns."""

    def __init__(self, n: Numbers, task: Task, engine: Engine, *, judging: Judging = SENTENCES) -> None:
        policy, start = (task.nets.policy(n, task.shown) for _ in range(2))
        judge = judging.build(task.nets)(n, task.shown)
        super().__init__(n, task.shown, engine, generator=policy, start=start, discriminator=judge)
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

    def warm(self) -> Metrics:
        """Make a step of the policy on demonstrations, if asked."""
        return self.learn_shown() if self.n.warm_sft else {}

    def tells(self, real: Rows, fake: Rows) -> dict[str, float]:
        """Return nothing."""
        return {}

    def heat(self, prompt: Ids, said: Ids) -> list[float]:
        """Return nothing."""
        return []


class Start(Student):
    """Maximum likelihood on the text alone: nothing is learned after it, whatever the numbers are."""

    def warm(self) -> Metrics:
        """Do nothing."""
        return {}

    def round(self) -> Metrics:
        """Do nothing."""
        return {}


class Imitator(Student):
    """SFT: maximum likelihood on the demonstrations."""

    def round(self) -> Metrics:
        """Make one update."""
        return self.learn_shown()


Players = Callable[[Numbers, Task, Engine], Learner]
