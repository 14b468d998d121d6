"""What a retrieval run leaves, for every variant and kind of data; that it can be measured again."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import evaluate, irgan, irgan_results, irgan_setup
from rl.retrieval.list_game import ListGame
from rl.retrieval.trec import read_run
from rl.retrieval.variants import VARIANTS
from tests.experiments.helpers import IRGAN_GAME, IRGAN_TINY, fingerprint, rows, succeed
from tests.experiments.retrieval_files import letor_files, qa_files, rating_files

KEYS = {
    "p@3", "p@5", "p@10", "ndcg@3", "ndcg@5", "ndcg@10", "map", "mrr", "recall@10", "hit@10", "coverage@10",
}  # fmt: skip
FILES = {"ratings": rating_files, "letor": letor_files, "qa": qa_files}


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs write no report, which takes longer than the run."""
    monkeypatch.setattr(irgan_results.report, "write", lambda run_dir: run_dir / "report.html")


def trained(folder: Path, *flags: object) -> Path:
    succeed(irgan.main, *flags, "--run-dir", folder)
    return folder


def tiny(variant: str, kind: str = "ratings") -> list[str]:
    """Flags of a run that takes a second."""
    plays = VARIANTS[variant].plays
    return [*IRGAN_TINY[kind], *(f"--{name.replace('_', '-')}={IRGAN_GAME[name]}" for name in plays)]


def summary_of(run: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((run / "summary.json").read_text())
    return found


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize(
    ("variant", "kind"), [(name, kind) for name, row in VARIANTS.items() for kind in row.kinds], ids=lambda value: value
)
def test_every_variant_runs_on_all_data_that_it_knows(tmp_path: Path, variant: str, kind: str) -> None:
    run = trained(tmp_path / "run", variant, *FILES[kind](tmp_path), *tiny(variant, kind))
    summary = summary_of(run)
    assert summary.keys() >= KEYS
    assert summary.keys() >= {f"{row}/{key}" for row in ("last", "start") for key in KEYS}
    assert ("popularity/p@5" in summary) == (kind == "ratings")
    two = "steps" in VARIANTS[variant].plays and variant != "self-contrastive"
    assert ("discriminator/p@5" in summary) == two
    assert ("d/share_of_item" in summary) == (two and kind == "ratings")  # elsewhere a document has one query
    assert ("ndcg_graded@5" in summary) == (kind == "letor")
    assert summary["selected_on_test"] == 0
    assert all(0 <= summary[key] <= 1 for key in KEYS)


@pytest.mark.usefixtures("unreported")
def test_the_run_directory_holds_what_it_promises(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "irgan", *rating_files(tmp_path), *tiny("irgan"))
    assert {path.name for path in run.iterdir()} == {
        ".lock", "checkpoints", "config.json", "metrics.jsonl", "samples", "summary.json", "tensorboard", "test.run",
    }  # fmt: skip
    described = json.loads((run / "config.json").read_text())
    assert (described["family"], described["variant"], described["seed"]) == ("irgan", "irgan", 0)
    logged = rows(run)
    assert [row["step"] for row in logged] == [2, 6, 8, 12, 14]
    assert logged[0].keys() >= {"pretrain/loss", "valid/p@5", "valid/ndcg@5", "valid/map", "d/ndcg@5"}
    assert logged[-1].keys() >= {"g/reward", "valid/p@5", "g/norm_users", "d/norm_items"}
    assert logged[1].keys() >= {"d/loss"}
    assert sorted(path.name for path in (run / "samples").iterdir()) == ["step-14.txt", "step-2.txt", "step-8.txt"]
    ranked = read_run(run / "test.run")
    assert set(ranked) == {str(user) for user in range(12)}
    summary = summary_of(run)
    assert summary["chosen_round"] in (1, 2)
    assert summary["chosen_ndcg@5"] == max(row["valid/ndcg@5"] for row in logged[1:])


@pytest.mark.usefixtures("unreported")
@pytest.mark.parametrize(("kind", "kept"), [("ratings", 2), ("letor", 5)])
def test_rankings_are_cut_where_everything_is_ranked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, kept: int
) -> None:
    monkeypatch.setattr(irgan_results, "DEEP", 2)
    run = trained(tmp_path / "run", "mle", *FILES[kind](tmp_path), *tiny("mle", kind))
    assert {len(ranked) for ranked in read_run(run / "test.run").values()} == {kept}


@pytest.mark.parametrize("first", ["", "# judged by hand\n\n"])
def test_a_file_of_features_is_known_by_its_first_line(tmp_path: Path, first: str) -> None:
    path = tmp_path / "train.txt"
    path.write_text(first + "1\tqid:7\t1:0.5\n")
    assert irgan_setup.kind_of(str(path), "auto") == "letor"
    path.write_text("\ufeff" + first + "qid\tcand_id\n")
    assert irgan_setup.kind_of(str(path), "auto") == "qa"


@pytest.mark.usefixtures("unreported")
def test_a_finished_run_is_measured_again_to_the_same_numbers(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "irgan", *rating_files(tmp_path), *tiny("irgan"), "--refit")
    before = summary_of(run)
    (run / "summary.json").unlink()
    said = succeed(evaluate.main, run)
    again = summary_of(run)
    assert {key: again[key] for key in again if key != "cpu_seconds"} == pytest.approx(
        {key: before[key] for key in before if key != "cpu_seconds"}
    )
    assert f"{before['p@5']:.4f}" in said
    trained_at = succeed(evaluate.main, run, "--step", 14)  # the end of the first of two stages
    assert f"{before['held/p@5']:.4f}" in trained_at


@pytest.mark.usefixtures("unreported")
def test_a_refit_learns_from_all_for_as_long_as_validation_chose(tmp_path: Path) -> None:
    flags = ["irgan", *rating_files(tmp_path), *tiny("irgan"), "--pretrain-epochs", 4]
    run = trained(tmp_path / "run", *flags, "--refit")
    summary, logged = summary_of(run), rows(run)
    second = [row for row in logged if row["step"] > 16]
    assert not any(key.startswith("valid/") for row in second for key in row)
    plan = {key: int(summary[f"held/chosen_{key}"]) for key in ("pretrain", "round", "epoch")}
    last = 16 + 4 + (plan["round"] - 1) * 6 + 2 + plan["epoch"]
    assert logged[-1]["step"] == last
    assert second[0]["step"] == 16 + 2
    assert summary.keys() >= {f"held/{key}" for key in KEYS}
    # what it was told is what a run without a refit finds
    held = summary_of(trained(tmp_path / "held", *flags))
    assert {key: held[key] for key in KEYS} == {key: summary[f"held/{key}"] for key in KEYS}


@pytest.mark.usefixtures("unreported")
def test_choosing_on_test_is_said_and_learns_from_everything(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "irgan", *rating_files(tmp_path), *tiny("irgan"), "--select-on-test")
    summary, logged = summary_of(run), rows(run)
    assert summary["selected_on_test"] == 1
    found = [row["test/ndcg@5"] for row in logged[1:]]
    assert summary["ndcg@5"] == max(found) == summary["chosen_ndcg@5"]
    assert not any(key.startswith("valid/") for row in logged for key in row)


@pytest.mark.usefixtures("unreported")
def test_without_validation_data_the_last_round_is_measured(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "irgan", *rating_files(tmp_path), *tiny("irgan"), "--hold-out", 0)
    summary = summary_of(run)
    assert {key: summary[key] for key in KEYS} == {key: summary[f"last/{key}"] for key in KEYS}
    assert "chosen_round" not in summary


def test_the_default_data_need_no_file(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "mle", "--pretrain-epochs", 2)
    assert (run / "report.html").exists()
    assert summary_of(run).keys() >= KEYS


@pytest.mark.usefixtures("unreported")
def test_the_same_flags_give_the_same_bits_and_measuring_changes_nothing(tmp_path: Path) -> None:
    # without pretraining, whose best measured epoch is the start
    flags = ["irgan-pairwise", *rating_files(tmp_path), *tiny("irgan-pairwise"), "--pretrain-epochs", 0]
    one, two = trained(tmp_path / "one", *flags), trained(tmp_path / "two", *flags)
    assert fingerprint(one) == fingerprint(two)
    assert rows(one) == rows(two)
    often = trained(tmp_path / "often", *flags, "--evaluate-every", 1, "--select-by", "mrr")
    assert summary_of(often)["last/p@5"] == summary_of(one)["last/p@5"]
    other = trained(tmp_path / "other", *flags, "--seed", 1)
    assert fingerprint(other) != fingerprint(one)


@pytest.mark.parametrize("preset", ["default", "demo", "paper"])
def test_numbers_of_a_preset(preset: str) -> None:
    e = irgan.parse(["irgan", "--preset", preset])
    assert e.preset == preset
    if preset == "paper":
        n = e.numbers
        assert (n.steps, n.d_epochs, n.g_epochs, n.deal_every, n.g_lr, n.d_lr) == (15, 100, 50, 5, 1e-3, 1e-3)
        assert (n.temperature, n.positive_share, n.draws, n.width, n.reward_scale) == (0.2, 0.2, 2, 5, 2.0)


@pytest.mark.usefixtures("unreported")
def test_players_are_told_which_share_of_the_game_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, list[float]] = {"judge": [], "improve": []}
    for move, seen in told.items():
        real = getattr(ListGame, move)

        def watched(self: ListGame, done: float, real: Any = real, seen: list[float] = seen) -> Any:
            seen.append(done)
            return real(self, done)

        monkeypatch.setattr(ListGame, move, watched)
    run = trained(tmp_path / "run", "ar2", *rating_files(tmp_path), *tiny("ar2"), "--refit")
    assert told["judge"][:4] == [0, 0.25, 0.5, 0.75]
    assert told["improve"][:8] == [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875]
    # in the second stage of as many rounds as were chosen
    rounds = summary_of(run)["held/chosen_round"]
    assert told["judge"][4:] == [turn / 2 / rounds for turn in range(int(2 * rounds))]
