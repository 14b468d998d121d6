"""Sentence BLEU and Self-BLEU of many sentences against many references, exactly as NLTK defines them.

Every hypothesis meets every reference, so a reference set is reduced once to one number per n-gram: the most often that
any single reference holds it. Scoring is then a look-up, whatever the number of references.
BLEU: Papineni et al. 2002; Self-BLEU: Texygen (Zhu et al. 2018); smoothing: method 1 of Chen and Cherry 2014.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from seqgan.metrics.grams import Integers, Sentences, Text, find, key, lay_out, number_words

SMOOTHED_HITS = 0.1  # method 1: what counts instead of no hit at all


@dataclass(frozen=True)
class _Counts:
    """How often each sentence holds each n-gram, sorted by n-gram, then by sentence."""

    gram: Integers
    sentence: Integers
    count: Integers

    def first(self) -> Integers:
        """Where each n-gram's run of sentences begins; every n-gram has one."""
        return np.flatnonzero(np.diff(self.gram, prepend=-1))


@dataclass(frozen=True)
class Hits:
    """What BLEU counts: n-grams found (clipped) in column n - 1, and both lengths; one row per hypothesis."""

    found: Float[np.ndarray, "hypotheses orders"]
    lengths: Integers
    reference_lengths: Integers  # of the closest reference

    def tries(self) -> Integers:
        """Count the n-grams of each hypothesis, [hypotheses, orders]."""
        tries: Integers = np.maximum(self.lengths[:, None] - np.arange(self.found.shape[1]), 0)
        return tries

    def sentence_bleu(self) -> Float[np.ndarray, "hypotheses orders"]:
        """BLEU-1 to BLEU-`orders`, each with uniform weights and smoothing method 1."""
        orders = np.arange(1, self.found.shape[1] + 1)
        smoothed = np.where(self.found == 0, SMOOTHED_HITS, self.found)
        log_precision = np.log(smoothed / np.maximum(self.tries(), 1))
        shortfall = 1 - self.reference_lengths / np.maximum(self.lengths, 1)
        log_score = np.minimum(shortfall, 0)[:, None] + np.cumsum(log_precision, axis=1) / orders
        return np.where(self.found[:, :1] > 0, np.exp(log_score), 0.0)


class BleuIndex:
    """A set of references, ready to score any number of hypotheses; tokens are strings, ints or anything hashable.

    Raises ValueError without a reference or with `max_order` below 1.
    """

    def __init__(self, references: Sentences, max_order: int = 5) -> None:
        if not len(references):
            raise ValueError("BLEU needs at least one reference")
        self.max_order = _checked(max_order)
        self._vocabulary = number_words(references)
        text = lay_out(references, self._vocabulary)
        self._lengths = np.unique(text.lengths)
        self._keys: list[Integers] = []  # order by order: the sorted keys of the n-grams that occur
        self._most: list[Integers] = []  # and the most often that one reference holds each
        for keys, counts in _count_grams(text, self._vocabulary, max_order):
            self._keys.append(keys)
            self._most.append(np.maximum.reduceat(counts.count, counts.first()) if len(keys) else counts.count)

    def score(self, hypotheses: Sentences) -> Float[np.ndarray, "hypotheses orders"]:
        """Sentence BLEU of each hypothesis against all references; column n - 1 is BLEU-n with uniform weights.

        As `nltk.translate.bleu_score.sentence_bleu` with smoothing method 1: the closest reference length counts (the
        shorter of two as close), an order longer than the hypothesis counts as one miss, no known word gives 0.
        """
        return self.hits(hypotheses).sentence_bleu()

    def hits(self, hypotheses: Sentences) -> Hits:
        """Look up the n-grams of each hypothesis; all that sentence and corpus BLEU are made of."""
        text = lay_out(hypotheses, self._vocabulary)
        found = np.zeros((len(hypotheses), self.max_order))
        place, gram = np.arange(len(text.tokens)), text.tokens
        for n, (keys, most) in enumerate(zip(self._keys, self._most, strict=True)):
            if n:  # an n-gram can only be known where the one shorter is
                go_on = text.left[place] > n
                place, gram = place[go_on], gram[go_on]
                gram = key(gram, text.tokens[place + n], len(self._vocabulary))
            gram, known = find(keys, gram)
            place, gram = place[known], gram[known]
            counts = _count_pairs(gram, text.sentence[place], len(hypotheses))
            found[:, n] = _clipped(counts, most[counts.gram], len(hypotheses))
        return Hits(found, text.lengths, _closest(self._lengths, text.lengths))


def self_bleu(sentences: Sentences, max_order: int = 5) -> Float[np.ndarray, "sentences orders"]:
    """Sentence BLEU of each sentence against all the others; column n - 1 is Self-BLEU-n.

    Raises ValueError for fewer than two sentences.
    """
    if len(sentences) < 2:
        raise ValueError("Self-BLEU needs at least two sentences")
    _checked(max_order)
    vocabulary = number_words(sentences)
    text = lay_out(sentences, vocabulary)
    found = np.zeros((len(sentences), max_order))
    for n, (_, counts) in enumerate(_count_grams(text, vocabulary, max_order)):
        found[:, n] = _clipped(counts, _most_elsewhere(counts), len(sentences))
    return Hits(found, text.lengths, _closest_elsewhere(text.lengths)).sentence_bleu()


def _checked(max_order: int) -> int:
    if max_order < 1:
        raise ValueError(f"max_order must be at least 1, not {max_order}")
    return max_order


def _count_grams(text: Text, vocabulary: dict[Hashable, int], max_order: int) -> Iterable[tuple[Integers, _Counts]]:
    """Order by order: the sorted distinct keys, and the count of each n-gram (its place in the keys) per sentence."""
    place = np.arange(len(text.tokens))
    gram = text.tokens
    for n in range(max_order):
        if n:
            go_on = text.left[place] > n
            place, gram = place[go_on], gram[go_on]
            gram = key(gram, text.tokens[place + n], len(vocabulary))
        keys, gram = np.unique(gram, return_inverse=True)
        yield keys, _count_pairs(gram, text.sentence[place], len(text.lengths))


def _count_pairs(gram: Integers, sentence: Integers, sentences: int) -> _Counts:
    pairs = np.sort(gram * sentences + sentence)
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    gram, sentence = np.divmod(pairs[starts], max(sentences, 1))
    return _Counts(gram, sentence, np.diff(starts, append=len(pairs)))


def _clipped(counts: _Counts, most: Integers, sentences: int) -> Float[np.ndarray, " sentences"]:
    return np.bincount(counts.sentence, weights=np.minimum(counts.count, most), minlength=sentences)


def _most_elsewhere(counts: _Counts) -> Integers:
    """For each (n-gram, sentence): the most often that one OTHER sentence holds the n-gram.

    It is the highest count, unless this sentence alone attains it; then it is the second highest (0: nobody else).
    """
    if not len(counts.gram):
        return counts.count
    first = counts.first()
    top = np.maximum.reduceat(counts.count, first)
    is_top = counts.count == top[counts.gram]
    alone = np.add.reduceat(is_top.astype(np.int64), first) == 1
    second = np.maximum.reduceat(np.where(is_top, 0, counts.count), first)
    return np.where(is_top & alone[counts.gram], second[counts.gram], top[counts.gram])


def _closest(known: Integers, wanted: Integers) -> Integers:
    """For each wanted length the closest of the sorted distinct `known` ones; of two as close, the shorter."""
    above = np.searchsorted(known, wanted)
    shorter, longer = known[np.maximum(above - 1, 0)], known[np.minimum(above, len(known) - 1)]
    return np.where(np.abs(shorter - wanted) <= np.abs(longer - wanted), shorter, longer)


def _closest_elsewhere(lengths: Integers) -> Integers:
    """For each sentence the closest length among the other sentences."""
    known, inverse, shared = np.unique(lengths, return_inverse=True, return_counts=True)
    far = known[-1] + known[-1] + 1  # farther from every length than any length is
    around = np.concatenate([[-far], known, [far]])
    shorter, longer = around[:-2], around[2:]
    others = np.where(known - shorter <= longer - known, shorter, longer)
    return np.where(shared > 1, known, others)[inverse]
