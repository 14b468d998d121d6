"""SPIN: a policy that plays against what it said before."""

import copy

import torch

from rl.objectives import Relativistic
from rl.runtime import Engine
from rl.runtime.checkpoints import Stateful
from seqgan.likelihood import token_log_probs
from seqgan.lm.numbers import Numbers
from seqgan.lm.players import Metrics, Student
from seqgan.lm.rounds import placed, said_log_probs
from seqgan.lm.task import Task


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
        mask = self.task.said(rows)
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
