import gzip
import itertools
import json
import re
import sys
import types
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.runtime import InputError
from seqgan.corpus import (
    BOUNDARY,
    UNKNOWN,
    Line,
    Vocabulary,
    ids_corpus,
    oracle_corpus,
    read_hub,
    read_ids,
    read_lines,
    text_corpus,
)
from seqgan.oracle import draw_oracle


def lines(*sentences: str) -> list[Line]:
    return [(f"file:{number}", sentence.split()) for number, sentence in enumerate(sentences, 1)]


# ---------------------------------------------------------------------------------------------- vocabulary


def test_words_by_frequency_then_by_name() -> None:
    sentences = [["b", "a", "c"], ["c", "b", "d"]]
    assert Vocabulary.of(sentences, "word").words == ("</s>", "<unk>", "b", "c", "a", "d")
    assert Vocabulary.of(sentences, "word", at_least=2).words == ("</s>", "<unk>", "b", "c")
    assert Vocabulary.of(sentences, "word").joiner == " "
    assert Vocabulary.of(sentences, "char").joiner == ""
    assert Vocabulary.numbers(3).words == ("0", "1", "2")


def test_encoding_ends_fills_up_and_knows_the_unknown() -> None:
    vocabulary = Vocabulary.of([["a", "a", "b"]], "word")
    tokens = vocabulary.encode(lines("a b", "b zebra a"), 4)
    assert tokens.tolist() == [[2, 3, BOUNDARY, BOUNDARY], [3, UNKNOWN, 2, BOUNDARY]]
    assert tokens.dtype == torch.int64
    assert vocabulary.decode(tokens, BOUNDARY) == [["a", "b"], ["b", "<unk>", "a"]]
    assert vocabulary.encode([], 4).shape == (0, 4)


def test_without_an_end_all_tokens_are_decoded() -> None:
    assert Vocabulary.numbers(4).decode(torch.tensor([[0, 3, 0]]), -1) == [["0", "3", "0"]]


def test_a_line_that_is_too_long_is_named() -> None:
    with pytest.raises(InputError, match=r"file:2: 3 tokens, the length is 2"):
        Vocabulary.of([["a"]], "word").encode(lines("a a", "a a a"), 2)


def test_a_texts_own_marks() -> None:
    """Its <unk> is the unknown word, its </s> would end a sentence in the middle."""
    vocabulary = Vocabulary.of([["<unk>", "a"], ["<unk>", "b"]], "word")
    assert vocabulary.words == ("</s>", "<unk>", "a", "b")
    assert vocabulary.encode(lines("<unk> zebra a"), 3).tolist() == [[UNKNOWN, UNKNOWN, 2]]
    with pytest.raises(InputError, match=r"^file:2: </s> stands in it, the mark of a sentence's end$"):
        vocabulary.encode(lines("a b", "a </s> b"), 3)


WORDS = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=4) | st.just("<unk>")


@given(st.lists(st.lists(WORDS, min_size=1, max_size=6), min_size=1, max_size=8))
def test_decoding_undoes_encoding(sentences: list[list[str]]) -> None:
    vocabulary = Vocabulary.of(sentences, "word")
    assert len(vocabulary.words) == 2 + len({word for sentence in sentences for word in sentence} - {"<unk>"})
    tokens = vocabulary.encode([("x", sentence) for sentence in sentences], 7)
    assert vocabulary.decode(tokens, BOUNDARY) == sentences


def test_a_saved_vocabulary_is_readable(tmp_path: Path) -> None:
    Vocabulary(("</s>", "<unk>", "é"), "").save(tmp_path / "vocabulary.json")
    saved = json.loads((tmp_path / "vocabulary.json").read_text(encoding="utf-8"))
    assert saved == {"joiner": "", "words": ["</s>", "<unk>", "é"]}


# ---------------------------------------------------------------------------------------------- splits


def test_a_text_is_split_at_random_and_nothing_is_lost() -> None:
    sentences = lines(*(f"w{i} x" for i in range(100)))

    def build(seed: int) -> list[list[list[int]]]:
        corpus = text_corpus(sentences, [], units="word", at_least=1, length=0, valid=7, seed=seed)
        assert (corpus.end, corpus.length) == (BOUNDARY, 2)
        return [part.tolist() for part in (corpus.train, corpus.valid, corpus.test)]

    parts = build(1)
    assert [len(part) for part in parts] == [83, 7, 10]
    everything = [tuple(row) for part in parts for row in part]
    assert len(set(everything)) == 100
    assert build(1) == parts
    assert build(2) != parts
    assert sorted(parts[1]) != sorted(build(2)[1])


def test_a_test_set_of_its_own_is_kept_in_order() -> None:
    corpus = text_corpus(
        lines("a b", "a b a", "b"), lines("b z b", "a"), units="word", at_least=1, length=0, valid=1, seed=0
    )
    assert corpus.length == 3  # the longest sentence of all
    assert corpus.vocabulary.decode(corpus.test, corpus.end) == [["b", "<unk>", "b"], ["a"]]
    assert (len(corpus.train), len(corpus.valid)) == (2, 1)


def test_what_stands_in_test_is_not_learned_from() -> None:
    build = partial(text_corpus, units="word", at_least=1, length=0, valid=0, seed=0)
    corpus = build(lines("a b", "c", "a", "c", "b a"), lines("c", "b"))
    learned = corpus.vocabulary.decode(corpus.train, corpus.end)
    assert sorted(map(tuple, learned)) == [("a",), ("a", "b"), ("b", "a")]
    assert "c" not in corpus.vocabulary.words
    with pytest.raises(InputError, match="every sentence of it stands in --test"):
        build(lines("a", "b"), lines("b", "a", "c"))


def test_too_few_sentences_to_hold_any_out() -> None:
    with pytest.raises(InputError, match=r"--valid 2: the corpus has 3 sentences, 1 of them held out"):
        text_corpus(lines("a", "b", "c"), [], units="word", at_least=1, length=0, valid=2, seed=0)


def test_ids_have_the_vocabulary_of_both_parts() -> None:
    train, test = torch.tensor([*itertools.product(range(3), repeat=4)][:30]), torch.full((3, 4), 11)
    corpus = ids_corpus(train, test, valid=4, seed=0)
    assert len(corpus.vocabulary.words) == 12
    assert corpus.end == -1
    assert corpus.test.equal(test)
    assert len(ids_corpus(train, train[:0], valid=4, seed=0).test) == 3


def test_ids_of_two_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="--test: sentences of 5 tokens, those of --corpus have 4"):
        ids_corpus(torch.zeros(9, 4, dtype=torch.long), torch.zeros(3, 5, dtype=torch.long), valid=1, seed=0)


def test_an_oracles_corpus_depends_on_its_seed_alone() -> None:
    oracle, before = draw_oracle(50, seed=0), torch.get_rng_state()
    first, again, other = (
        oracle_corpus(oracle, sentences=30, valid=5, test=9, length=4, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.get_rng_state().equal(before)
    assert [part.shape for part in (first.train, first.valid, first.test)] == [(25, 4), (5, 4), (9, 4)]
    assert first.train.equal(again.train)
    assert first.test.equal(again.test)
    assert not first.train.equal(other.train)
    assert (first.end, len(first.vocabulary.words), first.oracle) == (-1, 50, oracle)


# ---------------------------------------------------------------------------------------------- text files


@pytest.mark.parametrize("packed", [False, True])
def test_lines_of_a_file_with_their_places(packed: bool, tmp_path: Path) -> None:
    path, data = tmp_path / ("a.txt.gz" if packed else "a.txt"), "a  b\r\n é c\n".encode()
    path.write_bytes(gzip.compress(data) if packed else data)
    assert read_lines(path, "word") == [(f"{path}:1", ["a", "b"]), (f"{path}:2", ["é", "c"])]
    assert read_lines(path, "char")[1] == (f"{path}:2", [" ", "é", " ", "c"])


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\u2028b\x0cc\nd", encoding="utf-8")
    assert [sentence for _, sentence in read_lines(tmp_path / "a.txt", "word")] == [["a", "b", "c"], ["d"]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"ab\nc\xff d\n", ":2:2: not UTF-8"),
        ("é".encode("latin-1"), ":1:1: not UTF-8"),
        (b"a\n\nb\n", ":2: empty sentence"),
        (b"a\n   \nb", ":2: empty sentence"),
        (b"", ": nothing in it"),
        (b"\n", ": nothing in it"),
    ],
)
def test_a_malformed_text_is_named(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=re.escape(f"{path}{message}")):
        read_lines(path, "word")


def cut(data: bytes) -> bytes:
    return data[:-12]


def flipped(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] ^ 255]) + data[21:]


@pytest.mark.parametrize("damage", [cut, flipped, lambda _: b"plain text"])
def test_a_damaged_gzip_is_named(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(damage(gzip.compress(b"hello world " * 1000, mtime=0)))
    with pytest.raises(InputError, match=re.escape(f"{path}: damaged gzip file")):
        read_lines(path, "word")


def test_no_such_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.txt: no such file"):
        read_lines(tmp_path / "absent.txt", "word")


# ---------------------------------------------------------------------------------------------- arrays of ids


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.uint64])
def test_ids_of_an_array(dtype: type, tmp_path: Path) -> None:
    ids = np.arange(6, dtype=dtype).reshape(2, 3)
    np.save(tmp_path / "a.npy", ids)
    np.savez_compressed(tmp_path / "a.npz", whatever=ids)
    for name in ("a.npy", "a.npz"):
        tokens = read_ids(tmp_path / name)
        assert tokens.dtype == torch.int64
        assert tokens.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.zeros((2, 3)), ": float64 (2, 3), expected integers"),
        (np.zeros(3, int), ": int64 (3,), expected integers [sentences, time]"),
        (np.zeros((2, 3, 1), int), ": int64 (2, 3, 1)"),
        (np.zeros((0, 3), int), ": int64 (0, 3)"),
        (np.zeros((2, 0), int), ": int64 (2, 0)"),
        (np.zeros((2, 3), bool), ": bool (2, 3)"),
        (np.array([["a"]]), ": <U1 (1, 1)"),
        (np.array([[1, 2, 3], [4, 5, -6]]), ":[1, 2]: -6 is no token"),
        (np.array([[1, 2**63]], np.uint64), ":[0, 1]: 9223372036854775808 is no token"),
        (np.array([[{}]]), ": not a readable array file"),
    ],
)
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_malformed_ids_are_named(ids: np.ndarray, message: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    np.save(path, ids) if name.endswith("npy") else np.savez(path, ids)
    with pytest.raises(InputError, match=re.escape(f"{path}{message}")):
        read_ids(path)


@pytest.mark.parametrize(
    "damage", [lambda d: d[: len(d) // 2], lambda d: d[:90] + b"\0\xff\0" + d[93:], lambda _: b"text"]
)
def test_a_damaged_array_file_is_named(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, np.arange(2000).reshape(100, 20))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=re.escape(f"{path}: not a readable array file")):
        read_ids(path)


def test_array_files_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.npy: no such file"):
        read_ids(tmp_path / "absent.npy")
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 2), int), b=np.zeros((2, 2), int))
    with pytest.raises(InputError, match=r"two\.npz: 2 arrays, expected one"):
        read_ids(tmp_path / "two.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as file:
        file.writestr("a", "text")
    with pytest.raises(InputError, match=r"text\.npz: .* expected integers"):
        read_ids(tmp_path / "text.npz")


# ---------------------------------------------------------------------------------------------- the hub


def hub(monkeypatch: pytest.MonkeyPatch, load_dataset: Callable[..., object] | None) -> None:
    module = None if load_dataset is None else types.SimpleNamespace(load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", module)  # type: ignore[arg-type]


def test_the_hub_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, None)
    with pytest.raises(InputError, match="hf:owner/name: needs the package datasets"):
        read_hub("owner/name", "train", "text", "word")


def test_the_hub_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: object, **__: object) -> object:
        raise ConnectionError("offline")

    hub(monkeypatch, load_dataset)
    with pytest.raises(InputError, match="hf:owner/name: split train, column text: offline"):
        read_hub("owner/name", "train", "text", "word")


def test_sentences_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    columns: dict[str, list[object]] = {"text": ["a b", "c"], "holes": ["a", " "], "numbers": [1], "none": []}
    hub(monkeypatch, lambda name, split: columns)
    assert read_hub("x", "train", "text", "word") == [("hf:x:train[0].text", ["a", "b"]), ("hf:x:train[1].text", ["c"])]
    assert read_hub("x", "train", "text", "char")[0][1] == ["a", " ", "b"]
    for column, message in (
        ("holes", r"train\[1\]\.holes: no sentence"),
        ("numbers", r"train\[0\]\.numbers: no sentence \(1\)"),
        ("none", "split train is empty"),
        ("absent", "column absent"),
    ):
        with pytest.raises(InputError, match=message):
            read_hub("x", "train", column, "word")


@pytest.mark.parametrize("valid", [0, 50])
def test_test_sentences_never_teach(valid: int) -> None:
    """Where a corpus repeats itself and names no test sentences: with one that is held out all its twins are."""
    many = [(f"file:{i}", ["a"] * (1 + i % 6) + ["b"] * (i % 10)) for i in range(600)]
    corpus = text_corpus(many, [], units="word", at_least=1, length=0, valid=valid, seed=0)
    train, held, test = ({tuple(row) for row in part.tolist()} for part in (corpus.train, corpus.valid, corpus.test))
    assert not test & (train | held)
    assert 60 <= len(corpus.test) <= 60 + 20
    assert len(corpus.train) + len(corpus.valid) + len(corpus.test) == 600
    assert len(corpus.valid) == valid
    repeated = torch.arange(9).repeat(100)[:, None].expand(-1, 3)
    ids = ids_corpus(repeated, repeated[:0], valid=valid, seed=0)
    assert not {*ids.test[:, 0].tolist()} & {*ids.train[:, 0].tolist()}
