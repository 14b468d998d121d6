"""Both sides of the comparison do the same work, at sizes that are quick."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import irgan_round_million as million
from benchmarks.timing import Measured, Spread, Timing, Work


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    for step, full, small in (
        (million.sampled_step, (1_000_000, 32, 2_048), (500, 4, 64)),
        (million.softmax_step, (1_000_000, 32), (500, 4)),
        (million.softmax_alone, (1_000_000, 32), (500, 4)),
    ):
        assert step.__defaults__ == full
        monkeypatch.setattr(step, "__defaults__", small)
    yield
    torch.set_num_threads(threads)


def test_steps_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    million.repeated(lambda: taken.append(1))()
    assert len(taken) == million.STEPS
    seconds = Measured(Spread((2.0,)), Spread((2.0,)))
    monkeypatch.setattr(million, "paired", lambda ours, theirs, repeats: Timing(seconds, seconds))
    assert [row.timing.speedup() for row in million.million_items(1)] == [million.STEPS] * 2


def test_the_comparison_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(million, "peak_mb", lambda prepare: 1.5)
    million.main(million.Config(repeats=1, json=tmp_path / "result.json"))
    result = json.loads((tmp_path / "result.json").read_text())
    for what in ("million_items", "million_items_forward"):
        assert result[f"speedup/{what}"] == pytest.approx(
            result[f"seconds_other/{what}"] / result[f"seconds/{what}"], rel=1e-6
        )
    assert result["peak_mb/million_items"] == 1.5
    assert result["threads"] == 1


def test_growth_is_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(million, "GROWTH", ((300, 2, 32), (600, 4, 128)))
    million.main(million.Config(growth=True, repeats=1))
    header, _, first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("| 300 | 2 | 32 |")
    assert second.startswith("| 600 | 4 | 128 |")
    assert header.count("|") == first.count("|") == second.count("|")


def test_scores_have_a_spread_of_one_and_candidates_point_the_right_way() -> None:
    players = million.game(20_000, 32, sparse=False)
    scores = players.generator.score_all(players.query)
    assert scores.std().item() == pytest.approx(1, rel=0.1)
    assert million.effective_candidates(players, 2_000) == pytest.approx(2_000 / torch.e, rel=0.2)
    torch.manual_seed(0)
    few, many = (million.cosine(players, candidates) for candidates in (20, 4_000))
    assert few < 0.8 < 0.95 < many


@pytest.mark.parametrize("step", [million.sampled_step, million.softmax_step])
def test_both_sides_climb_the_discriminators_reward(step: Callable[..., Work], monkeypatch: pytest.MonkeyPatch) -> None:
    players = million.game(500, 8, sparse=step is million.sampled_step)
    generator, discriminator, query = players
    monkeypatch.setattr(million, "game", lambda documents, queries, sparse: players)
    monkeypatch.setattr(million, "RATE", 5.0)
    work = step(500, 8)

    def earned() -> float:
        probs = generator.score_all(query).softmax(1)
        return (probs * discriminator.score_all(query).sigmoid()).sum(1).mean().item()

    before = earned()
    for _ in range(20):
        work()
    assert earned() > before + 0.02
    assert not any(weight.grad is not None for weight in discriminator.parameters())
