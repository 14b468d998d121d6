"""Completions that come one by one, from many threads, are paid and learned from as a generation that comes whole."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from rl.adapters import openrlhf
from rl.adapters.adversarial_reward import AdversarialReward, Learning
from rl.adapters.gathering import Gathering
from rl.adapters.service import app_of
from rl.adapters.texts import Here
from tests.rl.adapters.bags import WORDS, Bag, Words, equal, state_of

TOKEN = "a-token-long-enough"
ROWS = [("a b", said, "f") for said in "cdefgh"] + [("c", said, "g") for said in "abdefh"]
COLUMNS = [list(column) for column in zip(*ROWS, strict=True)]
pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning")


def reward_of(**numbers: Any) -> AdversarialReward:
    learning = Learning(**{"held_out": 0, "rate": 0.1} | numbers)
    return AdversarialReward(Bag(), Words(), demonstrations="demonstrations", learning=learning)


def one_by_one(payer: Here) -> list[float]:
    return [payer.score_and_update(*([part] for part in row))[0] for row in ROWS]


def test_completions_one_by_one_are_one_generation() -> None:
    whole, parts = Here(reward_of()), Gathering(reward_of(), len(ROWS))
    for generation in (1, 2):  # in the second old completions are learned from again
        assert one_by_one(parts) == pytest.approx(whole.score_and_update(*COLUMNS), abs=1e-6)
        assert parts.reward.generations == generation
        assert parts.metrics == whole.metrics
    assert equal(state_of(parts.reward.discriminator), state_of(whole.reward.discriminator))


def test_of_one_prompt_equal_completions_earn_equally() -> None:
    """Where each is learned from by itself, what they earn says who came first."""
    same = [["a b"], ["c"], ["f"]]
    parts = Gathering(reward_of(), 12)
    paid = [parts.score_and_update(*same)[0] for _ in range(13)]
    assert paid[:12] == [paid[0]] * 12
    assert paid[12] != pytest.approx(paid[0], abs=0.01)
    alone = Here(reward_of())
    assert alone.score_and_update(*same) != pytest.approx(alone.score_and_update(*same), abs=0.01)


def test_it_learns_once_enough_have_come_and_not_before() -> None:
    parts = Gathering(reward_of(), 5)
    before, learned = state_of(parts.reward.discriminator), []
    for sent in (2, 2, 3, 4, 1):
        parts.score_and_update(*(column[:sent] for column in COLUMNS))
        learned.append((parts.reward.generations, bool(parts.metrics)))
    assert learned == [(0, False), (0, False), (1, True), (1, False), (2, True)]
    assert not equal(before, state_of(parts.reward.discriminator))


def test_warming_up_counts_generations() -> None:
    parts = Gathering(reward_of(warm_up=1), len(ROWS))
    assert one_by_one(parts) == [0.0] * len(ROWS)
    assert min(one_by_one(parts)) > 0


def test_a_pool_needs_no_demonstrations_with_each() -> None:
    pool = [{"prompt": "a", "completion": "h"}]
    parts = Gathering(AdversarialReward(Bag(), Words(), demonstrations=pool), 2)
    for _ in range(2):
        parts.score_and_update(["a b"], ["c"])
    assert parts.reward.generations == 1


def test_through_the_service_threads_make_one_generation_and_scores_none() -> None:
    class Asks:
        def score(self, *texts: Any) -> list[float]:
            return self._ask("/score", texts)

        def score_and_update(self, *texts: Any) -> list[float]:
            return self._ask("/score_and_update", texts)

        def _ask(self, where: str, texts: Any) -> list[float]:
            body = dict(zip(("prompts", "completions", "demonstrations"), texts, strict=True))
            answer = client.post(where, json=body, headers={"Authorization": f"Bearer {TOKEN}"})
            assert answer.status_code == 200, answer.text
            return answer.json()["rewards"]

    reward, learned = reward_of(), []
    app = app_of(reward, TOKEN, vocabulary=len(WORDS), generation=12, learned=lambda: learned.append(1))
    with TestClient(app) as client, ThreadPoolExecutor(4) as threads:
        for learn, generations in ((True, 1), (False, 1), (True, 2)):
            reward_func = openrlhf.of(Asks(), learn=learn)
            expected = reward.score(dict(zip(("prompts", "completions", "demonstrations"), COLUMNS, strict=True)))
            told = threads.map(lambda row, ask=reward_func: ask([f"{row[0]} {row[1]}"], [row[0]], [row[2]]), ROWS)
            assert [each["rewards"].item() for each in told] == pytest.approx(expected.tolist(), abs=1e-6)
            assert reward.generations == len(learned) == generations
    with pytest.raises(TypeError, match="learn"):
        openrlhf.of(Asks())
