"""The paired test: by enumeration, by its error rate, and on stored runs."""

import json
from pathlib import Path

import pytest
import torch

from experiments import irgan, paired
from rl.runtime import InputError
from tests.experiments.retrieval_files import letor_files

QUICK = (
    "--data=synthetic", "--steps=1", "--pretrain-epochs=1", "--d-epochs=1", "--g-epochs=1",
)  # fmt: skip


def test_all_signs_by_hand() -> None:
    # sums of +-1 +-2 +-4: 7 5 3 1 and their negatives; 5 is reached by 4 of 8
    assert paired.sign_flip(torch.tensor([1.0, 4.0, 2.0])) == 2 / 8
    assert paired.sign_flip(torch.tensor([-1.0, 4.0, 2.0])) == 4 / 8
    assert paired.sign_flip(torch.tensor([1.0, -1.0])) == 1.0
    assert paired.sign_flip(torch.zeros(5)) == 1.0


def test_the_sign_of_all_changes_nothing() -> None:
    differences = torch.randn(12, generator=torch.Generator().manual_seed(0)) + 0.3
    assert paired.sign_flip(differences) == paired.sign_flip(-differences)


def test_random_flips_agree_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = torch.randn(14, generator=torch.Generator().manual_seed(1)) + 0.5
    exact = paired.sign_flip(differences)
    monkeypatch.setattr(paired, "MOST_ENUMERATED", 0)
    assert paired.sign_flip(differences) == pytest.approx(exact, abs=4 * (exact / paired.FLIPS) ** 0.5 + 1e-5)


def test_equal_methods_are_told_apart_as_seldom_as_it_says() -> None:
    # 400 tests at alpha = .1: 40 +- 4.5 standard deviations of 6
    generator = torch.Generator().manual_seed(2)
    found = [paired.sign_flip(torch.randn(40, generator=generator), flips=500) <= 0.1 for _ in range(400)]
    assert 13 <= sum(found) <= 67


def test_what_is_always_better_is_found() -> None:
    assert paired.sign_flip(torch.full((30,), 0.1)) == pytest.approx(1 / (paired.FLIPS + 1), abs=1e-5)


def test_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = torch.randn(20, generator=torch.Generator().manual_seed(3)) + 0.2
    whole = paired.sign_flip(differences, flips=999)
    monkeypatch.setattr(paired, "AT_ONCE", 20 * 37)
    assert paired.sign_flip(differences, flips=999) == whole


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    made = []
    for variant, quick in (("irgan", QUICK), ("popularity", QUICK[:1])):
        made.append(folder / variant)
        irgan.main([variant, *quick, f"--run-dir={made[-1]}"])
    return made


def test_stored_runs(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    paired.main(["--ours", *map(str, runs), "--theirs", str(runs[1]), "--metric", "ndcg@5"])
    said = capsys.readouterr().out
    worth = [paired.per_query(run, "ndcg@5") for run in runs]
    mean = [sum(one.values()) / len(one) for one in worth]
    assert f"ndcg@5: {(mean[0] + mean[1]) / 2:.4f} against {mean[1]:.4f}" in said
    assert f"queries: {len(worth[0])}, " in said


def test_rankings_of_all_that_was_judged_are_worth_what_was_measured(tmp_path: Path) -> None:
    flags = ["mle", *letor_files(tmp_path), "--pretrain-epochs=1", f"--run-dir={tmp_path / 'run'}"]
    irgan.main(flags)
    worth = paired.per_query(tmp_path / "run", "map").values()
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert sum(worth) / len(worth) == pytest.approx(summary["map"], abs=1e-6)


def test_a_run_against_itself(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    paired.main(["--ours", str(runs[0]), "--theirs", str(runs[0]), "--metric", "p@5"])
    assert "better 0, worse 0\np = 1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ours", "{run}", "--theirs", "{run}", "--metric", "mpa"], "no such metric; did you mean 'map'"),
        (["--ours", "{run}", "--theirs", "{run}/nothing", "--metric", "p@5"], "nothing"),
        (["--ours", "{run}"], "theirs"),
        (["--ours", "{run}", "--theirs", "{run}"], "--metric map: .*test.run does not hold all documents; take one"),
        (["--ours", "{run}", "--theirs", "{run}", "--metric", "mrr"], "--metric mrr: .* does not hold all documents"),
    ],
)
def test_bad_input_is_one_line(runs: list[Path], arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        paired.main([argument.format(run=runs[0]) for argument in arguments])
    assert "\n" not in str(raised.value)
