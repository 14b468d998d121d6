"""Who stands on a query's list: everything, what was judged, or what was retrieved."""

from dataclasses import replace

import torch

from rl.retrieval.slates import Slate, retrieved, widest
from tests.rl.retrieval.small import Table, collection, relevance

TRAIN = {0: {1: 1.0, 3: 1.0}, 2: {0: 1.0}}
SCORES = torch.tensor([[0.0, 9.0, 2.0, 8.0, 3.0], [1.0, 2.0, 3.0, 4.0, 5.0], [9.0, 1.0, 5.0, 2.0, 4.0]])


def listed(slate: Slate) -> list[list[tuple[int, bool]]]:
    rows = zip(slate.ids.tolist(), slate.mask.tolist(), slate.relevant.tolist(), strict=True)
    return [[(i, r) for i, m, r in zip(*row, strict=True) if m] for row in rows]


def test_where_everything_is_ranked_everything_stands_on_every_slate() -> None:
    slate = widest(collection(TRAIN, 3, 5)).of(torch.tensor([2, 0]))
    assert listed(slate) == [
        [(0, True), (1, False), (2, False), (3, False), (4, False)],
        [(0, False), (1, True), (2, False), (3, True), (4, False)],
    ]
    table = Table(SCORES)
    assert slate.scores(table).tolist() == SCORES[[2, 0]].tolist()


def test_what_rankings_hide_stands_on_no_slate() -> None:
    hidden = replace(collection(TRAIN, 3, 5), shown=relevance({0: {2: 0.0, 3: 0.0}}, 3))
    assert listed(widest(hidden).of(torch.tensor([0, 2])))[0] == [(0, False), (1, True), (4, False)]


def test_where_the_judged_are_ranked_these_stand_on_the_slate() -> None:
    judged = collection({0: {4: 0.0, 1: 2.0}, 2: {0: 1.0, 2: 0.0, 3: 0.0}}, 3, 5, pool="judged", kind="letor")
    slate = widest(judged).of(torch.tensor([0, 2, 1]))
    assert listed(slate) == [[(1, True), (4, False)], [(0, True), (2, False), (3, False)], []]
    assert slate.mask.tolist() == [[True, True, False], [True, True, True], [False, False, False]]
    assert not slate.relevant[~slate.mask].any()
    table = Table(SCORES)
    assert slate.scores(table)[1].tolist() == [9.0, 5.0, 2.0]


def test_the_best_others_are_retrieved_beside_the_positives() -> None:
    slates = retrieved(Table(SCORES), collection(TRAIN, 3, 5), 2)
    assert listed(slates.of(torch.tensor([0, 1, 2]))) == [
        [(1, True), (2, False), (3, True), (4, False)],
        [],
        [(0, True), (2, False), (4, False)],
    ]


def test_what_is_hidden_is_not_retrieved_and_shorter_lists_stay_short() -> None:
    hidden = replace(collection(TRAIN, 3, 5), shown=relevance({0: {2: 0.0, 4: 0.0}}, 3))
    slates = retrieved(Table(SCORES), hidden, 50)
    assert listed(slates.of(torch.tensor([0, 2]))) == [
        [(0, False), (1, True), (3, True)],
        [(0, True), (1, False), (2, False), (3, False), (4, False)],
    ]


def test_retrieving_a_few_queries_at_a_time_is_retrieving_all() -> None:
    torch.manual_seed(0)
    table = Table(torch.randn(30, 20))
    data = collection({query: {query % 20: 1.0} for query in range(30)}, 30, 20)
    one, all_ = retrieved(table, data, 4, at_once=7).pool, retrieved(table, data, 4).pool
    assert one.ids.tolist() == all_.ids.tolist()
    assert one.offsets.tolist() == all_.offsets.tolist()
    assert one.grades.tolist() == all_.grades.tolist()
