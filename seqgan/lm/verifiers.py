"""What says of a whole row whether it is right, from 0 to 1; a verifier that can be hacked is what a gate is for."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from rl.rollout import Rollout
from rl.runtime import InputError, closest
from seqgan.corpus import Corpus
from seqgan.prompts import PromptCorpus

Verifier = Callable[[Rollout[Tensor]], Float[Tensor, "batch"]]


@dataclass(frozen=True)
class Mentions:
    """min(1, said words among `words` / `count`): 1 / `count` for each mention, repeated ones too."""

    words: tuple[str, ...]
    count: int
    corpus: Corpus = field(repr=False)

    def __call__(self, rollout: Rollout[Tensor]) -> Float[Tensor, "batch"]:
        """Give one number a row."""
        said = self.corpus.sentences(rollout.steps)
        named = [sum(word in self.words for word in sentence) for sentence in said]
        return (torch.tensor(named, device=rollout.mask.device) / self.count).clamp(max=1)


@dataclass(frozen=True)
class Passes:
    """1 for every row: there is no verifier."""

    def __call__(self, rollout: Rollout[Tensor]) -> Float[Tensor, "batch"]:
        """Give one number a row."""
        return torch.ones(len(rollout.mask), device=rollout.mask.device)


def mentions(listed: str, count: int, corpus: Corpus) -> Verifier:
    """Return the verifier of words apart by commas, `Passes` if there are none; InputError for an unknown word.

    Of a corpus with a tokenizer, whose tokens need not be words, every word is taken.
    """
    if not listed:
        return Passes()
    names = listed.split(",")
    for name in names:
        if not isinstance(corpus, PromptCorpus) and name not in corpus.vocabulary.words:
            close = closest(name, corpus.vocabulary.words)
            raise InputError(f"--verifier {listed}: {name!r} is no word of the text{close}")
    return Mentions(tuple(sorted({*names})), count, corpus)
