"""A reward that learns from demonstrations while a policy of somebody else's loop learns from it.

Scored first, learned from afterwards: what a completion earns comes from a discriminator that has not seen it. The
library whose loop it is has its own file beside this one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.adapters.demonstrated import Column, Demonstrations, Pool, is_held_out
from rl.adapters.lessons import Verdicts, drawing_from, earned, judge_pairs, lesson_loss, step
from rl.adapters.memory import Memory, Pair
from rl.adapters.rows import Columns, Reader, Tokenizer
from rl.adapters.verifying import Composed, Verifier, composed, everything, require_composable, teaching, verdicts
from rl.discriminator import evaluating, ranked_right
from rl.objectives import Objective, SeqGAN
from rl.penalties import NoPenalty, Penalty
from rl.runtime import ranks
from rl.runtime.errors import Diverged

Rewards = Float[Tensor, "rows"]


@dataclass(frozen=True)
class Learning:
    """How a discriminator learns between generations."""

    rate: float = 1e-4
    """of AdamW; large transformers need 1e-6 to 1e-5"""
    batch: int = 32
    """completions in a step, as many demonstrations besides; also the rows that are scored in one pass"""
    passes: int = 1
    """over the completions of a generation"""
    clip: float = 1.0
    """largest norm of a gradient"""
    warm_up: int = 0
    """generations at the beginning that earn nothing, so that the policy waits while the discriminator learns"""
    replay: float = 0.5
    """old completions, for each new one, to learn from again"""
    memory: int = 4096
    """completions that are kept for that, on each process"""
    held_out: float = 0.1
    """share of the demonstrations that are never learned from, to see what is known and what only remembered"""
    seed: int = 0
    """of its own random choices; the trainer's are left alone"""


class Judged(NamedTuple):
    """A generation, judged: each completion beside its demonstration, and what it earns."""

    pairs: list[Pair]
    real: Verdicts
    fake: Verdicts
    right: Float[Tensor, "rows"]
    """what the verifier says"""
    rewards: Rewards


class AdversarialReward:
    """A discriminator, the demonstrations that it knows and, perhaps, a verifier.

    `discriminator(tokens, mask)` gives logits: see `seqgan.judges`; `tokenizer` is the policy's. `demonstrations` names
    the column with the demonstration of each prompt, or is a pool of mappings with `prompt` and `completion`. With
    "gate" a reward is the verifier's verdict times what the discriminator's objective pays (VARL, 2607.01181), and only
    completions that pass teach; with "add" it is the verdict plus `weight` times that. GAD (2511.10643) is
    `objective=Relativistic()` with a column and no verifier. On several processes all must call in step; gradients are
    averaged by hand, and the discriminator needs no wrapper.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        tokenizer: Tokenizer,
        *,
        demonstrations: str | Iterable[Mapping[str, Any]],
        objective: Objective = SeqGAN(),  # noqa: B008  # a value without a state
        penalty: Penalty = NoPenalty(),  # noqa: B008
        verifier: Verifier = everything,
        compose: Composed = "gate",
        weight: float = 1.0,
        learning: Learning = Learning(),
    ) -> None:
        """Raise ValueError for a gate before rewards that may be negative, InputError for unfit demonstrations."""
        require_composable(objective, verifier, compose)
        reader = Reader(tokenizer)
        self.discriminator, self.objective, self.penalty = discriminator, objective, penalty
        self.verifier, self.compose, self.weight, self.learning = verifier, compose, weight, learning
        self._reader, self._memory, self._calls, self._placed = reader, Memory(learning.memory), 0, False
        self._demonstrations: Demonstrations = (
            Column(demonstrations, reader) if isinstance(demonstrations, str) else Pool.of(demonstrations, reader)
        )
        weights = [weight for weight in discriminator.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, learning.rate)

    @property
    def device(self) -> torch.device:
        """Where the discriminator is."""
        return next(self.discriminator.parameters()).device

    @property
    def generations(self) -> int:
        """How often it was asked to learn."""
        return self._calls

    @property
    def warming_up(self) -> bool:
        """Whether what is learned from next earns nothing."""
        return self._calls < self.learning.warm_up

    def place(self, device: torch.device) -> None:
        """Move the discriminator, and give all processes the first one's. Every process must call it."""
        self.discriminator.to(device)
        ranks.give_mains((*self.discriminator.parameters(), *self.discriminator.buffers()))
        self._placed = True

    def score(self, columns: Columns) -> Rewards:
        """Say what completions earn; nothing changes. Raises InputError for columns that are missing or unfit."""
        with drawing_from(self._seed()):
            return self._judge(columns).rewards

    def score_and_update(self, columns: Columns) -> tuple[Rewards, dict[str, float]]:
        """Say what completions earn, then learn from them; the rewards, and numbers of the game.

        Raises InputError for columns that are missing or unfit, Diverged before a step that is not finite.
        """
        if not self._placed:
            self.place(self.device)
        with drawing_from(self._seed()):
            judged = self._judge(columns)
            metrics = _seen(judged, self.learning.held_out) | self._learn(judged)
        waiting = self.warming_up
        self._calls += 1
        return torch.zeros_like(judged.rewards) if waiting else judged.rewards, metrics

    def state_dict(self) -> dict[str, Any]:
        """Return all that going on needs. Every process must call it."""
        parts = {"objective": self.objective, "penalty": self.penalty}
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "memory": self._memory.state_dict(),
            "calls": self._calls,
            **{name: part.state_dict() for name, part in parts.items() if isinstance(part, nn.Module)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        for name in ("objective", "penalty"):
            part = getattr(self, name)
            if isinstance(part, nn.Module):
                part.load_state_dict(state[name])
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._memory.load_state_dict(state["memory"])
        self._calls = int(state["calls"])

    def _seed(self) -> int:
        """Every generation's choices depend on its number alone, so that a resume needs no generator's state."""
        return ((self.learning.seed * 1_000_003 + self._calls) * 4096 + ranks.rank()) % 2**63

    @torch.no_grad()
    def _judge(self, columns: Columns) -> Judged:
        fakes, reals = self._reader.completions(columns), self._demonstrations(columns)
        pairs = [Pair(*both) for both in zip(fakes, reals, strict=True)]
        with evaluating(self.discriminator):
            real, fake = judge_pairs(self.discriminator, pairs, self.device, chunk=self.learning.batch, shuffled=False)
        right = verdicts(self.verifier(**columns), len(fakes), self.compose).to(self.device)
        paid = earned(self.objective, real, fake)
        rewards = composed(right, paid, self.compose, self.weight)
        if not rewards.isfinite().all():
            raise Diverged(f"discriminator: pays {int((~rewards.isfinite()).sum())} of {len(rewards)} no finite number")
        return Judged(pairs, real, fake, right, rewards)

    @torch.enable_grad()
    def _learn(self, judged: Judged) -> dict[str, float]:
        """Learn from the completions that count, and from old ones; in equally many steps on all processes."""
        n = self.learning
        fresh = [
            pair
            for pair, counts in zip(judged.pairs, teaching(judged.right, self.compose), strict=True)
            if counts and not is_held_out(pair.real, n.held_out)
        ]
        lesson = [*fresh, *self._memory.draw(round(n.replay * len(fresh)))]
        self._memory.add(fresh)
        steps = ranks.largest(-(-len(lesson) // n.batch))
        told = []
        self.discriminator.train()
        for _ in range(n.passes):
            for part in torch.randperm(len(lesson)).tensor_split(max(steps, 1))[:steps]:
                pairs = [lesson[place] for place in part.tolist()]
                loss = lesson_loss(self.discriminator, self.objective, self.penalty, pairs, self.device)
                told.append(step(self.optimizer, loss, len(pairs), n.clip))
        self.discriminator.eval()
        if not told:
            return {}
        loss_mean, norm_mean = torch.tensor(told).mean(0).tolist()
        return {"d/loss": loss_mean, "d/grad_norm": norm_mean}


def _seen(judged: Judged, share: float) -> dict[str, float]:
    """Return how well the discriminator ranks this generation, before it learns from it."""
    held = torch.tensor([is_held_out(pair.real, share) for pair in judged.pairs], device=judged.rewards.device)
    real, fake = judged.real.of_rows(), judged.fake.of_rows()
    numbers = {"d/real": float(real.mean()), "d/fake": float(fake.mean()), "d/verified": float(judged.right.mean())}
    for name, rows in (("d/auc", ~held), ("d/auc_held_out", held)):
        if rows.any():
            numbers[name] = ranked_right(real[rows], fake[rows])
    return numbers
