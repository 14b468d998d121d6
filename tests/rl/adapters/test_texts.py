"""The forms that OpenRLHF and verl call, and the service behind which other processes find the reward."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import uvicorn
from fastapi.testclient import TestClient

from rl.adapters import openrlhf, verl
from rl.adapters.adversarial_reward import AdversarialReward, Learning
from rl.adapters.client import Client
from rl.adapters.service import app_of
from rl.adapters.texts import Here
from rl.runtime import InputError
from tests.rl.adapters.bags import END, WORDS, Bag, Words, equal, state_of

TOKEN = "a-token-long-enough"
ADMITTED = {"Authorization": f"Bearer {TOKEN}"}
PROMPTS, SAID, TOLD = ["a b", "c"], ["d", "e e"], ["f", "g"]
BODY = {"prompts": PROMPTS, "completions": SAID, "demonstrations": TOLD}
pytestmark = pytest.mark.filterwarnings("ignore:.*httpx.*:DeprecationWarning")


def reward_of(**changes: Any) -> AdversarialReward:
    given: dict[str, Any] = {
        "demonstrations": "demonstrations", "learning": Learning(held_out=0, replay=0, rate=1e-2),
    } | changes  # fmt: skip
    return AdversarialReward(given.pop("judge", None) or Bag(), Words(), **given)


def by_hand(judge: torch.nn.Module) -> list[float]:
    rows = [[3, 4, 6, END], [5, 7, 7, END]]
    logits = [judge(torch.tensor([row]), torch.ones(1, 4, dtype=torch.bool)) for row in rows]
    return torch.cat(logits).sigmoid().tolist()


def test_openrlhf_gets_rewards_scores_and_logs() -> None:
    reward = reward_of()
    before, expected = state_of(reward.discriminator), by_hand(reward.discriminator)
    queries = [f"{prompt} {said}" for prompt, said in zip(PROMPTS, SAID, strict=True)]
    told = openrlhf.of(Here(reward), learn=False)(queries, PROMPTS, TOLD, unknown="option")
    assert told["rewards"].tolist() == pytest.approx(expected)
    assert told["scores"].tolist() == pytest.approx(expected)
    assert torch.equal(told["extra_logs"]["adversarial_reward"], told["rewards"])
    assert equal(before, state_of(reward.discriminator))
    told = openrlhf.of(Here(reward), learn=True)(queries, PROMPTS, TOLD)
    assert told["rewards"].tolist() == pytest.approx(expected)
    assert not equal(before, state_of(reward.discriminator))
    with pytest.raises(ValueError, match="query 1 does not begin with its prompt"):
        openrlhf.of(Here(reward), learn=True)(["a b d", "d"], PROMPTS, TOLD)
    finished = openrlhf.of(Here(reward_of()), learn=False)(["a b d </s>", "c e e"], PROMPTS, TOLD)
    assert finished["rewards"].tolist() == pytest.approx(expected)  # an end that the text has is not doubled


def test_verl_gets_scores_a_batch_or_one_by_one() -> None:
    reward = reward_of()
    before, expected = state_of(reward.discriminator), by_hand(reward.discriminator)
    infos = [{"prompt": prompt} for prompt in PROMPTS]
    one = verl.single(Here(reward))
    found = [one("set", *row, extra_info=info) for *row, info in zip(SAID, TOLD, infos, strict=True)]
    assert found == pytest.approx(expected)
    assert equal(before, state_of(reward.discriminator))
    told = verl.batch(Here(reward))(
        data_sources=["set"] * 2, solution_strs=SAID, ground_truths=TOLD, extra_infos=infos, unknown="option"
    )
    assert [score["score"] for score in told] == pytest.approx(expected)
    assert not equal(before, state_of(reward.discriminator))
    with pytest.raises(ValueError, match="extra info 0 has no 'question'"):
        verl.batch(Here(reward), prompt="question")(["set"], ["d"], ["f"], [{"prompt": "a"}])


def test_labels_that_are_none_leave_it_to_a_pool() -> None:
    pool = [{"prompt": "a", "completion": "h"}]
    told = openrlhf.of(Here(reward_of(demonstrations=pool)), learn=True)(["a d"], ["a"], [None])
    assert told["rewards"].shape == (1,)
    with pytest.raises(InputError, match="no column 'demonstrations'"):
        openrlhf.of(Here(reward_of()), learn=True)(["a d"], ["a"], [None])


def service(reward: AdversarialReward, **changes: Any) -> TestClient:
    return TestClient(app_of(reward, TOKEN, vocabulary=len(WORDS), **changes))


def test_the_service_scores_and_updates() -> None:
    reward = reward_of()
    before, expected, learned = state_of(reward.discriminator), by_hand(reward.discriminator), []
    asked = service(reward, learned=lambda: learned.append(reward.generations))
    answer = asked.post("/score", json=BODY, headers=ADMITTED)
    assert answer.status_code == 200
    assert answer.json() == {"rewards": pytest.approx(expected), "metrics": {}}
    assert equal(before, state_of(reward.discriminator))
    answer = asked.post("/score_and_update", json=BODY, headers=ADMITTED)
    assert answer.json()["rewards"] == pytest.approx(expected)
    assert answer.json()["metrics"]["d/loss"] > 0
    assert not equal(before, state_of(reward.discriminator))
    assert asked.get("/health").json() == {"status": "ok", "generations": 1}
    assert learned == [1]
    ids = BODY | {"prompts": [[3, 4], [5]], "completions": [[6, END], [7, 7, END]]}
    fresh = service(reward_of())
    assert fresh.post("/score", json=ids, headers=ADMITTED).json()["rewards"] == pytest.approx(expected)
    cut = BODY | {"completions": [[6], [7, 7]]}
    assert fresh.post("/score", json=cut, headers=ADMITTED).json()["rewards"] != pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("where", ["/score", "/score_and_update", "/docs", "/openapi.json", "/nowhere"])
@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {TOKEN}s"}, {"Authorization": f"Basic {TOKEN}"}],
)
def test_nobody_enters_without_the_token(where: str, headers: dict[str, str]) -> None:
    answer = service(reward_of()).post(where, content=b"no json, and not read", headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"detail": "a bearer token is required"}
    assert answer.headers["www-authenticate"] == "Bearer"


def test_bodies_are_bounded_before_they_are_read() -> None:
    asked = service(reward_of(), most_bytes=200)
    answer = asked.post("/score", content=b" " * 201, headers=ADMITTED)
    assert (answer.status_code, answer.json()["detail"]) == (413, "the body has 201 bytes, at most 200 are read")
    answer = asked.post("/score", content=iter([b" " * 500]), headers=ADMITTED)
    assert answer.status_code == 411
    assert asked.post("/score", json=BODY, headers=ADMITTED).status_code == 200


CHAT = b'{"role": "u", "content": "a"}'
BAD = [
    (b"{", "JSON decode error"),
    (b"{}", "prompts: Field required"),
    (b'{"prompts": [], "completions": []}', "prompts: List should have at least 1 item"),
    (b'{"prompts": ["a"], "completions": []}', "1 prompts, 0 completions, 1 demonstrations"),
    (b'{"prompts": ["a"], "completions": ["b"], "demonstrations": ["c", "d"]}', "1 prompts, 1 completions, 2 demon"),
    (b'{"prompts": ["a"], "completions": [1.5]}', "completions.0"),
    (b'{"prompts": ["a"], "completions": ["b"], "model": "x"}', "model: Extra inputs are not permitted"),
    (b'{"prompts": ["a"], "completions": ["b"]}', "no column 'demonstrations'"),
    (b'{"prompts": [[99]], "completions": ["b"], "demonstrations": ["c"]}', "id 99: there are 11, from 0"),
    (b'{"prompts": ["a"], "completions": [[-1]], "demonstrations": ["c"]}', "id -1: there are 11, from 0"),
    (b'{"prompts": ["a"], "completions": [[CHAT]], "demonstrations": ["c"]}', "a chat as the completion of a prompt"),
    (b'{"prompts": [[3]], "completions": ["b"], "demonstrations": [[CHAT]]}', "a chat as the completion of a prompt"),
    (b'{"prompts": [[{"content": "a"}]], "completions": ["b"], "demonstrations": ["c"]}', "a message has a role and"),
    (b'{"prompts": [[{"role": "u"}]], "completions": ["b"], "demonstrations": ["c"]}', "a message has a role and"),
    (b'{"prompts": [[CHAT]], "completions": ["b"], "demonstrations": [[{"role": "u"}]]}', "a message has a role and"),
    (
        b'{"prompts": [[{"role": "", "content": "a"}]], "completions": ["b"], "demonstrations": ["c"]}',
        "chat template: ",
    ),
]


@pytest.mark.parametrize(("body", "message"), BAD)
def test_what_is_wrong_with_a_request_is_said_in_one_line(body: bytes, message: str) -> None:
    reward = reward_of()
    before = state_of(reward.discriminator)
    answer = service(reward).post(
        "/score_and_update",
        content=body.replace(b"CHAT", CHAT),
        headers=ADMITTED | {"Content-Type": "application/json"},
    )
    assert answer.status_code == 422
    assert message in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert equal(before, state_of(reward.discriminator))


def test_a_discriminator_that_is_lost_says_so() -> None:
    reward = reward_of()
    with torch.no_grad():
        reward.discriminator.line.bias.fill_(float("inf"))
        reward.discriminator.line.weight.fill_(float("nan"))
    answer = service(reward).post("/score", json=BODY, headers=ADMITTED)
    assert answer.status_code == 500
    assert "no finite number" in answer.json()["detail"]


def test_a_token_must_be_long() -> None:
    with pytest.raises(ValueError, match="4 characters are guessed too easily"):
        app_of(reward_of(), "abcd", vocabulary=11)


@pytest.fixture
def served() -> Iterator[tuple[str, AdversarialReward]]:
    reward = reward_of()
    server = uvicorn.Server(
        uvicorn.Config(app_of(reward, TOKEN, vocabulary=len(WORDS)), port=0, log_level="warning", ws="none")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", reward
    server.should_exit = True
    thread.join()


def test_a_client_stands_in_for_the_reward(served: tuple[str, AdversarialReward]) -> None:
    url, reward = served
    expected, client = by_hand(reward.discriminator), Client(url + "/", TOKEN)
    assert client.score(PROMPTS, SAID, TOLD) == pytest.approx(expected)
    assert reward.generations == 0
    infos = [{"prompt": prompt} for prompt in PROMPTS]
    told = verl.batch(client)(["set"] * 2, SAID, TOLD, infos)
    assert [score["score"] for score in told] == pytest.approx(expected)
    queries = [f"{prompt} {said}" for prompt, said in zip(PROMPTS, SAID, strict=True)]
    openrlhf.of(client, learn=True)(queries, PROMPTS, TOLD)
    assert reward.generations == 2
    with pytest.raises(InputError, match=r"/score: 422: .*2 prompts, 1 completions"):
        client.score(PROMPTS, ["d"])
    with pytest.raises(InputError, match=r"401: .*bearer token"):
        Client(url, "another token altogether").score(PROMPTS, SAID, TOLD)


def test_updates_of_many_clients_come_one_after_the_other() -> None:
    class Watched(Bag):
        inside, most = 0, 0

        def forward(self, tokens, mask):
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.002)  # lets the other threads in
            self.inside -= 1
            return super().forward(tokens, mask)

    reward = reward_of(judge=Watched())
    with service(reward) as asked:
        many = [
            threading.Thread(target=asked.post, args=("/score_and_update",), kwargs={"json": BODY, "headers": ADMITTED})
            for _ in range(8)
        ]
        for one in many:
            one.start()
        for one in many:
            one.join()
    assert reward.discriminator.most == 1
    assert reward.generations == 8
    alone = Here(reward_of())
    for _ in range(8):
        alone.score_and_update(PROMPTS, SAID, TOLD)
    assert equal(state_of(alone.reward.discriminator), state_of(reward.discriminator))


def test_a_service_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9/score: .*refused"):
        Client("http://127.0.0.1:9", TOKEN).score(PROMPTS, SAID, TOLD)
    with pytest.raises(ValueError, match="begins with http"):
        Client("file:///etc", TOKEN)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: "


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (None, "TimeoutError: timed out"),
        (b"", "RemoteDisconnected: "),
        (b"hello\r\n\r\n", "BadStatusLine: hello"),
        (OK + b"99\r\n\r\n{", "IncompleteRead: "),
        (OK + b"1\r\n\r\n{", "JSONDecodeError: "),
        (OK + b"2\r\n\r\n{}", "KeyError: 'rewards'"),
        (OK + b"2\r\n\r\n[]", "TypeError: list indices"),
    ],
)
def test_a_service_that_does_not_answer_well_is_named(said: bytes | None, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            asked, _ = server.accept()
            with asked:
                while asked.recv(4096)[-1:] not in (b"}", b""):
                    pass
                if said is None:
                    done.wait()
                else:
                    asked.sendall(said)

        done = threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        client = Client(f"http://127.0.0.1:{server.getsockname()[1]}", TOKEN, timeout=0.5 if said is None else 60)
        with pytest.raises(InputError, match=rf"http://127\.0\.0\.1:\d+/score: no answer: {message}") as told:
            client.score(PROMPTS, SAID, TOLD)
        done.set()
        thread.join()
    assert "\n" not in str(told.value)
