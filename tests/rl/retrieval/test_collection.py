"""What a ranking may hold."""

import pytest
import torch

from rl.retrieval.collection import Collection
from rl.retrieval.relevance import Relevance


def one(*ids: int, grades: tuple[float, ...] = ()) -> Relevance:
    return Relevance.of(
        torch.zeros(len(ids)).long(), torch.tensor(ids).long(), torch.tensor(grades or (1.0,) * len(ids)), 1
    )


@pytest.fixture
def collection() -> Collection:
    train, valid = one(1, 2, grades=(1, 0)), one(3, 4, grades=(0, 2))
    return Collection("tiny", "ratings", 1, 9, train, valid, one(5), one(6, grades=(0,)), "all")


def test_known_are_the_positives_before_and_what_was_shown(collection):
    assert collection.known("train").ids.tolist() == [6]
    assert collection.known("valid").ids.tolist() == [1, 6]
    assert collection.known("test").ids.tolist() == [1, 4, 6]


def test_judged(collection):
    assert collection.judged("train") is collection.train
    assert collection.judged("valid") is collection.valid
    assert collection.judged("test") is collection.test


def test_names(collection):
    assert (collection.query_name(0), collection.document_name(7)) == ("0", "7")


def test_to_moves_everything_and_changes_nothing(collection):
    moved = collection.to("meta")
    assert {moved.train.ids.device.type, moved.shown.offsets.device.type, moved.features.device.type} == {"meta"}
    assert collection.to("cpu").valid.grades.tolist() == [0, 2]
