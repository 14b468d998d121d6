"""TREC files there and back, and one line for whatever is wrong in them."""

import gzip
import math

import pytest
import torch

from rl.retrieval.collection import Collection
from rl.retrieval.evaluation import Rankings
from rl.retrieval.relevance import Relevance
from rl.retrieval.trec import qrels_of, read_qrels, read_run, run_of, write_qrels, write_run
from rl.runtime.errors import InputError

QRELS = "q1 0 apple 2\nq1 0 berry 0\nq2 0 cherry -1\nq2 0 apple 1\n"
RUN = "q1 Q0 berry 1 0.75 me\nq1 Q0 apple 2 -1e-3 me\nq2 Q0 cherry 1 inf me\n"


def table(*triples: tuple[int, int, float]) -> Relevance:
    query, ids, grades = zip(*triples, strict=True)
    return Relevance.of(torch.tensor(query), torch.tensor(ids), torch.tensor(grades), 2)


def triples(relevance: Relevance) -> list[tuple[int, int, float]]:
    return list(zip(relevance.query.tolist(), relevance.ids.tolist(), relevance.grades.tolist(), strict=True))


@pytest.fixture
def fruit() -> Collection:
    nothing = Relevance.nothing(2)
    names = ("apple", "berry", "cherry")
    return Collection(
        "fruit", "ratings", 2, 3, nothing, nothing, nothing, nothing, "all",
        query_names=("q1", "q2"), document_names=names,
    )  # fmt: skip


@pytest.fixture
def shared_names() -> Collection:
    """Documents 0 and 2 are called alike; query q1 knows 0 and 1, query q2 knows 2."""
    judged, nothing = table((0, 0, 1.0), (0, 1, 0.0), (1, 2, 1.0)), Relevance.nothing(2)
    return Collection(
        "shared", "letor", 2, 3, judged, nothing, nothing, nothing, "judged",
        query_names=("q1", "q2"), document_names=("apple", "berry", "apple"),
    )  # fmt: skip


def test_reading(tmp_path):
    (tmp_path / "qrels").write_text(QRELS)
    assert read_qrels(tmp_path / "qrels") == {"q1": {"apple": 2, "berry": 0}, "q2": {"cherry": -1, "apple": 1}}
    (tmp_path / "run.gz").write_bytes(gzip.compress(RUN.replace("\n", "\r\n").encode()))
    expected = {"q1": {"berry": 0.75, "apple": -1e-3}, "q2": {"cherry": math.inf}}
    assert read_run(tmp_path / "run.gz") == expected


def test_as_tables(tmp_path, fruit):
    (tmp_path / "qrels").write_text(QRELS)
    assert triples(qrels_of(tmp_path / "qrels", fruit)) == [(0, 0, 2), (0, 1, 0), (1, 0, 1), (1, 2, 0)]
    (tmp_path / "run").write_text(RUN)
    assert triples(run_of(tmp_path / "run", fruit)) == [(0, 0, pytest.approx(-1e-3)), (0, 1, 0.75), (1, 2, math.inf)]


def test_documents_that_share_a_name_are_known_by_their_query(tmp_path, shared_names):
    (tmp_path / "qrels").write_text("q2 0 apple 1\nq1 0 apple 3\n")
    assert triples(qrels_of(tmp_path / "qrels", shared_names)) == [(0, 0, 3), (1, 2, 1)]


def test_what_is_written_is_read_again(tmp_path, fruit):
    relevance = table((0, 1, 3.0), (1, 0, 0.0), (1, 2, 1.0))
    write_qrels(tmp_path / "qrels", relevance, fruit)
    assert (tmp_path / "qrels").read_text() == "q1 0 berry 3\nq2 0 apple 0\nq2 0 cherry 1\n"
    assert triples(qrels_of(tmp_path / "qrels", fruit)) == triples(relevance)
    scores = torch.tensor([[1 / 3, 1e-30], [123456.789, 0.0]])
    mask = torch.tensor([[True, True], [True, False]])
    write_run(
        tmp_path / "run", Rankings(torch.tensor([1, 0]), torch.tensor([[2, 0], [1, 0]]), scores, mask), fruit, "me"
    )
    lines = (tmp_path / "run").read_text().splitlines()
    assert [line.split()[:4] for line in lines] == [
        ["q2", "Q0", "cherry", "1"],
        ["q2", "Q0", "apple", "2"],
        ["q1", "Q0", "berry", "1"],
    ]
    assert lines[0].endswith(" me")
    again = run_of(tmp_path / "run", fruit)
    assert torch.equal(again.of_pairs(torch.tensor([1, 1, 0]), torch.tensor([2, 0, 1])), scores[mask])


def test_ir_measures_reads_what_is_written(tmp_path, fruit):
    ir = pytest.importorskip("ir_measures")
    write_qrels(tmp_path / "qrels", table((0, 1, 3.0), (1, 0, 0.0)), fruit)
    qrels = list(ir.read_trec_qrels(str(tmp_path / "qrels")))
    assert [(row.query_id, row.doc_id, row.relevance) for row in qrels] == [("q1", "berry", 3), ("q2", "apple", 0)]
    one = torch.ones(1, 1)
    write_run(tmp_path / "run", Rankings(torch.tensor([1]), torch.tensor([[2]]), one / 3, one > 0), fruit)
    (row,) = ir.read_trec_run(str(tmp_path / "run"))
    assert (row.query_id, row.doc_id) == ("q2", "cherry")
    assert row.score == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1 0 apple\n", ":1: 3 fields; expected query, iteration, document, grade"),
        ("q1 0 apple 1\n\nq2 0 apple 1\n", ":2: 0 fields; expected query, iteration, document, grade"),
        ("q1 0 apple 1.5\n", ":1: grade '1.5' is no whole number"),
        ("q1 0 apple 1\nq1 0 berry 31\n", ":2: grade 31 is not in -2..30"),
        ("q1 0 apple -3\n", ":1: grade -3 is not in -2..30"),
        ("q1 0 apple 1\nq1 1 apple 1\n", ":2: query q1, document apple stands in {path}:1 too"),
        ("q1 0 apple 1\nq3 0 apple 1\n", ":2: query q3 is unknown"),
        ("q1 0 apple 1\nq1 0 date 1\n", ":2: document date is unknown to query q1"),
        ("", ": nothing in it"),
    ],
)
def test_wrong_judgements(tmp_path, fruit, content, message):
    path = tmp_path / "qrels"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        qrels_of(path, fruit)
    assert str(error.value) == f"{path}{message.format(path=path)}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q1 Q0 apple 1 0.5\n", ":1: 5 fields; expected query, Q0, document, rank, score, tag"),
        ("q1 Q0 apple 1 nan me\n", ":1: score 'nan' of query q1, document apple is no number"),
        ("q1 Q0 apple 1 high me\n", ":1: score 'high' of query q1, document apple is no number"),
        ("q1 Q0 apple 1 2 me\nq1 Q0 apple 2 1 me\n", ":2: query q1, document apple stands in {path}:1 too"),
        ("q4 Q0 apple 1 2 me\n", ":1: query q4 is unknown"),
        ("q2 Q0 0 1 2 me\n", ":1: document 0 is unknown to query q2"),
    ],
)
def test_wrong_runs(tmp_path, fruit, content, message):
    path = tmp_path / "run"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        run_of(path, fruit)
    assert str(error.value) == f"{path}{message.format(path=path)}"


def test_another_query_s_document_is_unknown(tmp_path, shared_names):
    (tmp_path / "qrels").write_text("q2 0 berry 1\n")
    with pytest.raises(InputError, match=r"qrels:1: document berry is unknown to query q2$"):
        qrels_of(tmp_path / "qrels", shared_names)


def test_a_name_with_white_space_is_not_written(tmp_path):
    nothing = Relevance.nothing(2)
    spaced = Collection(
        "spaced", "qa", 2, 3, nothing, nothing, nothing, nothing, "all", document_names=("a", "b c", "d")
    )
    with pytest.raises(InputError, match=r"qrels: the name 'b c' holds white space"):
        write_qrels(tmp_path / "qrels", table((0, 1, 1.0)), spaced)
