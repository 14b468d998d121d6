"""What says of a whole row whether it is right, from 0 to 1; a verifier that can be hacked is what a gate is for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.rollout import Rollout
from rl.runtime import InputError, closest

Verifier = Callable[[Rollout[Tensor]], Float[Tensor, "batch"]]


@dataclass(frozen=True)
class Mentions:
    """min(1, said tokens among `ids` / `count`): 1 / `count` for each mention, repeated ones too."""

    ids: Int[Tensor, "ids"]
    count: int = 1

    def __call__(self, rollout: Rollout[Tensor]) -> Float[Tensor, "batch"]:
        """Give one number a row."""
        named = torch.isin(rollout.steps, self.ids.to(rollout.steps.device)) & rollout.mask
        return (named.sum(1) / self.count).clamp(max=1)


def passes(rollout: Rollout[Tensor]) -> Float[Tensor, "batch"]:
    """Give 1 for every row: there is no verifier."""
    return torch.ones(len(rollout.mask), device=rollout.mask.device)


def mentions(listed: str, count: int, words: Sequence[str]) -> Verifier:
    """Return the verifier of words apart by commas, `passes` if there are none; InputError for an unknown word."""
    if not listed:
        return passes
    names, ids = listed.split(","), {word: number for number, word in enumerate(words)}
    for name in names:
        if name not in ids:
            raise InputError(f"--verifier {listed}: {name!r} is no word of the text{closest(name, ids)}")
    return Mentions(torch.tensor([ids[name] for name in names]), count)
