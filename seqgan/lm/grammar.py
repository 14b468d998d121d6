"""A grammar of 24 tokens whose sentences can be checked exactly: [det adj? noun verb det adj? noun adv?]."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from torch import Tensor

from seqgan.corpus import Vocabulary

DETERMINERS = ("the", "a")
ADJECTIVES = ("old", "small", "red", "quick", "lazy")
NOUNS = ("fox", "dog", "cat", "bird", "horse", "child", "farmer", "king")
VERBS = ("sees", "likes", "chases", "follows", "finds")
ADVERBS = ("today", "often", "here")
LENGTH = 12  # columns of a row: three more than the longest sentence with its end, room for what is not grammatical
VOCABULARY = Vocabulary(("</s>", *DETERMINERS, *ADJECTIVES, *NOUNS, *VERBS, *ADVERBS))
OPTIONAL = 0.5  # probability of each adjective and of the adverb


def draw(rows: int, *, seed: int) -> Int[Tensor, "rows time"]:
    """Return sentences of the grammar, each word uniform in its class, filled up with the boundary."""
    random = np.random.default_rng(seed)

    def some(words: Sequence[str]) -> str:
        return words[random.integers(len(words))]

    def phrase() -> list[str]:
        return [some(DETERMINERS), *([some(ADJECTIVES)] if random.random() < OPTIONAL else []), some(NOUNS)]

    def sentence() -> list[str]:
        last = [some(ADVERBS)] if random.random() < OPTIONAL else []
        return [*phrase(), some(VERBS), *phrase(), *last]

    return VOCABULARY.encode([("grammar", sentence()) for _ in range(rows)], LENGTH)


def grammatical(sentence: Sequence[str]) -> bool:
    """Return whether the grammar can say these words."""
    rest = _phrase(sentence)
    if rest and rest[0] in VERBS:
        rest = _phrase(rest[1:])
        return rest is not None and (not rest or (len(rest) == 1 and rest[0] in ADVERBS))
    return False


def _phrase(words: Sequence[str]) -> Sequence[str] | None:
    """Return what follows a noun phrase; None where none begins."""
    if not words or words[0] not in DETERMINERS:
        return None
    rest = words[1:]
    rest = rest[1:] if rest and rest[0] in ADJECTIVES else rest
    return rest[1:] if rest and rest[0] in NOUNS else None
