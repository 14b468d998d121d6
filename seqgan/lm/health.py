"""Is the game healthy? What held-out demonstrations say of it, and what no player is paid for."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from rl.runtime import seeded
from seqgan.likelihood import nll, token_log_probs
from seqgan.lm.players import Learner
from seqgan.lm.task import Rows, Task
from seqgan.metrics.diversity import distinct_n, unique_share
from seqgan.metrics.grams import Sentences
from seqgan.metrics.instruments import Instruments
from seqgan.metrics.kneser_ney import KneserNey
from seqgan.metrics.lengths import lengths
from seqgan.metrics.text import evaluate_text
from seqgan.speakers import PolicySpeaker


@dataclass(frozen=True)
class Outside:
    """A measure that no player has a part in: both directions of likelihood under 5-grams, summed; lower is better.

    What was said under a model of the demonstrations (is this said?), and held-out demonstrations under a model of what
    was said (is all said?), nats per token each. A policy that hacks its reward pays in the first, one that collapses
    in the second.
    """

    kn: KneserNey
    """has read the demonstrations that the players learn from"""
    words: Sequence[Hashable]
    held: Sentences

    def __call__(self, said: Sentences) -> float:
        """Return the sum."""
        return self.kn.nll(said) + KneserNey(said, self.words).nll(self.held)


def instruments_of(task: Task, cache: Path) -> Instruments:
    """Return instruments whose nets have read the text, and whose 5-gram has read the demonstrations.

    The demonstrations are too few for a net, and what is common in the text need not be what they are like.
    """
    found = Instruments.of(task.text.learned, task.shown.tested, cache=cache)
    return replace(found, kn=KneserNey(task.shown.learned, found.words))


def health(learner: Learner, task: Task, outside: Outside, *, samples: int, seed: int) -> dict[str, float]:
    """Return what a log of the game holds, of fresh answers to the prompts of held-out demonstrations."""
    held, net = task.shown.valid, learner.generator
    device = net.head.weight.device
    speaker = PolicySpeaker(net, task.shown.length, held[:, : task.shown.prompt])
    with seeded(seed):
        rows = speaker.speak(samples)
    said, real = task.shown.sentences(rows), task.shown.sentences(held)
    return {
        "outside": outside(said),
        "nll_valid": nll(net, held.to(device)),
        "kl": divergence_of(rows, net, learner.start),
        "unique": unique_share(said),
        "distinct_2": distinct_n(said, 2),
        "self_bleu_3": evaluate_text(said, real, max_order=3)["self_bleu_3"],
        **task.scores(rows),
        **shortcuts(rows, held, task),
        **learner.tells(held.to(device), rows[: len(held)].to(device)),
    }


def divergence_of(rows: Rows, policy: torch.nn.Module, start: torch.nn.Module) -> float:
    """Return KL(policy || start), nats per row, estimated by rows that the policy said."""
    on = rows.to(policy.head.weight.device)
    apart: Tensor = token_log_probs(policy, on) - token_log_probs(start, on)
    return apart.sum(1).double().mean().item()


def shortcuts(fake: Rows, real: Rows, task: Task) -> dict[str, float]:
    """Return how well real and fake are told apart by the length alone, and by whether a row has an end at all.

    The accuracy of the best rule on these rows, 0.5 if it is of no use: 1/2 and half of the total variation. A
    discriminator that is no better has learned nothing else.
    """
    said, shown = task.shown.sentences(fake), task.shown.sentences(real)
    ended = [_ended(rows, task).mean().item() for rows in (fake, real)]
    return {
        "shortcut/length": 0.5 + lengths(said, shown)["length_tv"] / 2,
        "shortcut/end": 0.5 + abs(ended[0] - ended[1]) / 2,
    }


def _ended(rows: Rows, task: Task) -> Tensor:
    return ((rows == task.shown.end) & task.said(rows)).any(1).double()
