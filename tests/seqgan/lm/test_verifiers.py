"""A verdict counts mentions among what was said."""

import pytest
import torch

from rl.rollout import Rollout
from rl.runtime import InputError
from seqgan.corpus import Corpus, Vocabulary
from seqgan.likelihood import counted
from seqgan.lm.verifiers import Passes, mentions

WORDS = Vocabulary(("</s>", "fox", "dog", "red", "blue"))
ROWS = torch.tensor([[1, 2, 1, 0, 0], [3, 4, 1, 1, 1], [2, 2, 0, 0, 0], [1, 1, 1, 1, 0]])


def corpus(prompt: int = 0) -> Corpus:
    return Corpus(ROWS, ROWS, ROWS, WORDS, 0, prompt=prompt)


def verdicts(listed: str, count: int, prompt: int = 0) -> list[float]:
    return mentions(listed, count, corpus(prompt))(Rollout.of(ROWS, counted(ROWS, 0, prompt))).tolist()


def test_mentions_count_up_to_one() -> None:
    assert verdicts("fox", 3) == pytest.approx([2 / 3, 1, 0, 1])
    assert verdicts("fox", 1) == [1, 1, 0, 1]
    assert verdicts("red,blue", 2) == [0, 1, 0, 0]


def test_a_prompt_is_not_said() -> None:
    assert verdicts("fox", 3, prompt=2) == pytest.approx([1 / 3, 1, 0, 2 / 3])
    assert verdicts("red,blue", 1, prompt=2) == [0, 0, 0, 0]


def test_what_follows_the_end_does_not_count() -> None:
    rows = torch.tensor([[2, 0, 1, 1, 1]])
    assert mentions("fox", 1, corpus())(Rollout.of(rows, counted(rows, 0))).tolist() == [0]


def test_no_words_no_verifier() -> None:
    assert mentions("", 3, corpus()) == Passes()
    assert verdicts("", 1) == [1, 1, 1, 1]


def test_a_verifier_is_told_alike_in_every_process() -> None:
    assert repr(mentions("red,blue,red", 2, corpus())) == "Mentions(words=('blue', 'red'), count=2)"
    assert repr(mentions("", 2, corpus())) == "Passes()"


def test_a_strange_word_is_named() -> None:
    with pytest.raises(InputError, match=r"^--verifier fox,foxx: 'foxx' is no word of the text; did you mean 'fox'\?$"):
        mentions("fox,foxx", 1, corpus())
