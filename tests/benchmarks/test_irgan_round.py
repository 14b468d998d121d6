import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import irgan_round, naive_irgan
from benchmarks.irgan_round import Config
from rl.retrieval import fast_factors
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors

LIKED = {0: [1, 4], 2: [0, 3, 5], 3: [2]}
QUERIES, DOCUMENTS = 4, 6


def positives() -> Relevance:
    pairs = torch.tensor([(query, document) for query, documents in LIKED.items() for document in documents])
    return Relevance.of(pairs[:, 0], pairs[:, 1], torch.ones(len(pairs)), QUERIES)


def factors(seed: int) -> Factors:
    torch.manual_seed(seed)
    model = Factors(QUERIES, DOCUMENTS, 3, scale=1.0).double()
    torch.nn.init.normal_(model.bias)
    return model


def assert_same_weights(one: Factors, other: Factors, tolerance: float) -> None:
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def test_both_discriminators_take_the_same_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naive_irgan, "PAIRS", 3)
    monkeypatch.setattr(naive_irgan, "DECAY", 0.1 / 3)
    path = tmp_path / "negatives.txt"
    np.random.seed(0)
    naive_irgan.write_negatives(factors(1), LIKED, path)
    rows = torch.tensor([[int(word) for word in line.split()] for line in path.read_text().splitlines()])
    known, slow, fast = positives(), factors(2), factors(2)
    assert torch.equal(rows[:, 0], known.query)
    assert torch.equal(rows[:, 1], known.ids)
    naive_irgan.discriminator_epoch(slow, path, len(rows), rate=0.1)
    # batches of 3 pairs: the L2 term of .1 / 3 counts 6 times
    fast_factors.discriminator_epoch(fast, known, rows[:, 2], rate=0.1, decay=0.2, chunk=3)
    assert_same_weights(fast, slow, 1e-12)


def test_both_generators_take_the_same_step_on_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    known, judge, slow, fast = positives(), factors(1), factors(2), factors(2)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def pay(query: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        seen.append((query, ids))
        return 2 * judge.score(query, ids[:, None]).detach().sigmoid()[:, 0] - 1

    rate = 1e-6  # theirs goes from user to user, which is the same in first order
    fast_factors.generator_epoch(fast, pay, known, rate=rate)
    query, ids = seen[0]
    drawn = iter([ids[query == user].numpy() for user in LIKED])
    monkeypatch.setattr(np.random, "choice", lambda *arguments, **rest: next(drawn))
    naive_irgan.generator_epoch(slow, judge, LIKED, rate=rate)
    assert_same_weights(fast, slow, 1e-11)
    with pytest.raises(AssertionError):
        assert_same_weights(fast, factors(2), 1e-8)


def test_their_negatives_follow_the_tempered_softmax(tmp_path: Path) -> None:
    """30,000 draws; chi-squared at error rate 1e-4 with 5 degrees of freedom."""
    np.random.seed(0)
    model, path = factors(1), tmp_path / "negatives.txt"
    naive_irgan.write_negatives(model, {2: [1] * 30_000}, path, temperature=0.8)
    found = torch.tensor([int(line.split()[2]) for line in path.read_text().splitlines()])
    expected = 30_000 * (model.score_all(torch.tensor([2]))[0] / 0.8).softmax(0).detach()
    assert float(((torch.bincount(found, minlength=DOCUMENTS) - expected).square() / expected).sum()) < 25.7


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"USERS": 12, "ITEMS": 30, "LIKED": 6, "TESTED": 8, "D_EPOCHS": 10, "G_EPOCHS": 10}.items():
        monkeypatch.setattr(irgan_round, name, size)
    monkeypatch.setattr(irgan_round.catalogue, "__defaults__", (12, 30))
    monkeypatch.setattr(irgan_round, "GROWTH", ((12, 30, 2), (24, 60, 3)))


def test_the_report_has_the_round_and_the_metrics(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    irgan_round.main(Config(json=tmp_path / "out.json", million=False, repeats=1))
    found = json.loads((tmp_path / "out.json").read_text())
    assert {"speedup/outer_round", "seconds/outer_round", "seconds/metrics_8_users"} <= found.keys()
    assert found["seconds_other/outer_round"] > found["seconds/outer_round"]


def test_the_round_reads_ratings(tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{user}\t{item}\t{5 if (user + item) % 3 else 1}" for user in range(6) for item in range(0, 20, 2)]
    (tmp_path / "ratings.txt").write_text("\n".join(lines) + "\n")
    irgan_round.main(Config(data=tmp_path / "ratings.txt", million=False, repeats=1))
    assert "6 users, 19 items" in capsys.readouterr().out


def test_growth_has_a_row_for_each_size(tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    irgan_round.main(Config(growth=True, repeats=1))
    assert len(capsys.readouterr().out.splitlines()) == 4
