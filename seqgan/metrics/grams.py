"""n-grams as numbers: sentences laid end to end, and each n-gram numbered by its prefix and its last token."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Sentences = Sequence[Sequence[Hashable]]


@dataclass(frozen=True)
class Text:
    """Sentences laid end to end: per place the token's id, its sentence and the tokens left from there on."""

    tokens: Integers  # an unknown word has the id after the last
    sentence: Integers
    left: Integers
    lengths: Integers


def number_words(*parts: Sentences) -> dict[Hashable, int]:
    """Give each different token a number, in the order of first occurrence."""
    words = dict.fromkeys(chain.from_iterable(chain.from_iterable(parts)))
    return {word: number for number, word in enumerate(words)}


def lay_out(sentences: Sentences, vocabulary: Mapping[Hashable, int]) -> Text:
    """Lay sentences end to end."""
    lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
    words: Iterable[Hashable] = chain.from_iterable(sentences)
    tokens = np.fromiter((vocabulary.get(word, len(vocabulary)) for word in words), np.int64, int(lengths.sum()))
    ends = np.repeat(np.cumsum(lengths), lengths)
    sentence = np.repeat(np.arange(len(sentences)), lengths)
    return Text(tokens, sentence, ends - np.arange(len(tokens)), lengths)


def key(prefix: Integers, token: Integers, words: int) -> Integers:
    """One number for an n-gram: number of its first n - 1 tokens times token ids (words and unknown) plus its last.

    The prefixes are numbered by occurrence, so a key stays below (tokens in the text) x (vocabulary) at any order.
    """
    return prefix * (words + 1) + token


def find(keys: Integers, wanted: Integers) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """Look up each wanted number in sorted `keys`: its place, and whether it is there."""
    if not len(keys):
        return wanted, np.zeros(len(wanted), dtype=bool)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return at, keys[at] == wanted
