"""What a run is about: text to begin with, demonstrations to become like, and a verifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from rl.rollout import Rollout
from seqgan.corpus import Corpus
from seqgan.likelihood import counted
from seqgan.lm.nets import Nets
from seqgan.lm.verifiers import Verifier

Rows = Int[Tensor, "rows time"]
Truth = Callable[[Sequence[str]], bool]


@dataclass(frozen=True)
class Task:
    """Rows of one shape and one vocabulary.

    `text` is what maximum likelihood reads, its `valid` chooses the epoch. `shown` are demonstrations: `train` to learn
    from, `valid` that no player sees, `test` to be measured against. `truths` say of a sentence whether it is right in
    ways that nobody is paid for, `nets` make who speaks and who judges.
    """

    text: Corpus
    shown: Corpus
    verifier: Verifier
    truths: dict[str, Truth] = field(default_factory=dict)
    nets: Nets = field(default_factory=Nets)

    def said(self, rows: Rows) -> Bool[Tensor, "rows time"]:
        """Return which tokens were said."""
        return counted(rows, self.shown.end, self.shown.prompt)

    def verdicts(self, rows: Rows) -> Tensor:
        """Return the verifier's number for each row."""
        return self.verifier(Rollout.of(rows, self.said(rows)))

    def scores(self, rows: Rows) -> dict[str, float]:
        """Return `verified`, the mean verdict, and the share of rows that each truth holds of.

        `verified_right` counts different sentences that pass the verifier and all truths, as a share of the rows.
        """
        verdicts, said = self.verdicts(rows), self.shown.sentences(rows)
        right = {name: [truth(sentence) for sentence in said] for name, truth in self.truths.items()}
        all_right = [all(each) for each in zip(*right.values(), strict=True)] if right else [True] * len(said)
        passed = {tuple(s) for s, ok, v in zip(said, all_right, verdicts.tolist(), strict=True) if ok and v > 0}
        shares = {name: sum(held) / len(held) for name, held in right.items()}
        return {"verified": verdicts.mean().item(), **shares, "verified_right": len(passed) / len(said)}


def there(tokens: Rows, end: int, prompt: int) -> Bool[Tensor, "rows time"]:
    """Return which tokens a judge reads: the prompt without what fills it up on the left, and what was said."""
    given = torch.zeros_like(tokens, dtype=torch.bool)
    given[:, :prompt] = (tokens[:, :prompt] != end).cumsum(1) > 0
    return given | counted(tokens, end, prompt)
