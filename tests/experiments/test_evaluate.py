"""What a run measured at its end can be measured again from its checkpoint, to the last bit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments import evaluate, gail, text_gan
from rl.runtime import checkpoints
from tests.experiments.helpers import TINY, call, succeed


def numbers(path: Path) -> dict[str, float]:
    content: dict[str, float] = json.loads(path.read_text())
    content.pop("sentences_per_second")
    return content


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    succeed(text_gan.main, "seqgan", *TINY, "--mle-lr", 0.1, "--run-dir", run)
    return run


def test_a_summary_is_computed_again_from_the_last_checkpoint(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    curves = json.loads((run / "curves.json").read_text())
    for name in ("summary.json", "curves.json"):
        (run / name).unlink()
    out = succeed(evaluate.main, run, "--json", tmp_path / "numbers.json")
    assert numbers(run / "summary.json") == numbers(finished / "summary.json")
    assert json.loads((run / "curves.json").read_text()) == curves
    assert numbers(tmp_path / "numbers.json") == numbers(finished / "summary.json")
    newest = checkpoints.newest(run)
    assert out.startswith(f"checkpoint: {newest}\ntensors: {checkpoints.fingerprint(newest)}\nnll_test ")


def test_an_imitators_summary_is_computed_again_from_a_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "run"
    sizes = (  # noqa: SIM905
        "--steps 512 --envs 4 --horizon 32 --hidden 8 8 --d-hidden 8 --d-batch 16 --evaluate-every 256 "
        "--evaluate-episodes 2 --final-episodes 2 --save-seconds 1000 --no-film --runtime.device cpu"
    ).split()
    succeed(gail.main, "airl", *sizes, "--run-dir", run)
    before = json.loads((run / "summary.json").read_text())
    (run / "summary.json").unlink()
    out = succeed(evaluate.main, run)
    found = json.loads((run / "summary.json").read_text())
    assert found.keys() == before.keys()
    timed = ("cpu_seconds", "env_steps_per_second")  # the clock went on after the checkpoint was written
    assert {k: v for k, v in found.items() if k not in timed} == {k: v for k, v in before.items() if k not in timed}
    assert found["cpu_seconds"] == pytest.approx(before["cpu_seconds"], rel=0.5)
    assert f"return_mean              {found['return_mean']:.4f}" in out
    succeed(evaluate.main, run, "--step", 0)
    assert json.loads((run / "summary.json").read_text())["env_steps"] == 0


def test_an_earlier_step_is_measured_where_it_is_named(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    succeed(evaluate.main, run, "--step", 2)  # where the adversarial rounds start
    summary, final = numbers(run / "summary.json"), numbers(finished / "summary.json")
    assert summary["nll_test"] == summary["mle/nll_test"] == final["mle/nll_test"]
    assert summary["nll_test"] != final["nll_test"]


def test_evaluating_trains_nothing(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = {path: path.read_bytes() for path in run.glob("checkpoints/*/*")}
    succeed(evaluate.main, run)
    assert {path: path.read_bytes() for path in run.glob("checkpoints/*/*")} == before
    assert (run / "metrics.jsonl").read_bytes() == (finished / "metrics.jsonl").read_bytes()


def test_a_uniform_oracle_has_the_floor_that_the_ceiling_has(tmp_path: Path) -> None:
    arrays = {"embedding": np.zeros((7, 4)), "W_out": np.zeros((3, 7)), "b_out": np.zeros(7)}
    for gate in "ifoc":
        arrays |= {f"W_{gate}": np.zeros((4, 3)), f"U_{gate}": np.zeros((3, 3)), f"b_{gate}": np.zeros(3)}
    np.savez(tmp_path / "o.npz", **arrays)
    path = tmp_path / "numbers.json"
    succeed(evaluate.main, "--oracle-params", tmp_path / "o.npz", "--sequences", 50, "--length", 5, "--json", path)
    found = json.loads(path.read_text())
    assert found["floor"] == found["uniform"] == pytest.approx(np.log(7), abs=1e-6)
    assert found["floor_interval"] == pytest.approx(0, abs=1e-6)


def test_files_are_scored_against_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a b c d e\nf g h i j\n")
    out = succeed(evaluate.main, "--samples", tmp_path / "a.txt", "--references", tmp_path / "a.txt")
    scores = dict(line.split() for line in out.splitlines())
    assert scores["bleu_5"] == "1.0000"
    assert scores["distinct_1"] == "1.0000"


def test_a_checkpoint_that_lacks_a_part_is_no_traceback(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.rmtree(run / "checkpoints")
    checkpoints.save(run, 7, {})
    ended = call(evaluate.main, run)
    assert ended.code == 2
    assert ended.err == f"error: {run}/checkpoints/step-7/d_optimizer.json: the checkpoint lacks this part\n"
