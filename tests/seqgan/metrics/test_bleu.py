import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu  # type: ignore[import-untyped]

from seqgan.metrics.bleu import BleuIndex, self_bleu

WEIGHTS = [tuple([1 / n] * n) for n in range(1, 6)]

words = st.sampled_from(["a", "b", "c", "d"])
sentences = st.lists(words, max_size=12)
hypotheses = st.lists(st.lists(st.one_of(words, st.just("unknown")), max_size=12), min_size=1, max_size=6)


def by_nltk(references: list[list[str]], hypothesis: list[str]) -> list[float]:
    method1 = SmoothingFunction().method1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores: list[float] = sentence_bleu(references, hypothesis, WEIGHTS, smoothing_function=method1)
    return scores


@settings(max_examples=300, deadline=None)
@given(st.lists(sentences, min_size=1, max_size=8), hypotheses)
def test_equals_nltk(references: list[list[str]], hypotheses: list[list[str]]) -> None:
    expected = [by_nltk(references, hypothesis) for hypothesis in hypotheses]
    np.testing.assert_allclose(BleuIndex(references).score(hypotheses), expected, rtol=0, atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(st.lists(sentences, min_size=2, max_size=8))
def test_self_bleu_equals_nltk(sentences: list[list[str]]) -> None:
    expected = [by_nltk(sentences[:i] + sentences[i + 1 :], sentence) for i, sentence in enumerate(sentences)]
    np.testing.assert_allclose(self_bleu(sentences), expected, rtol=0, atol=1e-12)


def test_by_hand() -> None:
    # "a b a" against "a b" and "a c a a": 3 of 3 words (a twice, by the second), 1 of 2 pairs, no triple;
    # lengths 2 and 4 are as close to 3, the shorter counts, so there is no penalty.
    score = BleuIndex([["a", "b"], ["a", "c", "a", "a"]], max_order=3).score([["a", "b", "a"]])
    assert score.shape == (1, 3)
    assert score[0] == pytest.approx([1, math.sqrt(1 / 2), (1 / 2 * 0.1) ** (1 / 3)], abs=1e-12)


def test_brevity_penalty_by_hand() -> None:
    assert BleuIndex([["a"] * 6]).score([["a"] * 4])[0, :4] == pytest.approx([math.exp(1 - 6 / 4)] * 4, abs=1e-12)


def test_an_unknown_word_matches_nothing() -> None:
    # Numbered one below the first word or one above the last, it would pass for a neighbour's n-gram.
    score = BleuIndex([["b", "a"]], max_order=2).score([["a", "x"], ["b", "x"], ["x", "a"]])
    assert score == pytest.approx(np.array([[1 / 2, math.sqrt(1 / 2 * 0.1)]] * 3), abs=1e-12)


def test_self_bleu_by_hand() -> None:
    # The second "a" of the first sentence is nowhere else: 1 of 2 words, and the pair is smoothed; "b" is alone.
    score = self_bleu([["a", "a"], ["a"], ["b"]], max_order=2)
    assert score[0] == pytest.approx([1 / 2 * 1, math.sqrt(1 / 2 * 0.1)], abs=1e-12)
    assert score[1] == pytest.approx([1, math.sqrt(1 * 0.1)], abs=1e-12)
    assert (score[2] == 0).all()


def test_length_of_self_bleu_is_another_sentences() -> None:
    # Of lengths 2, 5, 5 the first is judged by 5, though its own length is the closest.
    score = self_bleu([["a"] * 2, ["a"] * 5, ["a"] * 5], max_order=1)
    assert score[:, 0] == pytest.approx([math.exp(1 - 5 / 2), 1, 1], abs=1e-12)


def test_numbers_and_words_score_alike() -> None:
    generator = np.random.default_rng(0)
    references, hypotheses = generator.integers(0, 9, (30, 20)), generator.integers(0, 10, (20, 20))
    spelled = BleuIndex([[f"w{t}" for t in row] for row in references])
    as_words = spelled.score([[f"w{t}" for t in row] for row in hypotheses])
    np.testing.assert_array_equal(BleuIndex(references.tolist()).score(hypotheses.tolist()), as_words)


def test_large_vocabulary_does_not_overflow() -> None:
    sentence = list(range(3_000))
    copies = [sentence, sentence[::-1], [*sentence[1:], 2**62]]
    assert BleuIndex(copies, max_order=12).score([sentence])[0] == pytest.approx(np.ones(12), abs=1e-12)


def test_nothing_known() -> None:
    assert (BleuIndex([["a"]]).score([["x"], []]) == 0).all()
    assert (BleuIndex([[]]).score([["x"], []]) == 0).all()
    assert (self_bleu([[], []]) == 0).all()
    assert BleuIndex([["a"]]).score([]).shape == (0, 5)


def test_refuses_what_has_no_score() -> None:
    with pytest.raises(ValueError, match="at least one reference"):
        BleuIndex([])
    with pytest.raises(ValueError, match="max_order"):
        BleuIndex([["a"]], max_order=0)
    with pytest.raises(ValueError, match="at least two"):
        self_bleu([["a"]])
