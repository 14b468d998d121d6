import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqgan.metrics.copying import copying

TRAIN = [list("abcd"), list("bcbc"), list("x")]

corpora = st.lists(st.text("abc", max_size=9).map(list), min_size=1, max_size=6)


def runs(sentence: list[str], n: int) -> list[str]:
    return ["".join(sentence[i : i + n]) for i in range(len(sentence) - n + 1)]


@settings(max_examples=200, deadline=None)
@given(corpora, corpora)
def test_equals_the_definition(samples: list[list[str]], train: list[list[str]]) -> None:
    scores = copying(samples, train)
    for n in range(2, 6):
        known = {run for row in train for run in runs(row, n)}
        said = [run for row in samples for run in runs(row, n)]
        assert scores[f"copied_{n}"] == pytest.approx(np.mean([run in known for run in said]) if said else 0)
    everything = {run for row in train for n in range(10) for run in runs(row, n)}
    longest = [max(n for n in range(10) for run in runs(row, n) if run in everything or not n) for row in samples]
    assert scores["copied_longest"] == pytest.approx(np.mean(longest))


def test_by_hand() -> None:
    # pairs ab bc cb | xa; of them ab, bc and cb stand in a training sentence. abc and bcb do, abcb and xa do not.
    scores = copying([list("abcb"), list("xa")], TRAIN)
    assert scores["copied_2"] == 3 / 4
    assert scores["copied_3"] == 2 / 2
    assert scores["copied_4"] == scores["copied_5"] == 0
    assert scores["copied_longest"] == (3 + 1) / 2


def test_copies_and_nothing_known() -> None:
    assert copying(TRAIN * 2, TRAIN) == {
        "copied_2": 1, "copied_3": 1, "copied_4": 1, "copied_5": 0, "copied_longest": 3
    }  # fmt: skip
    assert set(copying([["z", "z"], []], TRAIN).values()) == {0}
    assert set(copying(TRAIN, [[]]).values()) == {0}


def test_an_unknown_word_is_no_neighbour() -> None:
    # Numbered one below the first word or one above the last, it would pass for a neighbour's pair.
    assert copying([["b", "z"], ["z", "b"], ["a", "z"]], [["b", "a"], ["a", "b"], ["a", "a"]])["copied_2"] == 0


def test_numbers_and_words_alike() -> None:
    rows = np.random.default_rng(0).integers(0, 4, (40, 9)).tolist()
    spelled = [[f"w{t}" for t in row] for row in rows]
    assert copying(rows[:20], rows[20:]) == copying(spelled[:20], spelled[20:])
    assert 0.1 < copying(rows[:20], rows[20:])["copied_4"] < 0.9
