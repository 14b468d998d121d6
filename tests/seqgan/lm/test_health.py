"""What the log says of a game: hacking, collapse and shortcuts each move their own number."""

import math
from dataclasses import replace

import pytest
import torch

from seqgan.lm import grammar
from seqgan.lm.choosing import Choice
from seqgan.lm.health import Outside, divergence_of, health, shortcuts
from seqgan.lm.task import there
from seqgan.lm.variants import VARIANTS
from seqgan.metrics.grams import number_words
from seqgan.metrics.kneser_ney import KneserNey
from tests.seqgan.lm.toys import TINY, engine, task


def outside() -> tuple[Outside, list[list[str]], list[list[str]]]:
    learned, held, said = (grammar.VOCABULARY.decode(grammar.draw(400, seed=seed), 0) for seed in (1, 2, 3))
    words = tuple(number_words(learned, held))
    return Outside(KneserNey(learned, words), words, held), held, said


def test_hacking_and_collapse_both_cost() -> None:
    measure, _, said = outside()
    fine = measure(said)
    hacked = measure([["the", "fox", "fox", "fox"]] * 200 + said[:200])
    collapsed = measure(said[:1] * 400)
    assert fine < hacked - 0.3
    assert fine < collapsed - 0.3


def test_a_row_of_scores_counts_different_right_sentences() -> None:
    the = task()
    said = ["the fox sees a fox", "the fox sees a fox", "the fox fox", "the dog sees a cat"]
    rows = grammar.VOCABULARY.encode([("", line.split()) for line in said], grammar.LENGTH)
    found = the.scores(rows)
    assert found["verified"] == pytest.approx((2 / 3 + 2 / 3 + 2 / 3 + 0) / 4)
    assert found["grammatical"] == 0.75
    assert found["verified_right"] == 0.25


def test_shortcuts_by_hand() -> None:
    the = task()
    real = torch.tensor([[1, 8, 0, 0], [1, 8, 0, 0], [1, 8, 9, 0], [1, 8, 9, 9]])
    fake = torch.tensor([[1, 8, 9, 9], [1, 8, 9, 9], [1, 8, 9, 0], [1, 8, 0, 0]])
    found = shortcuts(fake, real, the)
    assert found["shortcut/end"] == pytest.approx(0.5 + 0.25 / 2)  # three in four of the real rows end, two of the fake
    assert found["shortcut/length"] == pytest.approx(0.5 + 0.25 / 2)
    same = shortcuts(real, real, the)
    assert same == {"shortcut/length": 0.5, "shortcut/end": 0.5}


def test_what_a_judge_reads() -> None:
    rows = torch.tensor([[0, 5, 6, 0, 0], [0, 0, 6, 7, 8], [4, 5, 0, 0, 0], [4, 0, 6, 0, 0]])
    expected = torch.tensor([[0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).bool()
    assert there(rows, end=0, prompt=2).equal(expected)


def test_a_policy_that_has_not_moved_is_not_apart_from_its_start() -> None:
    learner = VARIANTS["gad"].players(TINY, task(), engine())
    learner.begin()
    rows = learner.task.shown.train  # type: ignore[attr-defined]
    assert divergence_of(rows, learner.generator, learner.start) == 0
    with torch.no_grad():
        learner.generator.head.bias[0] += 1.0
    assert divergence_of(rows, learner.generator, learner.start) != 0


def test_a_look_at_the_game_changes_nothing_and_repeats() -> None:
    the = task(prompt=2)
    learner = VARIANTS["gad"].players(TINY, the, engine())
    learner.begin()
    words = tuple(number_words(the.text.learned, the.shown.tested))
    measure = Outside(KneserNey(the.shown.learned, words), words, the.shown.sentences(the.shown.valid))
    state = torch.get_rng_state()
    one, two = (health(learner, the, measure, samples=50, seed=5) for _ in range(2))
    assert torch.get_rng_state().equal(state)
    assert one == two
    assert {"outside", "nll_valid", "kl", "self_bleu_3", "distinct_2", "verified", "d/held_out"} <= one.keys()
    assert one["kl"] == 0
    assert all(map(math.isfinite, one.values()))


def test_the_choice_is_the_lowest_measure_whatever_came_later() -> None:
    learner = VARIANTS["sft"].players(replace(TINY, sft_lr=0.1), task(), engine())
    choice, kept = Choice(learner.generator), {}
    for round_, loss in enumerate([3.0, 1.0, 2.0, 1.5]):
        choice.measure(learner.generator, loss, round_)
        kept[round_] = learner.generator.head.weight.detach().clone()
        learner.round()
    assert (choice.round, choice.waited, choice.loss) == (1, 2, 1.0)
    assert choice.weights["head.weight"].equal(kept[1])
    other = Choice(learner.generator)
    other.load_state_dict(choice.state_dict())
    assert (other.round, other.waited) == (1, 2)
