"""Ratings: what is read, what is held out, what is refused; the published weights of IRGAN on its own split."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from rl.retrieval.evaluation import evaluate
from rl.retrieval.ratings import ratings
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors
from rl.runtime.errors import InputError

MOVIELENS = Path(__file__).parents[4] / "shared/data/retrieval/ml100k_irgan"
TRAIN = "0\t3\t5\n0\t1\t4\n1\t0\t3.5\n1\t3\t4.5\n0\t5\t1\n2\t2\t2\n"
TEST = "0\t0\t5\n1\t1\t1\n"


def pairs(relevance: Relevance) -> list[tuple[int, int]]:
    return list(zip(relevance.query.tolist(), relevance.ids.tolist(), strict=True))


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    train, test = tmp_path / "train.txt", tmp_path / "test.txt"
    train.write_text(TRAIN)
    test.write_text(TEST)
    return train, test


def test_what_is_read(files):
    read = ratings(*files, hold_out=0)
    assert (read.name, read.kind, read.pool, read.queries, read.documents) == ("train.txt", "ratings", "all", 3, 6)
    assert pairs(read.train) == [(0, 1), (0, 3), (1, 3)]
    assert set(read.train.grades.tolist()) == {1}
    assert (pairs(read.test), len(read.valid), len(read.shown)) == ([(0, 0)], 0, 0)
    assert read.features.shape == (6, 0)
    assert (read.query_names, read.document_names) == (("0", "1", "2"), tuple("012345"))
    assert ratings(*files, hold_out=0, documents=9).documents == 9
    assert pairs(ratings(*files, hold_out=0, positive=3.5).train) == [(0, 1), (0, 3), (1, 0), (1, 3)]


def test_the_mask_that_hides_all_that_was_seen(files):
    read = ratings(*files, hold_out=0, mask="all_seen")
    assert pairs(read.shown) == [(0, 5), (1, 0), (2, 2)]
    assert pairs(read.known("test")) == [(0, 1), (0, 3), (0, 5), (1, 0), (1, 3), (2, 2)]
    assert not read.shown.positive.grades.any()


@pytest.mark.parametrize("mark", [" ", ",", "::", "\t  "])
def test_other_separators_blank_lines_more_fields_and_gz(files, mark):
    expected = ratings(*files, hold_out=0)
    train = files[0].with_suffix(".gz")
    lines = [mark.join([*line.split(), "881250949"]) for line in TRAIN.splitlines()]
    train.write_bytes(gzip.compress("\r\n\r\n".join(lines).encode()))
    read = ratings(train, files[1], hold_out=0)
    assert pairs(read.train) == pairs(expected.train)
    assert read.documents == expected.documents


def test_a_file_of_its_own_for_validation(files, tmp_path):
    (tmp_path / "valid.txt").write_text("2 4 5\n")
    read = ratings(*files, valid=tmp_path / "valid.txt")
    assert (pairs(read.valid), len(read.train)) == ([(2, 4)], 3)


def test_parts_are_held_out_where_no_file_is_given(tmp_path):
    train = tmp_path / "train.txt"
    train.write_text("".join(f"{user} {(7 * item + user) % 40} 5\n" for user in range(20) for item in range(25)))
    read = ratings(train, None, hold_out=0.2, seed=4)
    assert set(read.test.counts.tolist()) == {5}
    assert set(read.valid.counts.tolist()) == {4}
    assert set(read.train.counts.tolist()) == {16}
    assert len({*pairs(read.train), *pairs(read.valid), *pairs(read.test)}) == 500
    assert pairs(ratings(train, None, seed=4).valid) == pairs(read.valid)
    assert pairs(ratings(train, None, seed=5).valid) != pairs(read.valid)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 1 5\n0 2\n", ":2: 2 of the fields user, item, rating"),
        ("0 1 5\n0.0 2 4\n", ":2: user '0.0' is no whole number from 0 on"),
        ("0 1 5\n0 -2 4\n", ":2: item '-2' is no whole number from 0 on"),
        ("user item rating\n0 1 5\n", ":1: user 'user' is no whole number from 0 on"),
        ("0,1,5\n0,,4\n", ":2: item '' is no whole number from 0 on"),
        ("0 1 5\n0 2 good\n", ":2: rating 'good' is no number"),
        ("0 1 5\n0 2 nan\n", ":2: rating 'nan' is no number"),
        ("0 1 5\n0 2 inf\n", ":2: rating 'inf' is no number"),
        ("0 1 5\n0 99999999 5\n", ":2: item 99999999 is larger than 10000000: number them from 0 on"),
        ("1 7 5\n0 7 3\n1 7 5\n0 7 5\n", ":3: user 1, item 7 stands in {path}:1 too"),
        ("0 8 5\n1 0 5\n", ":2: user 1, item 0 stands in {train}:3 too"),
        ("0 7 3\n", ": no rating of 4 or more: nothing is relevant"),
        ("\n", ": nothing in it"),
        ("\n\n\n", ": nothing in it"),
    ],
)
def test_bad_rows(files, content, message):
    train, path = files
    path.write_text(content)
    with pytest.raises(InputError) as error:
        ratings(train, path)
    assert str(error.value) == f"{path}{message.format(path=path, train=train)}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 7 3\n1 9 5\n2 8 4\n", ": column 1: the users merely count the lines (0, 1, ...): no ids"),
        ("5 1 3\n4 2 5\n5 3 4\n", ": column 2: the items merely count the lines (1, 2, ...): no ids"),
    ],
)
def test_what_merely_counts_the_lines_is_no_id_to_learn_from(tmp_path, content, message):
    path = tmp_path / "train.txt"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        ratings(path, None)
    assert str(error.value) == f"{path}{message}"


def test_a_test_file_may_hold_one_rating_of_each_user(tmp_path):
    train, test = tmp_path / "train.txt", tmp_path / "test.txt"
    train.write_text("0 1 5\n0 2 5\n1 1 5\n2 4 5\n2 3 5\n")
    test.write_text("0 4 5\n1 3 5\n2 1 5\n")
    assert ratings(train, test).test.counts.tolist() == [1, 1, 1]


def test_an_item_beyond_the_documents_that_were_asked_for(files):
    with pytest.raises(InputError, match=r"train.txt:5: item 5, where 5 documents were asked for: ids end at 4$"):
        ratings(*files, documents=5)
    with pytest.raises(InputError, match=r"train.txt:1: user 0, item 3 stands in .*train.txt:1 too$"):
        ratings(files[0], files[0])
    with pytest.raises(InputError, match=r"missing.txt: no such file$"):
        ratings(files[0], files[0].with_name("missing.txt"))


PUBLISHED = {
    "dns_init": (0.3845, 0.3474, 0.2967, 0.3986, 0.3749, 0.3518, 0.2222, 0.5798),
    "irgan_generator": (0.4057, 0.3785, 0.3184, 0.4228, 0.4053, 0.3775, 0.2442, 0.6103),
}


@pytest.mark.skipif(not MOVIELENS.is_dir(), reason="MovieLens-100K in IRGAN's split is not here")
@pytest.mark.parametrize("weights", PUBLISHED)
def test_the_published_weights_score_what_was_published(weights):
    """Wang et al. 2017 (1705.10513): the weights released with the code, ties to the higher id as there."""
    stored = np.load(MOVIELENS / f"{weights}.npz", allow_pickle=False)
    files = MOVIELENS / "movielens-100k-train.txt", MOVIELENS / "movielens-100k-test.txt"
    movies = ratings(*files, hold_out=0.2, documents=1683)
    assert (movies.queries, len(movies.train) + len(movies.valid), len(movies.test)) == (943, 44140, 11235)
    assert len(movies.test.answered) == 456
    scorer = Factors(943, 1683, 5)
    with torch.no_grad():
        scorer.users.copy_(torch.from_numpy(stored["user_embedding"]))
        scorer.items.copy_(torch.from_numpy(stored["item_embedding"]))
        scorer.bias.copy_(torch.from_numpy(stored["item_bias"]))
    measured = evaluate(scorer, movies, "test", ties="higher_id")
    names = ("p@3", "p@5", "p@10", "ndcg@3", "ndcg@5", "ndcg@10", "map", "mrr")
    assert tuple(round(measured[name], 4) for name in names) == PUBLISHED[weights]
