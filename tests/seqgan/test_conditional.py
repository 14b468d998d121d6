from pathlib import Path

import pytest
import torch

from rl.runtime import InputError
from seqgan.conditional import (
    Pair,
    labelled_corpus,
    labelled_oracle,
    labelled_oracle_corpus,
    left_filled,
    paired_corpus,
    prompted,
    read_pairs,
)
from seqgan.corpus import BOUNDARY, UNKNOWN, Corpus, oracle_corpus, text_corpus
from seqgan.likelihood import nll, token_log_probs
from seqgan.oracle import draw_oracle


def pairs(*lines: str, file: str = "file") -> list[Pair]:
    return [(f"{file}:{number}", *line.split("|")) for number, line in enumerate(lines, 1)]


# ---------------------------------------------------------------------------------------------- files


def test_pairs_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("good\tit was é\r\nbad one\tno\n".encode())
    assert read_pairs(path) == [(f"{path}:1", "good", "it was é"), (f"{path}:2", "bad one", "no")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no tab", "2: 0 tabs, expected one"),
        ("a\tb\tc", "2: 2 tabs, expected one"),
        (" \tb", "2: nothing before the tab"),
        ("a\t ", "2: nothing after the tab"),
    ],
)
def test_a_line_that_is_no_pair_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"x\ty\n{line}\n")
    with pytest.raises(InputError, match=f"{path}:{message}"):
        read_pairs(path)


# ---------------------------------------------------------------------------------------------- labels


def labelled(train: list[Pair], test: list[Pair], length: int = 0) -> Corpus:
    return labelled_corpus(train, test, units="word", at_least=1, length=length, valid=0, seed=0)


def test_labels_are_the_last_words_and_the_first_column() -> None:
    corpus = labelled(pairs("up|a b a", "down|b", "up|a"), pairs("down|a z"))
    assert corpus.vocabulary.words == ("</s>", "<unk>", "a", "b", "<down>", "<up>")
    assert (corpus.labels, corpus.prompt, corpus.end, corpus.length) == ((4, 5), 1, BOUNDARY, 4)
    assert corpus.test.tolist() == [[4, 2, UNKNOWN, 0]]
    assert sorted(corpus.train.tolist()) == [[4, 3, 0, 0], [5, 2, 0, 0], [5, 2, 3, 2]]
    assert corpus.sentences(corpus.test) == [["a", "<unk>"]]


def test_a_word_of_the_text_is_no_label() -> None:
    corpus = labelled(pairs("a|<b> a", "b|a"), pairs("a|<b>"))
    assert corpus.vocabulary.words[2:] == ("a", "<b>", "<a>", "<b>")
    assert corpus.test.tolist() == [[4, 3, 0]]


def test_pairs_of_test_are_not_learned_from() -> None:
    """The same sentence with another label is another pair."""
    corpus = labelled(pairs("up|a b", "down|a b", "up|c", "down|c"), pairs("up |a b"))
    assert sorted(corpus.train[:, 0].tolist()) == [corpus.labels[0]] * 2 + [corpus.labels[1]]
    with pytest.raises(InputError, match="every line of it stands in --test"):
        labelled(pairs("up|a"), pairs("up|a"))


def test_bad_labels_are_named() -> None:
    with pytest.raises(InputError, match="file:1: the only label is 'up'"):
        labelled(pairs("up|a", "up|b"), [])
    with pytest.raises(InputError, match="test:2: label 'sideways' does not stand in --corpus"):
        labelled(pairs("up|a", "down|b"), pairs("up|b", "sideways|b", file="test"))
    with pytest.raises(InputError, match="file:2: 2 tokens, the length is 1"):
        labelled(pairs("up|a", "down|b b"), pairs("up|b"), length=1)


def test_without_test_a_tenth_is_held_out() -> None:
    train = pairs(*(f"{'up' if number % 2 else 'down'}|w{number}" for number in range(40)))
    corpus = labelled_corpus(train, [], units="word", at_least=1, length=3, valid=4, seed=0)
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [32, 4, 4]
    assert corpus.length == 4  # the label is one column more
    together = torch.cat([corpus.train, corpus.valid, corpus.test])
    assert len(together.unique(dim=0)) == 40


# ---------------------------------------------------------------------------------------------- prompts of words


def test_boundaries_move_to_the_front() -> None:
    rows = torch.tensor([[3, 0, 0], [3, 4, 0], [3, 0, 5], [0, 0, 0]])
    assert left_filled(rows).tolist() == [[0, 0, 3], [0, 3, 4], [3, 0, 5], [0, 0, 0]]


def test_prompts_end_where_endings_begin() -> None:
    corpus = paired_corpus(
        pairs("a b c|d", "c|d a"), pairs("a z|c"), units="word", at_least=1, length=0, valid=0, seed=0
    )
    words = dict(zip(corpus.vocabulary.words, range(9), strict=False))
    a, b, c, d = (words[word] for word in "abcd")
    assert (corpus.prompt, corpus.labels, corpus.length) == (3, (), 5)
    assert sorted(corpus.train.tolist()) == sorted([[a, b, c, d, 0], [0, 0, c, d, a]])
    assert corpus.test.tolist() == [[0, a, UNKNOWN, c, 0]]
    assert corpus.sentences(corpus.test) == [["c"]]


def test_the_longest_prompt_may_stand_in_test() -> None:
    corpus = paired_corpus(pairs("ab|c", "b|a"), pairs("abb|cc"), units="char", at_least=1, length=4, valid=0, seed=0)
    assert (corpus.prompt, corpus.length, corpus.vocabulary.joiner) == (3, 7, "")


def test_leading_words_as_a_prompt() -> None:
    """Sentences that end inside it are left out; one that ends right after it is not."""
    lines = [(f"f:{n}", text.split()) for n, text in enumerate(["a", "a b", "a b c", "b a c", "c"])]
    plain = text_corpus(lines, [("t:1", ["c", "c"])], units="word", at_least=1, length=0, valid=0, seed=0)
    corpus = prompted(plain, 2)
    assert (corpus.prompt, plain.prompt) == (2, 0)
    assert sorted(corpus.vocabulary.decode(corpus.train, 0)) == [["a", "b"], ["a", "b", "c"], ["b", "a", "c"]]
    with pytest.raises(InputError, match="--prompt 3: nothing left to say, the sentences have 3"):
        prompted(plain, 3)
    short = text_corpus([lines[4], lines[1]], lines[:1], units="word", at_least=1, length=4, valid=0, seed=0)
    with pytest.raises(InputError, match="--prompt 2: every sentence is shorter"):
        prompted(short, 2)


def test_what_an_oracle_is_given_is_not_measured() -> None:
    oracle = draw_oracle(9, seed=1)
    plain = oracle_corpus(oracle, sentences=20, valid=0, test=30, length=5, seed=2)
    corpus = prompted(plain, 2)
    assert corpus.oracle is not None
    assert (oracle.prompt, corpus.oracle.prompt) == (0, 2)
    assert corpus.train.equal(plain.train)
    expected = -token_log_probs(oracle, plain.test)[:, 2:].mean().item()
    assert nll(corpus.oracle, corpus.test) == pytest.approx(expected, rel=1e-5)


# ---------------------------------------------------------------------------------------------- oracles with labels


def test_each_label_has_the_oracle_of_its_seed() -> None:
    oracle = labelled_oracle(3, 9, seed=4)
    corpus = labelled_oracle_corpus(oracle, sentences=30, valid=6, test=9, length=5, seed=1)
    assert [tuple(part.shape) for part in (corpus.train, corpus.valid, corpus.test)] == [(24, 6), (6, 6), (9, 6)]
    assert (corpus.labels, corpus.prompt, corpus.end, oracle.prompt) == ((9, 10, 11), 1, -1, 1)
    assert corpus.vocabulary.words == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "<0>", "<1>", "<2>")
    assert corpus.test[:, 0].bincount(minlength=12)[9:].tolist() == [3, 3, 3]
    assert torch.cat([corpus.train, corpus.test])[:, 1:].max() < 9  # nobody says a label
    assert not any(weight.requires_grad for weight in oracle.parameters())
    for number in range(3):
        own = corpus.train[corpus.train[:, 0] == 9 + number]
        alone = token_log_probs(draw_oracle(9, seed=4 + number), own[:, 1:])
        torch.testing.assert_close(token_log_probs(oracle, own)[:, 1:], alone)


def test_labelled_draws_repeat_and_move_nobody_elses() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    oracle = labelled_oracle(2, 9, seed=4)
    first, second, other = (
        labelled_oracle_corpus(oracle, sentences=8, valid=0, test=4, length=5, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.rand(1).equal(expected)
    assert first.train.equal(second.train)
    assert not first.train.equal(other.train)
    longer = prompted(first, 2)
    assert (longer.prompt, longer.labels) == (3, first.labels)
