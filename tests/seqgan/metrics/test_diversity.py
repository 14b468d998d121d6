import math

import numpy as np
import pytest

from seqgan.metrics.diversity import distinct_n, tokens_used, unigram_entropy, unique_share

SENTENCES = [["a", "b", "a"], ["a", "b"], ["a", "b"], []]


def test_distinct_by_hand() -> None:
    assert distinct_n(SENTENCES, 1) == 2 / 7
    assert distinct_n(SENTENCES, 2) == 2 / 4  # ab, ba of ab, ba, ab, ab: no pair crosses two sentences
    assert distinct_n(SENTENCES, 3) == 1
    assert distinct_n(SENTENCES, 4) == 0
    with pytest.raises(ValueError, match="at least 1"):
        distinct_n(SENTENCES, 0)


def test_unique_and_used_by_hand() -> None:
    assert unique_share(SENTENCES) == 3 / 4
    assert unique_share([]) == 0
    assert tokens_used(SENTENCES) == 2


def test_entropy_by_hand() -> None:
    assert unigram_entropy(SENTENCES) == pytest.approx(-(4 / 7 * math.log(4 / 7) + 3 / 7 * math.log(3 / 7)))
    assert unigram_entropy([["a", "a"]]) == 0
    assert math.copysign(1, unigram_entropy([["a"]])) == 1
    assert unigram_entropy([]) == 0


def test_arrays_and_lists_agree() -> None:
    rows = np.random.default_rng(0).integers(0, 5, (40, 3))
    for measure in (unique_share, unigram_entropy, tokens_used, lambda sentences: distinct_n(sentences, 2)):
        assert measure(rows) == measure(rows.tolist()) == measure([[f"w{t}" for t in row] for row in rows])
