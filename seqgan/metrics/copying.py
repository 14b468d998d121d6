"""How much of a text was copied: n-grams that stand in the training text, and the longest run of each sentence."""

import numpy as np

from seqgan.metrics.grams import Integers, Sentences, Text, find, key, lay_out, number_words

ORDERS = (2, 3, 4, 5)


def copying(samples: Sentences, train: Sentences) -> dict[str, float]:
    """Return `copied_2` to `copied_5`, and `copied_longest`.

    `copied_n`: the share of the samples' n-grams, every occurrence counted, that stand in a training sentence; 0 where
    no sample is so long. `copied_longest`: tokens of the longest run of a sample that stands in one training sentence,
    the mean over samples. Only runs found in both texts grow, so the cost is that of a few passes over them.
    """
    words = number_words(train)
    text, known = lay_out(samples, words), lay_out(train, words)
    place = np.flatnonzero(text.tokens < len(words))  # where a run begins that stands in train
    gram = text.tokens[place]
    their_place, their_gram = np.arange(len(known.tokens)), known.tokens
    longest = np.zeros(len(samples), np.int64)
    scores = dict.fromkeys([f"copied_{n}" for n in ORDERS], 0.0)
    n = 1
    while len(place):
        longest[text.sentence[place]] = n
        if n in ORDERS:
            scores[f"copied_{n}"] = len(place) / int(np.maximum(text.lengths - n + 1, 0).sum())
        place, wanted = grow(text, place, gram, n, len(words))
        their_place, held = grow(known, their_place, their_gram, n, len(words))
        keys, their_gram = np.unique(held, return_inverse=True)
        gram, found = find(keys, wanted)
        place, gram = place[found], gram[found]
        shared = np.isin(their_gram, gram)
        their_place, their_gram = their_place[shared], their_gram[shared]
        n += 1
    return scores | {"copied_longest": float(longest.mean())}


def grow(text: Text, place: Integers, gram: Integers, n: int, words: int) -> tuple[Integers, Integers]:
    """Return where n-grams that begin at `place` go on within their sentence, and the keys of what they become."""
    go_on = text.left[place] > n
    place = place[go_on]
    return place, key(gram[go_on], text.tokens[place + n], words)
