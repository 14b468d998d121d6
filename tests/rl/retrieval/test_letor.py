"""LETOR files: what is read, and one line for whatever is wrong."""

import gzip
from pathlib import Path

import pytest
import torch

from rl.retrieval.letor import letor
from rl.retrieval.relevance import Relevance
from rl.runtime.errors import InputError

MQ2008 = Path(__file__).parents[4] / "shared/data/retrieval/mq2008_fold1"
TRAIN = """\
2 qid:10 1:0.5 2:-1e-1 3:7 #docid = GX1-7 inc = 1 prob = 0.5
0 qid:10 1:0.25 3:1 #docid = GX2

1 qid:7 2:3
-1 qid:7 1:1 2:1 # docid = GX1-7
"""
TEST = "1 qid:8 1:1 4:2 #docid = GX9\n0 qid:8 1:0\n"


def triples(relevance: Relevance) -> list[tuple[int, int, float]]:
    return list(zip(relevance.query.tolist(), relevance.ids.tolist(), relevance.grades.tolist(), strict=True))


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    train, test = tmp_path / "train.txt", tmp_path / "test.txt.gz"
    train.write_text(TRAIN)
    test.write_bytes(gzip.compress(TEST.replace("\n", "\r\n").encode()))
    return train, test


def test_what_is_read(files):
    read = letor(files[0], None, files[1], hold_out=0)
    assert (read.kind, read.pool, read.queries, read.documents) == ("letor", "judged", 3, 6)
    assert triples(read.train) == [(0, 0, 2), (0, 1, 0), (1, 2, 1), (1, 3, 0)]
    assert triples(read.test) == [(2, 4, 1), (2, 5, 0)]
    assert (len(read.valid), len(read.shown)) == (0, 0)
    expected = [[0.5, -0.1, 7, 0], [0.25, 0, 1, 0], [0, 3, 0, 0], [1, 1, 0, 0], [1, 0, 0, 2], [0, 0, 0, 0]]
    assert torch.equal(read.features, torch.tensor(expected))
    assert read.query_names == ("10", "7", "8")
    assert read.document_names == ("GX1-7", "GX2", "7-2", "GX1-7", "GX9", "8-5")


def test_queries_are_held_out_where_no_file_is_given(tmp_path):
    lines = [f"{document % 2} qid:{query} 1:{document}\n" for query in range(25) for document in range(4)]
    (tmp_path / "train.txt").write_text("".join(lines))
    read = letor(tmp_path / "train.txt", None, None, hold_out=0.2, seed=1)
    judged = [relevance.counts for relevance in (read.train, read.valid, read.test)]
    assert [int((counts > 0).sum()) for counts in judged] == [16, 4, 5]
    assert sum(judged).tolist() == [4] * 25


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 qid:1 1:2\n5 qid:1 1:2\n", ":2: grade 5 is not in 0..4 (or -1: not judged)"),
        ("-2 qid:1 1:2\n", ":1: grade -2 is not in 0..4 (or -1: not judged)"),
        ("0.5 qid:1 1:2\n", ":1: grade '0.5' is no whole number"),
        ("1 1:2 2:3\n", ":1: no query: the second field must read qid:NAME"),
        ("1 qid: 1:2\n", ":1: no query: the second field must read qid:NAME"),
        ("1\n", ":1: no query: the second field must read qid:NAME"),
        ("1 qid:1 1:2 3\n", ":1: feature '3' does not read NUMBER:VALUE"),
        ("1 qid:1 one:2\n", ":1: feature 'one:2' does not read NUMBER:VALUE"),
        ("1 qid:1 1:big\n", ":1: feature '1:big' does not read NUMBER:VALUE"),
        ("1 qid:1 1:2 2:nan\n", ":1: feature 2 is nan"),
        ("1 qid:1 1:-inf\n", ":1: feature 1 is -inf"),
        ("1 qid:1 1:1e39\n", ":1: feature 1 is 1e39"),
        ("1 qid:1 2:1 2:1\n", ":1: feature 2 after 2: numbers must ascend from 1 to 100000"),
        ("1 qid:1 0:1\n", ":1: feature 0 after 0: numbers must ascend from 1 to 100000"),
        ("1 qid:1 100001:1\n", ":1: feature 100001 after 0: numbers must ascend from 1 to 100000"),
        ("1 qid:1 1:2 #docid = D\n0 qid:1 1:2 #docid = D\n", ":2: query 1, document D stands in {path}:1 too"),
        ("1 qid:1 1:2\n1 qid:10 1:2\n", ":2: query 10 stands in {train} too"),
        ("0 qid:1 1:2\n", ": no grade above 0: nothing is relevant"),
        ("", ": nothing in it"),
    ],
)
def test_bad_rows(files, tmp_path, content, message):
    path = tmp_path / "test.txt"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        letor(files[0], None, path)
    assert str(error.value) == f"{path}{message.format(path=path, train=files[0])}"


def test_one_file_twice(files):
    files[0].write_text("1 qid:1 1:2\n0 qid:1 1:3\n")  # without names its documents are not known again
    for again in (files[0], files[0].parent / "." / ".." / files[0].parent.name / files[0].name):
        for given in ((files[0], again, None), (files[0], None, again)):
            with pytest.raises(InputError, match=r"train.txt: the files of training, validation and test must be diff"):
                letor(*given)


@pytest.mark.skipif(not MQ2008.is_dir(), reason="MQ2008 is not here")
def test_mq2008():
    read = letor(*(MQ2008 / f"{split}.txt.gz" for split in ("train", "vali", "test")))
    assert (read.queries, read.documents, read.features.shape[1]) == (784, 15211, 46)
    assert [len(read.judged(split)) for split in ("train", "valid", "test")] == [9630, 2707, 2874]
    assert [len(read.judged(split).answered) for split in ("train", "valid", "test")] == [339, 120, 105]
    assert read.train.grades.long().bincount().tolist() == [7820, 1223, 587]
    assert (read.features >= 0).all()
    assert (read.features <= 1).all()
