import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan.metrics.grams import number_words
from seqgan.metrics.kneser_ney import FALLBACK, KneserNey, discounts

THREE = [list("abab"), list("abc"), ["b"]]

words = st.sampled_from(["a", "b", "c"])
corpora = st.lists(st.lists(words, max_size=7), min_size=1, max_size=8)


def by_definition(sentences: list[list[str]], vocabulary: list[str], order: int) -> Callable[[list[str], str], float]:
    """p(token | history) by dictionaries and recursion: nothing of the module but the rule for discounts."""
    known = set(vocabulary)
    rows = [["<s>", *(word if word in known else "<unk>" for word in row), "</s>"] for row in sentences]
    seen = [Counter(tuple(row[i : i + n]) for row in rows for i in range(len(row) - n + 1)) for n in range(order + 2)]
    counts = []
    for n in range(order + 1):
        preceded = Counter(gram[1:] for gram in seen[n + 1])
        kept = (
            seen[n] if n == order else Counter({g: seen[n][g] if g[:1] == ("<s>",) else preceded[g] for g in seen[n]})
        )
        counts.append({gram: count for gram, count in kept.items() if gram != ("<s>",)})

    def discount(n: int, count: int) -> float:
        return (0.0, *discounts(np.array(list(counts[n].values()))))[min(count, 3)]

    def p(history: list[str], token: str) -> float:
        n = len(history) + 1
        below = p(history[1:], token) if history else 1 / (len(vocabulary) + 2)
        here = {gram: count for gram, count in counts[n].items() if gram[:-1] == tuple(history)}
        if not here:
            return below
        total, count = sum(here.values()), here.get((*history, token), 0)
        spare = sum(discount(n, c) for c in here.values()) / total
        return (count - discount(n, count)) / total + spare * below

    return lambda history, token: p((["<s>", *history])[-order + 1 :] if order > 1 else [], token)


@settings(max_examples=60, deadline=None)
@given(corpora, corpora, st.integers(1, 4))
def test_equals_the_definition(train: list[list[str]], test: list[list[str]], order: int) -> None:
    model, p = KneserNey(train, ["a", "b"], order), by_definition(train, ["a", "b"], order)
    expected = []
    for row in test:
        told = [word if word in "ab" else "<unk>" for word in row] + ["</s>"]
        expected += [math.log(p(told[:i], told[i])) for i in range(len(told))]
    np.testing.assert_allclose(model.log_probs(test), expected, rtol=0, atol=1e-9)


def test_two_words_by_hand() -> None:
    # <s> a b a b </s>, <s> a b c </s>, <s> b </s>, pairs, discounts .5, 1, 1.5 (nothing occurs four times).
    # Different tokens before a: <s> b; b: a <s>; c: b; </s>: b c; so a 2, b 2, c 1, </s> 2 of 7, and below is 1/5.
    # Spare of the single words: 1 + 1 + .5 + 1 of 7. After b: a, b a once, b c once, b </s> twice, of 4.
    model = KneserNey(THREE, ["a", "b", "c"], order=2)
    spare = 3.5 / 7
    single = {"a": 1 / 7 + spare / 5, "b": 1 / 7 + spare / 5, "c": 0.5 / 7 + spare / 5, "</s>": 1 / 7 + spare / 5}
    after_b = {"a": 0.5 / 4 + 2 / 4 * single["a"], "</s>": 1 / 4 + 2 / 4 * single["</s>"]}
    start_b = 0.5 / 3 + 1.5 / 3 * single["b"]  # <s> a twice, <s> b once: 1 + .5 of 3 are spared
    assert model.log_probs([["b"]]) == pytest.approx(np.log([start_b, after_b["</s>"]]), abs=1e-12)
    assert model.log_probs([["b", "a"]])[1] == pytest.approx(math.log(after_b["a"]), abs=1e-12)
    assert model.log_probs([["b", "b"]])[1] == pytest.approx(math.log(2 / 4 * single["b"]), abs=1e-12)
    assert model.nll([["b"]]) == pytest.approx(-math.log(start_b * after_b["</s>"]) / 2, abs=1e-12)


def test_discounts_by_hand() -> None:
    # four occur once, two twice, one three times, one four times, one five: y = 4 / 8.
    counts = np.array([1, 1, 1, 1, 2, 2, 3, 4, 9, 0])
    assert discounts(counts) == pytest.approx((1 - 2 * 0.5 * 2 / 4, 2 - 3 * 0.5 * 1 / 2, 3 - 4 * 0.5 * 1 / 1))
    assert discounts(np.array([1, 1, 2, 4])) == FALLBACK
    assert discounts(np.array([1, 2, 3, 4, 4, 4, 4])) == FALLBACK  # D3 would be below zero


@pytest.mark.parametrize("history", [[], ["a"], ["a", "b"], ["c", "b", "a"], ["never"], ["b", "never"], ["c", "c"]])
@pytest.mark.parametrize("order", [1, 2, 5])
def test_probabilities_sum_to_one(history: list[str], order: int) -> None:
    model = KneserNey(THREE, ["a", "b", "c", "d"], order)
    said = [model.log_probs([[*history, word]])[len(history)] for word in ("a", "b", "c", "d", "never")]
    assert sum(map(math.exp, [*said, model.log_probs([history])[-1]])) == pytest.approx(1, abs=1e-12)
    assert min(said) > -math.inf


def test_sentences_do_not_meet() -> None:
    model = KneserNey(THREE, ["a", "b", "c"])
    apart = [model.log_probs([row]) for row in (["a", "b"], [], ["c", "a"])]
    np.testing.assert_array_equal(model.log_probs([["a", "b"], [], ["c", "a"]]), np.concatenate(apart))


def test_numbers_and_words_alike() -> None:
    rows = np.random.default_rng(0).integers(0, 9, (60, 12)).tolist()
    spelled = [[f"w{t}" for t in row] for row in rows]
    ours, theirs = (KneserNey(r[:40], number_words(r)).log_probs(r[40:]) for r in (rows, spelled))
    np.testing.assert_array_equal(ours, theirs)


def test_samples_follow_the_model() -> None:
    """All 31 sentences of at most four tokens and the rest, 20,000 draws: chi-square, fails once in 10,000 seeds."""
    model = KneserNey([list("abab")] * 5 + [list("abb"), ["b"], []], ["a", "b"], order=3)  # spares little
    drawn = Counter(map(tuple, model.sample(20_000, 5, seed=1)))
    every = [
        tuple(f"{i:0{n}b}".replace("0", "a").replace("1", "b")) if n else () for n in range(5) for i in range(2**n)
    ]
    p = np.exp([model.log_probs([row]).sum() for row in every])
    # an unknown word is drawn again: each place is the model's distribution without it
    for k, row in enumerate(every):
        unknown = [math.exp(model.log_probs([[*row[:i], "?"]])[i]) for i in range(len(row) + 1)]
        p[k] /= math.prod(1 - u for u in unknown)
    found = np.array([drawn[row] for row in every])
    p, found = np.append(p, 1 - p.sum()), np.append(found, 20_000 - found.sum())
    assert ((found - 20_000 * p) ** 2 / (20_000 * p)).sum() < 69.1  # 31 degrees of freedom


def test_samples_repeat_and_are_cut() -> None:
    model = KneserNey([["a"] * 9, ["b", "c"]], ["a", "b", "c"])
    said = model.sample(50, 3, seed=0)
    assert said == model.sample(50, 3, seed=0) != model.sample(50, 3, seed=1)
    assert {len(row) for row in said} <= {0, 1, 2, 3}
    assert max(map(len, said)) == 3


def test_refuses_what_is_no_model() -> None:
    with pytest.raises(ValueError, match="0 sentences"):
        KneserNey([], ["a"])
    with pytest.raises(ValueError, match="order 0"):
        KneserNey([["a"]], ["a"], order=0)
    assert KneserNey([[]], [], order=5).nll([[]]) < math.log(2)  # of the end and the unknown word


def test_samples_without_ends_have_one_length_and_the_odds_of_the_rest() -> None:
    model = KneserNey([["a", "b"], ["a"], ["b"]], ["a", "b"], 2)
    said = model.sample(20_000, 2, seed=3, ends=False)
    assert {len(row) for row in said} == {2}
    shares = Counter(row[1] for row in said if row[0] == "a")
    after_a = np.exp(model.log_probs([["a", "a"], ["a", "b"]])[[1, 4]])  # p(a | a), p(b | a)
    assert shares["a"] / shares.total() == pytest.approx(after_a[0] / after_a.sum(), abs=0.02)  # five standard errors


def test_without_ends_every_token_is_one_of_all_but_the_end() -> None:
    model = KneserNey([["a", "b"], ["a"], ["b", "b", "a"]], ["a", "b"], 3)
    for history in ([], ["a"], ["b", "b"]):
        found = [model.nll([[*history, word]], ends=False) * (len(history) + 1) for word in ("a", "b", "unknown")]
        before = model.nll([history], ends=False) * len(history) if history else 0.0
        assert np.exp(before - np.array(found)).sum() == pytest.approx(1)
    both = [["a", "b"], ["b"]]
    assert model.nll(both, ends=False) * 3 == pytest.approx(
        model.nll(both[:1], ends=False) * 2 + model.nll(both[1:], ends=False)
    )
