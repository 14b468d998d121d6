"""Boosted trees learn an order of features, stop where validation says so, and know no features that are none."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rl.retrieval.collection import Collection
from rl.retrieval.evaluation import evaluate
from rl.retrieval.lambdamart import lambdamart
from rl.retrieval.letor import letor
from rl.retrieval.relevance import Relevance
from rl.runtime import InputError

from .small import collection

MQ2008 = Path(__file__).parents[4] / "shared/data/retrieval/mq2008_fold1"


def lists(queries: int = 24, each: int = 12) -> Collection:
    """Return lists whose grades are how far a product of two features, out of five, stands up."""
    torch.manual_seed(0)
    features = torch.randn(queries * each, 5)
    grades = torch.bucketize(features[:, 0] * features[:, 1], torch.tensor([0.3, 1.0])).float()
    query = torch.arange(queries).repeat_interleave(each)
    third = query % 3
    splits = {
        name: Relevance.of(query[third == part], (third == part).nonzero()[:, 0], grades[third == part], queries)
        for part, name in enumerate(("train", "valid", "test"))
    }
    base = collection({0: {0: 1.0}}, queries, len(features), pool="judged", kind="letor")
    return replace(base, features=features, **splits)


@pytest.fixture(autouse=True)
def _needs_lightgbm() -> None:
    pytest.importorskip("lightgbm", reason="needs lightgbm")


def test_trees_learn_what_no_line_can() -> None:
    data = lists()
    scorer = lambdamart(data, smallest=3)
    assert evaluate(scorer, data, "test")["ndcg_graded@5"] > 0.75
    assert evaluate(scorer, replace(data, test=data.train), "test")["ndcg_graded@5"] > 0.9


def test_a_document_has_one_score() -> None:
    scorer = lambdamart(lists(), trees=3, smallest=3)
    assert torch.equal(scorer.score_all(torch.tensor([0, 1]))[0], scorer.bias)


def test_validation_stops_the_trees() -> None:
    data = lists()
    against = replace(data, valid=replace(data.train, grades=2 - data.train.grades))  # each tree makes it worse
    one = lambdamart(replace(data, valid=Relevance.nothing(24)), trees=1, smallest=3)
    assert torch.equal(lambdamart(against, trees=100, smallest=3).bias, one.bias)


def test_the_same_seed_gives_the_same_trees() -> None:
    assert torch.equal(lambdamart(lists(), trees=5, smallest=3).bias, lambdamart(lists(), trees=5, smallest=3).bias)


def test_no_features_no_trees() -> None:
    with pytest.raises(ValueError, match="no features"):
        lambdamart(collection({0: {0: 1.0}}, 1, 2))


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(InputError, match=r"sparring\[retrieval\]"):
        lambdamart(lists())


@pytest.mark.slow
def test_mq2008() -> None:
    if not MQ2008.is_dir():
        pytest.skip(f"{MQ2008} is absent")
    data = letor(*(MQ2008 / f"{split}.txt.gz" for split in ("train", "vali", "test")))
    found = evaluate(lambdamart(data), data, "test")
    assert found["p@5"] > 0.5
    assert found["ndcg@5"] > 0.69
