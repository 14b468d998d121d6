"""An n-gram language model with interpolated modified Kneser-Ney smoothing: no net, no seed, built in a second.

Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling" (TR-10-98), section 3.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from seqgan.metrics.grams import Integers, Sentences, find, key, lay_out

Floats = Float[np.ndarray, "numbers"]

FALLBACK = (0.5, 1.0, 1.5)  # discounts where n-grams that occur once to four times are too few to tell them


@dataclass(frozen=True)
class Order:
    """The n-grams of one order, sorted by key: those of one context stand side by side."""

    keys: Integers
    share: Floats  # the discounted count of each over all counts of its context
    spare: Floats  # context by context, the mass left for the order below
    begin: Integers  # context by context, the first of its n-grams, and where they end
    end: Integers
    below: Floats  # the shares of all n-grams before each, of any context

    @classmethod
    def of(cls, keys: Integers, counts: Integers, context: Integers, contexts: int) -> "Order":
        """Discount the counts of n-grams; `context` numbers the context of each, ascending."""
        discount = np.array([0.0, *discounts(counts)])[np.minimum(counts, 3)]
        total = np.maximum(np.bincount(context, counts, contexts), 1)  # the end of a sentence is followed by nothing
        share = (counts - discount) / total[context]
        begin, end = (np.searchsorted(context, np.arange(contexts), side) for side in ("left", "right"))
        below = np.concatenate([[0.0], np.cumsum(share)])
        return cls(keys, share, 1 - np.bincount(context, share, contexts), begin, end, below)

    def number(self, keys: Integers) -> Integers:
        """Return the number of each n-gram, -1 for one that never occurred."""
        at, known = find(self.keys, keys)
        return np.where(known, at, -1)

    def draw(self, context: Integers, uniform: Floats) -> Integers:
        """Return one n-gram of each context; `uniform` is drawn from 0 to the mass that the context does not spare."""
        place = np.searchsorted(self.below, self.below[self.begin[context]] + uniform, "right") - 1
        return np.clip(place, self.begin[context], self.end[context] - 1)


class KneserNey:
    """A model of sentences whose tokens are anything hashable; it predicts their ends too.

    The vocabulary is closed: `words`, the end, and ONE unknown word for all others. Below the single words stands the
    uniform distribution, so each of these has mass in every context. A sentence begins with one boundary; n-grams that
    begin with it keep their raw counts, as nothing can stand before it. Raises ValueError without a sentence, or for an
    order below 1.
    """

    def __init__(self, sentences: Sentences, words: Iterable[Hashable], order: int = 5) -> None:
        if not len(sentences) or order < 1:
            raise ValueError(f"{len(sentences)} sentences, order {order}: there must be at least one of each")
        self.words = list(dict.fromkeys(words))
        self.numbers = {word: number for number, word in enumerate(self.words)}
        self.unknown, self.end, self.start = (len(self.words) + i for i in range(3))
        tokens = self._lay_out(sentences)
        keys, grams = number_grams(tokens, self.start, order)
        counts = [adjusted_counts(grams[n : n + 2], len(found)) for n, found in enumerate(keys)]
        counts[0][self.start] = 0  # it is read, never said
        self.orders = [Order.of(keys[0], counts[0], np.zeros_like(keys[0]), 1)]
        for n in range(1, len(keys)):
            self.orders.append(Order.of(keys[n], counts[n], keys[n] // (self.start + 1), len(keys[n - 1])))

    def log_probs(self, sentences: Sentences) -> Floats:
        """Return the log-probability of each token, in nats: sentences end to end, each followed by its end."""
        tokens = self._lay_out(sentences)
        gram, lowest = tokens, self.orders[0]
        probability = lowest.share[gram] + lowest.spare[0] / self.start
        for order in self.orders[1:]:
            context = before(gram, tokens, self.start)
            gram = order.number(longer_keys(gram, tokens, self.start))
            longer = np.where(gram >= 0, order.share[gram], 0.0) + order.spare[context] * probability
            probability = np.where(context >= 0, longer, probability)
        return np.log(probability[tokens != self.start])

    def nll(self, sentences: Sentences, *, ends: bool = True) -> float:
        """Return the mean negative log-likelihood in nats per token, the ends of sentences among them.

        Without `ends`, as `sample`: no end is said or counted, and its mass is shared by all that may be said.
        """
        said = self.log_probs(sentences)
        if ends:
            return float(-said.mean())
        at = np.cumsum([len(sentence) + 1 for sentence in sentences]) - 1  # of the ends
        return float((np.log1p(-np.exp(self.end_log_probs(sentences))) - np.delete(said, at)).mean())

    def end_log_probs(self, sentences: Sentences) -> Floats:
        """Return for each token the log-probability that the sentence had ended before it."""
        found = []
        for sentence in sentences:
            beginnings = [sentence[:length] for length in range(len(sentence))]
            at = np.cumsum(np.arange(len(sentence)) + 1) - 1
            found.append(self.log_probs(beginnings)[at] if beginnings else np.zeros(0))
        return np.concatenate(found)

    def sample(self, rows: int, length: int, *, seed: int, ends: bool = True) -> list[list[Hashable]]:
        """Draw sentences, cut after `length` tokens; an unknown word is drawn again, without `ends` also an end."""
        random = np.random.default_rng(seed)
        barred = [self.unknown] if ends else [self.unknown, self.end]
        contexts = [np.zeros(rows, np.int64), np.full(rows, self.start)]  # numbers of the last 0, 1, ... tokens
        contexts = [*contexts, *(np.full(rows, -1) for _ in self.orders)][: len(self.orders)]
        said = np.full((rows, length), self.end)
        speaking = np.arange(rows)
        for time in range(length):
            drawn = self._draw(contexts, random, barred)
            said[speaking, time] = drawn
            going = drawn != self.end
            speaking, drawn = speaking[going], drawn[going]
            read = [context[going] for context in contexts]
            longer = [o.number(key(c, drawn, self.start)) for o, c in zip(self.orders, read, strict=True)]
            contexts = [read[0], *longer[:-1]]
        lengths = (np.cumsum(said == self.end, 1) == 0).sum(1)
        return [[self.words[token] for token in row[:n]] for row, n in zip(said.tolist(), lengths, strict=True)]

    def _draw(self, contexts: Sequence[Integers], random: np.random.Generator, barred: Sequence[int]) -> Integers:
        """Draw a token a row: from the highest order, with its spare mass from the one below, and so on."""
        drawn = np.full(len(contexts[0]), self.unknown)
        while (open_ := np.flatnonzero(np.isin(drawn, barred))).size:
            for order, context in zip(reversed(self.orders), reversed(contexts), strict=True):
                context = context[open_]
                uniform = random.random(len(open_))
                settled = (context >= 0) & (uniform < 1 - order.spare[context])
                places = order.draw(context[settled], uniform[settled])
                drawn[open_[settled]] = order.keys[places] % (self.start + 1)
                open_ = open_[~settled]
            drawn[open_] = random.integers(self.start, size=len(open_))
        return drawn

    def _lay_out(self, sentences: Sentences) -> Integers:
        """Lay sentences end to end: start, words, end, start, ..."""
        text = lay_out(sentences, self.numbers)
        tokens = np.full(len(text.tokens) + 2 * len(sentences), self.end)
        tokens[np.arange(len(text.tokens)) + 2 * text.sentence + 1] = text.tokens
        tokens[np.cumsum(text.lengths + 2) - text.lengths - 2] = self.start
        return tokens


def before(grams: Integers, tokens: Integers, start: int) -> Integers:
    """Return the number of the n-gram that ends before each place, -1 where its sentence has none."""
    shifted = np.concatenate([[-1], grams[:-1]])
    shifted[tokens == start] = -1
    return shifted


def longer_keys(grams: Integers, tokens: Integers, start: int) -> Integers:
    """Return the keys of the n-grams that end at each place, one token longer than `grams`; -1 where there is none."""
    context = before(grams, tokens, start)
    return np.where(context < 0, -1, key(context, tokens, start))


def number_grams(tokens: Integers, start: int, most: int) -> tuple[list[Integers], list[Integers]]:
    """Return, order by order, the sorted keys of all n-grams, and the number of the one that ends at each place or -1.

    There are `most` orders, fewer where no sentence is so long.
    """
    keys, grams = [np.arange(start + 1)], [tokens]
    while len(keys) < most and (inside := (wanted := longer_keys(grams[-1], tokens, start)) >= 0).any():
        found, numbers = np.unique(wanted[inside], return_inverse=True)
        keys.append(found)
        grams.append(np.full(len(tokens), -1))
        grams[-1][inside] = numbers
    return keys, grams


def adjusted_counts(grams: Sequence[Integers], distinct: int) -> Integers:
    """Count n-grams, numbered at the places where they end, by the different tokens that stand before them.

    `grams` are those of one order and of the next. In the highest order, which has no next, and after the start, where
    nothing stands before, occurrences count.
    """
    occurrences = np.bincount(grams[0][grams[0] >= 0], minlength=distinct)
    if len(grams) == 1:
        return occurrences
    longer, first = np.unique(grams[1], return_index=True)
    preceded = np.bincount(grams[0][first[longer >= 0]], minlength=distinct)
    return np.where(preceded > 0, preceded, occurrences)


def discounts(counts: Integers) -> tuple[float, ...]:
    """Return what is taken from counts of 1, 2, and 3 or more (Chen and Goodman 1998, section 3)."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(float)  # how many n-grams occur 1, 2, 3, 4 times
    if (n == 0).any():
        return FALLBACK
    y = n[0] / (n[0] + 2 * n[1])
    found = tuple(float(k - (k + 1) * y * n[k] / n[k - 1]) for k in (1, 2, 3))
    return found if all(0 < d <= k for k, d in enumerate(found, 1)) else FALLBACK
