"""What a run of a text GAN leaves, for every variant, net and source of sentences; that it repeats, and ranks agree."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import text_gan, text_results
from rl.runtime import checkpoints
from tests.experiments.helpers import TINY, call, fingerprint, rows, succeed
from tests.ranks import run_ranks

LINES = "a b c\nb c\nc c a\nd a b a\n" * 30


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end before the final measuring."""
    monkeypatch.setattr(text_results, "finish", lambda *_, **__: None)


def test_a_run_leaves_all_that_a_run_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    out = succeed(text_gan.main, "seqgan", *TINY, "--run-dir", run)
    assert out.startswith(f"run: {run}\n")
    assert out.endswith(f"report: {run}/report.html\n")
    names = {
        "config.json",
        "metrics.jsonl",
        "summary.json",
        "curves.json",
        "report.html",
        "vocabulary.json",
        "features.json",
    }
    assert {path.name for path in run.iterdir()} == names | {"samples", "checkpoints", "tensorboard", ".lock"}
    description = json.loads((run / "config.json").read_text())
    assert (description["family"], description["variant"]) == ("text_gan", "seqgan")
    assert {"seed", "config", "versions", "commit", "command", "platform", "threads"} <= description.keys()
    assert description["config"]["numbers"]["batch"] == 8
    table = rows(run)
    assert [row["step"] for row in table] == [1, 2, 3, 4, 5, 6, 7]
    assert all("mle/nll_valid" in row for row in table[:2])
    assert all("d/loss" in row for row in table[2:])
    assert all("g/reward" in row for row in table[4:])
    assert ["nll_oracle" in row for row in table] == [False] * 5 + [True] * 2  # every second round, and the last
    assert {path.name for path in (run / "samples").iterdir()} == {"step-6.txt", "step-7.txt"}
    sentences = (run / "samples/step-7.txt").read_text().splitlines()
    assert len(sentences) == 100
    assert all(len(sentence.split()) == 6 for sentence in sentences)
    assert checkpoints.steps(run) == [2, 7]
    for step in (2, 7):
        checkpoints.verify(run / f"checkpoints/step-{step}")
    summary = json.loads((run / "summary.json").read_text())
    keys = {"nll_oracle", "nll_test", "unique", *(f"distinct_{n}" for n in range(1, 5))}
    assert keys | {"sentences_per_second"} <= summary.keys()
    assert {f"{row}/{key}" for row in ("mle", "real", "uniform") for key in keys} <= summary.keys()
    assert all(np.isfinite(value) for value in summary.values())
    curves = json.loads((run / "curves.json").read_text())
    assert curves.keys() == {"mle", "last"}
    assert all(point["nll_oracle"] > 0 for curve in curves.values() for point in curve)
    assert "<html" in (run / "report.html").read_text()
    assert json.loads((run / "vocabulary.json").read_text())["words"] == [str(n) for n in range(20)]
    assert list((run / "tensorboard").glob("events.*"))


def test_without_a_folder_it_makes_one_under_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unmeasured: None
) -> None:
    monkeypatch.chdir(tmp_path)
    out = succeed(text_gan.main, "mle", *TINY)
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("text_gan-mle-")
    assert out.startswith(f"run: runs/{folder.name}\n")


def write_sources(folder: Path) -> None:
    (folder / "a.txt").write_text(LINES)
    (folder / "a.txt.gz").write_bytes(gzip.compress(LINES.encode()))
    (folder / "t.txt").write_text("a b\nunheard c\n" * 10)
    np.save(folder / "a.npy", np.random.default_rng(0).integers(0, 9, (120, 5)))
    np.savez(folder / "a.npz", ids=np.random.default_rng(0).integers(0, 9, (120, 5), dtype=np.int16))


SOURCES = {
    "a transformer": (["--generator", "transformer", "--hidden", "16", "--layers", "2"], 20, " "),
    "two layers": (["--layers", "2", "--dropout", "0.2"], 20, " "),
    "words": (["--length", "0", "--corpus", "a.txt"], 6, " "),
    "rare words": (["--length", "0", "--corpus", "a.txt", "--at-least", "31"], 5, " "),
    "characters": (["--length", "0", "--corpus", "a.txt.gz", "--units", "char"], 7, ""),
    "words with a test file": (["--length", "9", "--corpus", "a.txt", "--test", "t.txt"], 6, " "),
    "ids": (["--length", "0", "--corpus", "a.npy"], 9, " "),
    "ids in an archive": (["--length", "5", "--corpus", "a.npz", "--test", "a.npy"], 9, " "),
}


@pytest.mark.parametrize(("flags", "size", "joiner"), SOURCES.values(), ids=SOURCES)
def test_every_net_and_every_source_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unmeasured: None, flags: list[str], size: int, joiner: str
) -> None:
    write_sources(tmp_path)
    monkeypatch.chdir(tmp_path)
    succeed(text_gan.main, "seqgan", *TINY, *flags, "--run-dir", "run")
    vocabulary = json.loads(Path("run/vocabulary.json").read_text())
    assert (len(vocabulary["words"]), vocabulary["joiner"]) == (size, joiner)
    assert len(Path("run/samples/step-7.txt").read_text().splitlines()) == 100


def test_a_text_is_measured_by_bleu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sources(tmp_path)
    monkeypatch.chdir(tmp_path)
    succeed(text_gan.main, "seqgan", *TINY, "--length", "0", "--corpus", "a.txt", "--run-dir", "run")
    summary = json.loads(Path("run/summary.json").read_text())
    assert {"nll_test", *(f"{kind}_{n}" for kind in ("bleu", "self_bleu") for n in range(2, 6))} <= summary.keys()


def trained(folder: Path, *flags: object) -> tuple[str, list[dict[str, Any]]]:
    succeed(text_gan.main, "seqgan", *TINY, *flags, "--run-dir", folder)
    return fingerprint(folder), rows(folder)


def test_a_seed_repeats_and_another_differs_and_measuring_changes_nothing(tmp_path: Path, unmeasured: None) -> None:
    once = trained(tmp_path / "once")
    assert trained(tmp_path / "again") == once
    assert trained(tmp_path / "other", "--seed", 1)[0] != once[0]
    assert trained(tmp_path / "often", "--evaluate-every", 1, "--evaluate-samples", 37)[0] == once[0]
    assert trained(tmp_path / "saved", "--save-seconds", 0) == once


def test_a_run_that_diverges_ends_with_code_3_and_keeps_its_checkpoint(tmp_path: Path, unmeasured: None) -> None:
    run = tmp_path / "run"
    ended = call(text_gan.main, "seqgan", *TINY, "--save-seconds", 0, "--mle-lr", 1e38, "--run-dir", run)
    assert ended.code == 3
    assert ended.err.startswith("error: mle/loss: update ")
    assert ended.err.count("\n") == 1
    checkpoints.verify(checkpoints.newest(run))


@pytest.mark.slow
def test_two_ranks_run_to_the_end(tmp_path: Path) -> None:
    first, second = run_ranks(2, "-m", "experiments.text_gan", "seqgan", *TINY, "--run-dir", tmp_path / "run")
    assert first.count("run: ") == 1
    assert second == ""
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 2, 3, 4, 5, 6, 7]
    state = checkpoints.load(checkpoints.newest(tmp_path / "run"))
    assert len(state["engine"]["generators"]["torch"]) == 2
    assert len(state["fakes"]["sentences"]) == 32
    assert (tmp_path / "run/report.html").exists()
