"""What an imitation run leaves behind, from runs of a second."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from experiments import gail, gail_results
from experiments.gail_results import counted, shrunk, solved
from experiments.gail_setup import Cast, Experiment
from rl.control import evaluation
from rl.control.learned_reward import LearnedReward
from rl.runtime import Engine
from rl.runtime.errors import Stopped
from tests.experiments.helpers import succeed

TINY = (  # noqa: SIM905
    "--steps 512 --envs 4 --horizon 32 --hidden 8 --d-hidden 8 --d-batch 16 --evaluate-every 256 --evaluate-episodes 2 "
    "--final-episodes 3 --save-seconds 1000 --runtime.device cpu"
).split()


def start(variant: str, *flags: str) -> tuple[Experiment, Cast]:
    e = gail.parse([variant, *TINY, *flags])
    return e, Cast(e, Engine(e.runtime, e.seed))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    succeed(gail.main, "airl", *TINY, "--run-dir", run)
    return run


def row(step: int, value: float | None, **more: Any) -> dict[str, Any]:
    return {"step": step, "return_mean": value, "cpu_seconds": step / 10} | more


def test_solved_is_the_third_good_measurement_in_a_row() -> None:
    good = [row(1, 475.0), row(2, 480.0), row(3, 474.9), row(4, 500.0), row(5, 475.0), row(6, 475.0), row(7, 500.0)]
    assert solved(good, 475.0) == {"solved_env_steps": 6.0, "solved_cpu_seconds": 0.6}
    assert solved(good[:5], 475.0) == {}
    assert solved([], 475.0) == {}


def test_rows_without_a_measurement_do_not_break_a_row() -> None:
    rows = [row(1, 9.0), {"step": 2, "loss": 1.0}, row(3, 9.0), row(4, None), row(5, 9.0)]
    assert solved(rows, 8.0)["solved_env_steps"] == 5.0
    # A clone is measured before any step, and has no CPU seconds yet.
    assert solved([{"step": 0, "return_mean": 9.0}, row(1, 9.0), row(2, 9.0)], 8.0)["solved_cpu_seconds"] == 0.2


def test_summary_counts_only_what_was_measured_by_its_step(tmp_path: Path) -> None:
    e, cast = start("gail-constant", "--final-episodes", "1")
    rows = [row(step, 477.0) for step in (40, 80, 120, 160)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    assert "solved_env_steps" not in gail_results.summarise(tmp_path, e, cast)
    cast.collector.steps = 30  # of four environments
    summary = gail_results.summarise(tmp_path, e, cast)
    # 5 % of the way from 500 to about 20 are 24, so 476 will do.
    assert summary["return_expert"] == 500
    assert 15 < summary["return_random"] < 30
    assert summary["solved_env_steps"] == 120
    assert summary["env_steps"] == 120
    share = (summary["return_mean"] - summary["return_random"]) / (500 - summary["return_random"])
    assert summary["return_normalised"] == pytest.approx(share)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    low = [row(step, 475.0) for step in (40, 80, 120)]  # 5 % below the expert, not 5 % of the way
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in low))
    assert "solved_env_steps" not in gail_results.summarise(tmp_path, e, cast)


def test_groups_are_counted_between_common_edges() -> None:
    found = counted({"a": torch.tensor([0.0, 0.0, 6.0]), "b": torch.tensor([3.0]), "c": torch.zeros(0)})
    assert (found["edges"][0], found["edges"][-1], len(found["edges"])) == (0.0, 6.0, gail_results.BINS + 1)
    assert {name: sum(counts) for name, counts in found["counts"].items()} == {"a": 3, "b": 1, "c": 0}
    assert (found["counts"]["a"][0], found["counts"]["a"][-1]) == (2, 1)
    assert found["counts"]["b"][gail_results.BINS // 2] == 1
    assert sum(counted({"a": torch.full((4,), 2.5)})["counts"]["a"]) == 4


def test_film_is_a_strip_and_a_gif(finished: Path) -> None:
    with Image.open(finished / "samples" / "film.png") as strip:
        assert strip.size == (8 * gail_results.FRAME_WIDTH, 200)
    with Image.open(finished / "samples" / "agent.gif") as film:
        assert film.n_frames > 1
    assert '<img src="data:image/png;base64,' in (finished / "report.html").read_text()


def test_frames_are_made_small_and_small_ones_left_alone() -> None:
    assert shrunk(np.zeros((400, 600, 3), np.uint8)).shape == (200, 300, 3)
    small = np.zeros((48, 300, 3), np.uint8)
    assert shrunk(small) is small


def test_what_goes_wrong_with_a_film_is_said_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    e, cast = start("gail")

    def fail(error: Exception) -> Any:
        def frames(*_: Any) -> list[np.ndarray]:
            raise error

        return frames

    monkeypatch.setattr(evaluation, "frames", fail(RuntimeError("no\ndriver")))
    gail_results.keep_film(tmp_path / "samples", e, cast)
    assert "CartPole-v1: no film: RuntimeError: no driver" in capsys.readouterr().err
    monkeypatch.setattr(evaluation, "frames", lambda *_: [])
    gail_results.keep_film(tmp_path / "samples", e, cast)
    assert not (tmp_path / "samples").exists()
    monkeypatch.setattr(evaluation, "frames", fail(Stopped(2)))
    with pytest.raises(Stopped):
        gail_results.keep_film(tmp_path / "samples", e, cast)


def test_histograms_count_the_experts_pairs_and_the_agents_steps(finished: Path) -> None:
    found = json.loads((finished / "histograms.json").read_text())
    envs, steps = gail_results.JUDGED
    _, cast = start("airl")
    pairs = cast.pairs.steps.rows
    assert sum(found["logits"]["counts"]["expert"]) == min(pairs, envs * steps)
    # CartPole resets in a step of its own after each end, and those are nobody's steps.
    agent = sum(found["logits"]["counts"]["agent"])
    ends = sum(found["rewards"]["counts"]["terminated"])
    assert agent == ends + sum(found["rewards"]["counts"]["others"])
    assert ends > 0
    assert envs * steps - ends - envs <= agent <= envs * steps - ends + envs


def test_logits_are_the_sources_own_and_rewards_tell_terminations(monkeypatch: pytest.MonkeyPatch) -> None:
    e, cast = start("gail")
    source: Any = cast.source
    source.ending = 1000.0
    source.minus = lambda steps: torch.full(steps.terminated.shape, 5.0)  # in what the discriminator learns by, unpaid
    monkeypatch.setattr(type(source), "potential", lambda self, steps: torch.full(steps.terminated.shape, 2.0))
    monkeypatch.setattr(gail_results, "JUDGED", (2, 200))
    found = gail_results.histograms(e, cast, source)
    assert found["logits"]["edges"][0] < 2 - 5 < found["logits"]["edges"][-1] < 2
    # softplus(2) = 2.127, and what follows a termination besides.
    assert found["rewards"]["edges"][0] == pytest.approx(2.127, abs=1e-3)
    assert found["rewards"]["edges"][-1] == pytest.approx(1002.127, abs=1e-3)
    assert found["rewards"]["counts"]["others"][-1] == 0
    assert found["rewards"]["counts"]["terminated"][0] == 0
    assert found["rewards"]["counts"]["terminated"][-1] > 0


def test_histograms_leave_training_as_it_was() -> None:
    e, cast = start("gail")
    before, mode = torch.get_rng_state(), cast.discriminator.training
    gail_results.histograms(e, cast, cast.source)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)
    assert cast.discriminator.training == mode
    assert cast.collector.steps == 0


def test_reward_of_airl_depends_on_the_state_alone(finished: Path) -> None:
    reward = LearnedReward.load(finished / "reward")
    _, cast = start("airl")
    steps = cast.demonstrations.steps.take(torch.arange(50))
    assert torch.equal(reward(steps), reward(steps._replace(actions=1 - steps.actions, next_obs=steps.obs)))
    assert reward(steps).unique().numel() > 1


def test_reward_pays_what_the_source_pays() -> None:
    e, cast = start("gail", "--d-limit", "0.05")
    cast.agent.encoder.add(cast.demonstrations.steps.obs)
    source: Any = cast.source
    source.ending = 7.0
    steps = cast.demonstrations.steps.take(torch.arange(50))
    steps = steps._replace(terminated=torch.arange(50) % 2 == 0)
    cast.discriminator.eval()
    torch.testing.assert_close(gail_results.learned_reward(e, cast, source)(steps), source.reward()(steps))


def test_a_run_without_a_discriminator_keeps_neither_histograms_nor_reward(tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeed(gail.main, "gail-constant", *TINY, "--no-film", "--run-dir", run)
    assert {"summary.json", "report.html"} <= {path.name for path in run.iterdir()}
    assert not {"histograms.json", "reward", "samples"} & {path.name for path in run.iterdir()}
    assert "<h2>Discriminator</h2>" not in (run / "report.html").read_text()


def test_cloning_alone_has_judged_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    succeed(gail.main, "bc", *TINY, "--steps", 0, "--clone-updates", 3, "--no-film", "--run-dir", run)
    assert not {"histograms.json", "reward"} & {path.name for path in run.iterdir()}
    assert json.loads((run / "summary.json").read_text())["env_steps"] == 0


def test_summary_of_a_run_is_printed_and_complete(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["env_steps"] == 512
    assert {"return_mean", "return_std", "return_expert", "return_random", "return_normalised"} <= summary.keys()
    assert summary["env_steps_per_second"] == pytest.approx(512 / summary["cpu_seconds"])
