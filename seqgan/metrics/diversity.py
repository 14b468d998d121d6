"""How varied a set of sentences is: what BLEU alone does not see when a generator repeats itself."""

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

Tokens = Sequence[Sequence[Hashable]] | npt.NDArray[np.integer]  # sentences, or one row of numbers each


def distinct_n(sentences: Tokens, n: int) -> float:
    """Different n-grams over all n-grams (Li et al. 2016); 0 where no sentence is n tokens long."""
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    grams = [gram for row in _rows(sentences) for gram in zip(*(row[i:] for i in range(n)), strict=False)]
    return len(set(grams)) / max(len(grams), 1)


def unique_share(sentences: Tokens) -> float:
    """Different sentences over all sentences; 0 without sentences."""
    rows = _rows(sentences)
    return len(set(map(tuple, rows))) / max(len(rows), 1)


def unigram_entropy(sentences: Tokens) -> float:
    """Entropy, in nats, of the tokens' own frequencies; 0 without tokens."""
    counts = np.array(list(_frequencies(sentences).values()), dtype=np.float64)
    share = counts / counts.sum()
    return float(abs(-(share * np.log(share)).sum()))  # abs: no minus zero


def tokens_used(sentences: Tokens) -> int:
    """How many different tokens occur."""
    return len(_frequencies(sentences))


def _rows(sentences: Tokens) -> Sequence[Sequence[Hashable]]:
    return sentences.tolist() if isinstance(sentences, np.ndarray) else sentences


def _frequencies(sentences: Tokens) -> dict[Hashable, int]:
    return Counter(chain.from_iterable(_rows(sentences)))
