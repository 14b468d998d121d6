"""The toy grammar: what it says it accepts, and what it accepts it can say."""

import pytest

from seqgan.lm import grammar


def test_everything_it_says_is_grammatical_and_ends() -> None:
    rows = grammar.draw(2_000, seed=0)
    assert rows.shape == (2_000, grammar.LENGTH)
    assert (rows[:, -1] == 0).all()
    sentences = grammar.VOCABULARY.decode(rows, 0)
    assert all(grammar.grammatical(sentence) for sentence in sentences)
    assert {len(sentence) for sentence in sentences} == {5, 6, 7, 8}
    assert {word for sentence in sentences for word in sentence} == set(grammar.VOCABULARY.words[1:])
    assert max(sentence.count("fox") for sentence in sentences) == 2


def test_it_has_24_tokens() -> None:
    assert len(grammar.VOCABULARY.words) == len(set(grammar.VOCABULARY.words)) == 24


def test_a_seed_is_a_text() -> None:
    assert grammar.draw(50, seed=3).equal(grammar.draw(50, seed=3))
    assert not grammar.draw(50, seed=3).equal(grammar.draw(50, seed=4))


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ("the fox sees a dog", True),
        ("a old fox sees the lazy king today", True),
        ("the fox sees a dog often", True),
        ("", False),
        ("the", False),
        ("fox sees a dog", False),
        ("the fox fox sees a dog", False),
        ("the old lazy fox sees a dog", False),
        ("the fox sees", False),
        ("the fox sees a", False),
        ("the fox sees a dog today often", False),
        ("the fox sees a dog sees", False),
        ("the fox a dog", False),
    ],
)
def test_what_is_grammatical(words: str, right: bool) -> None:
    assert grammar.grammatical(words.split()) is right
