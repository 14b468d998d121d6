"""Questions and answers: what is read, the vocabulary, and one line for whatever is wrong."""

import gzip
from pathlib import Path

import pytest

from rl.retrieval.qa import numbers, qa
from rl.retrieval.relevance import Relevance
from rl.runtime.errors import InputError

WIKIQA = Path(__file__).parents[4] / "shared/data/retrieval/wikiqa"
HEADER = "qid\tcand_id\tlabel\tquestion\tanswer\n"
TRAIN = HEADER + "0\ta\t1\tWho is Bo ?\tbo is a dog\n0\tb\t0\twho's bo ?\ta a a\n4\tc\t1\tWhere ?\there\n"
TEST = HEADER + "0\td\t0\twho is it ?\ta cat\n0\te\t1\twho is it ?\tbo\n"


def triples(relevance: Relevance) -> list[tuple[int, int, float]]:
    return list(zip(relevance.query.tolist(), relevance.ids.tolist(), relevance.grades.tolist(), strict=True))


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    train, test = tmp_path / "train.tsv", tmp_path / "test.tsv.gz"
    train.write_text(TRAIN)
    test.write_bytes(gzip.compress(TEST.replace("\n", "\r\n").encode()))
    return train, test


def test_what_is_read(files):
    read = qa(files[0], None, files[1], hold_out=0)
    assert (read.kind, read.pool, read.queries, read.documents) == ("qa", "judged", 3, 5)
    assert triples(read.train) == [(0, 0, 1), (0, 1, 0), (1, 2, 1)]
    assert triples(read.test) == [(2, 3, 0), (2, 4, 1)]
    assert (len(read.valid), len(read.shown), read.features.shape) == (0, 0, (5, 0))
    assert read.query_names == ("train-0", "train-4", "test-0")
    assert read.document_names == tuple("abcde")
    assert read.query_texts == ("who is bo ?", "where ?", "who is it ?")
    assert read.document_texts[3] == "a cat"
    assert read.words[:5] == ("<fill>", "<unknown>", "a", "bo", "?")  # 5 times, 3, and 2 in the order of letters
    assert set(read.words[5:]) == {"who", "is", "where", "dog", "here", "cat"}  # a second spelling is dropped
    assert [read.words[word] for word in read.query_tokens[2]] == ["who", "is", "<unknown>", "?"]  # nobody answers "it"
    assert [read.words[word] for word in read.query_tokens[1]] == ["where", "?", "<fill>", "<fill>"]
    assert [read.words[word] for word in read.document_tokens[3]][:2] == ["a", "cat"]  # what is searched is known
    assert qa(files[0], None, files[1], hold_out=0, pool="all").pool == "all"


def test_lengths_cut():
    words = ("<fill>", "<unknown>", "a", "b")
    assert numbers(["a b c a", "B"], words, 3).tolist() == [[2, 3, 1], [3, 0, 0]]
    assert numbers(["a b c a", "B"], words, 9).tolist() == [[2, 3, 1, 2], [3, 0, 0, 0]]


def test_questions_are_held_out_and_their_words_with_them(tmp_path):
    rows = [f"{query}\t{query}-{n}\t{n % 2}\tword{query}\tanswer\n" for query in range(25) for n in range(4)]
    (tmp_path / "train.tsv").write_text(HEADER + "".join(rows))
    read = qa(tmp_path / "train.tsv", None, None, hold_out=0.2, seed=1)
    kept, *held = [relevance.counts > 0 for relevance in (read.train, read.valid, read.test)]
    assert [int(part.sum()) for part in (kept, *held)] == [16, 4, 5]
    known = [f"word{query}" in read.words for query in range(25)]
    assert known == kept.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0\ta\t1\tq\ta\n", ":1: columns 0, a, 1, q, a; expected qid, cand_id, label, question, answer, split by tabs"),
        (HEADER + "0\td\t1\tq\n", ":2: 4 fields; expected qid, cand_id, label, question, answer, split by tabs"),
        (HEADER + "0\td\t1\tq\t\n", ":2: answer is empty"),
        (HEADER + "\td\t1\tq\tw\n", ":2: qid is empty"),
        (HEADER + "0 1\td\t1\tq\tw\n", ":2: qid '0 1' holds white space, and files of rankings cannot"),
        (HEADER + "0\td 1\t1\tq\tw\n", ":2: cand_id 'd 1' holds white space, and files of rankings cannot"),
        (HEADER + "0\td\t2\tq\tw\n", ":2: label '2' is neither 0 nor 1"),
        (HEADER + "0\td\t1\tq\tw\n1\td\t1\tq\tw\n", ":3: answer d stands in {path}:2 too"),
        (HEADER + "0\tc\t1\tq\tw\n", ":2: answer c stands in {train}:4 too"),
        (HEADER + "0\td\t0\tq\tw\n", ": no answer with label 1: nothing is relevant"),
        (HEADER, ": no answer with label 1: nothing is relevant"),
        ("", ": nothing in it"),
    ],
)
def test_bad_rows(files, tmp_path, content, message):
    path = tmp_path / "test.tsv"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        qa(files[0], None, path)
    assert str(error.value) == f"{path}{message.format(path=path, train=files[0])}"


@pytest.mark.skipif(not WIKIQA.is_dir(), reason="WikiQA is not here")
def test_wikiqa():
    read = qa(*(WIKIQA / f"{split}.tsv.gz" for split in ("train", "dev", "test")))
    assert (read.queries, read.documents) == (1242, 12153)
    assert [len(read.judged(split)) for split in ("train", "valid", "test")] == [8672, 1130, 2351]
    assert [len(read.judged(split).positive) for split in ("train", "valid", "test")] == [1040, 140, 293]
    assert [len(read.judged(split).answered) for split in ("train", "valid", "test")] == [873, 126, 243]
