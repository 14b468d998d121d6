"""Has a generator collapsed? In plain words, from the samples alone and as much real text."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable
from itertools import chain

from seqgan.metrics.diversity import distinct_n, tokens_used, unigram_entropy, unique_share
from seqgan.metrics.grams import Sentences

FAR_BELOW = 0.5  # of what real text has
FAR_ABOVE = 10  # times the share in real text
SEEN = 0.01  # of all tokens or sentences: a smaller share is nobody's complaint, and a matter of topics
MANY = 20  # occurrences: fewer are chance
REPEATED = 0.1  # of all sentences
SHOWN = 3  # tokens, and sentences, that are named


def collapse_warnings(samples: Sentences, train: Sentences) -> list[str]:
    """Return one sentence for each sign of collapse; none for text as varied as the training text.

    Samples and training sentences are compared in equal numbers, the first of each, since every one of these counts
    depends on how much text there is. Signs: different tokens, different pairs of tokens, or the effective vocabulary
    (exp of the entropy of single tokens) below half of real text's; one token or one sentence that is a hundredth of
    the samples, and more than ten times its share in real text; a tenth more repeated sentences than real text has.
    """
    size = min(len(samples), len(train))
    said, real = samples[:size], train[:size]
    warnings = []
    for what, number in (
        ("different tokens", lambda rows: float(tokens_used(rows))),
        ("effective tokens (exp of their entropy)", lambda rows: math.exp(unigram_entropy(rows))),
        ("different pairs among 1,000 pairs of neighbours", lambda rows: 1000 * distinct_n(rows, 2)),
    ):
        if number(said) < FAR_BELOW * number(real):
            warnings.append(f"{number(said):,.0f} {what}, as much real text has {number(real):,.0f}")
    warnings += [
        f"token {token!r} is {share:.1%} of all tokens, of real text {real_share:.2%}"
        for token, share, real_share in overused(chain.from_iterable(said), chain.from_iterable(real))
    ]
    repeated, real_repeated = 1 - unique_share(said), 1 - unique_share(real)
    if repeated > real_repeated + REPEATED:
        warnings.append(f"{repeated:.1%} of the sentences were said before, of real text {real_repeated:.1%}")
    warnings += [
        f"sentence {' '.join(map(str, sentence))!r} is {share:.1%} of all sentences, of real text {real_share:.2%}"
        for sentence, share, real_share in overused(map(tuple, said), map(tuple, real))
    ]
    return warnings


def overused(said: Iterable[Hashable], real: Iterable[Hashable]) -> list[tuple[Hashable, float, float]]:
    """Return what is said far too often, with its share and that of real text: the three most frequent."""
    counts, real_counts = Counter(said), Counter(real)
    total, real_total = counts.total(), max(real_counts.total(), 1)
    shares = ((what, count, count / total, real_counts[what] / real_total) for what, count in counts.most_common())
    found = [
        (what, share, real_share)
        for what, count, share, real_share in shares
        if count >= MANY and share >= SEEN and share > FAR_ABOVE * real_share
    ]
    return found[:SHOWN]
