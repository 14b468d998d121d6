"""Every row of the text table runs, leaves what a run leaves, and a run that was stopped ends with the same bits."""

import json
from pathlib import Path

import pytest

from experiments import evaluate, fill, text_gan, text_results
from seqgan.variants import VARIANTS
from tests.experiments.helpers import (
    TINY,
    Interrupted,
    assert_same_run,
    call,
    interrupted,
    rows,
    stoppable_runs,
    succeed,
)

UNTAUGHT = ("wgan-gp", "scratchgan")  # never learn by likelihood
MORE = {
    "leakgan": "--interleave 2 --goal 2 --goal-steps 2",
    "relgan": "--head-size 4 --representations 2",
    "residual": "--mle-best",
    "maskgan": "--mle-best",
}


def flags(name: str) -> list[str]:
    return [name, *TINY, *(["--mle-epochs", "0"] if name in UNTAUGHT else []), *MORE.get(name, "").split()]


stoppable = stoppable_runs(text_gan, text_results)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "seqgan-loo"])
def test_a_stopped_run_of_every_row_ends_with_the_same_bits(
    tmp_path: Path, stoppable: type[Interrupted], name: str
) -> None:
    succeed(text_gan.main, *flags(name), "--run-dir", tmp_path / "whole")
    assert interrupted(text_gan.main, tmp_path / "stopped", *flags(name), at=1, again=2) > 0
    assert all(value is not None for row in rows(tmp_path / "whole") for value in row.values())
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.parametrize("name", ["residual", "wgan-gp", "seqgan-conditional", "seq2seq", "leakgan"])
def test_what_a_run_leaves(tmp_path: Path, name: str) -> None:
    """The generator, its start, and the rows beside them; a likelihood where there is one."""
    succeed(text_gan.main, *flags(name), "--run-dir", tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    told = {"nll_oracle", "lm_kn", "reverse_lm_kn", "reverse_lm_lstm", "fbd", "divergence", "bleu_5", "copied_5"}
    for prefix in ("", "mle/", "real/", "uniform/"):
        assert {prefix + key for key in told} <= summary.keys(), prefix
    assert ("nll_test" in summary) == (name not in ("residual", "wgan-gp"))
    assert "kn5/lm_kn" in summary
    curves = json.loads((tmp_path / "curves.json").read_text())
    assert set(curves) == {"mle", "last"}
    assert all({"lm_kn", "reverse_lm_kn", "fbd"} <= point.keys() for curve in curves.values() for point in curve)
    assert json.loads((tmp_path / "features.json").read_text())["name"].startswith("states-")
    (tmp_path / "summary.json").unlink()
    succeed(evaluate.main, tmp_path)
    again = json.loads((tmp_path / "summary.json").read_text())
    timed = "sentences_per_second"
    assert again | {timed: 0} == summary | {timed: 0}


def test_a_start_that_is_measured_otherwise_is_measured_anew(tmp_path: Path) -> None:
    """The same weights under other masks have no score that two runs share."""
    succeed(text_gan.main, *flags("maskgan"), "--run-dir", tmp_path / "first")
    found = []
    for share in ("0.5", "0.9"):
        asked = ["--start-from", tmp_path / "first", "--mask-share", share, "--run-dir", tmp_path / share]
        succeed(text_gan.main, *flags("maskgan"), *asked)
        found.append(json.loads((tmp_path / share / "summary.json").read_text()))
    assert found[0]["mle/nll_test"] == found[1]["mle/nll_test"]
    assert found[0]["mle/nll_missing_test"] != found[1]["mle/nll_missing_test"]


def test_labels_and_prompts_from_files(tmp_path: Path) -> None:
    pairs = [f"{'good' if i % 2 else 'bad'}\tthe {'sun' if i % 2 else 'rain'} of day {i % 9}" for i in range(60)]
    (tmp_path / "pairs.tsv").write_text("\n".join(pairs) + "\n")
    common = [*TINY, "--corpus", str(tmp_path / "pairs.tsv"), "--valid", "4"]
    for name in ("sentigan", "seqgan-conditional"):
        succeed(text_gan.main, name, *common, "--classes", "0", "--run-dir", tmp_path / name)
        assert "bleu_2" in json.loads((tmp_path / name / "summary.json").read_text())
    succeed(
        text_gan.main, "seq2seq", *common, "--before-tab", "prompt", "--prompt", "0", "--run-dir", tmp_path / "seq2seq"
    )  # fmt: skip
    lines = (tmp_path / "seq2seq/samples/step-7.txt").read_text().splitlines()
    assert len(lines) == 100
    assert all(line.split()[0] in ("good", "bad") for line in lines)  # a prompt is shown before its ending


def test_a_line_is_filled_in(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n".join(f"a {'red' if i % 2 else 'big'} dog ran" for i in range(60)) + "\n")
    succeed(
        text_gan.main, "maskgan", *TINY, "--corpus", tmp_path / "text.txt", "--valid", "4", "--length", "4",
        "--run-dir", tmp_path / "run",
    )  # fmt: skip
    said = succeed(fill.main, tmp_path / "run", "a ___ dog ___", "--count", 3).splitlines()
    assert len(said) == 3
    for line in said:
        words = line.split()
        assert (words[0], words[2], len(words)) == ("a", "dog", 4)
        assert set(words) <= {"a", "red", "big", "dog", "ran", "<unk>"}
    assert succeed(fill.main, tmp_path / "run", "a ___ dog ___", "--count", 3).splitlines() == said
    for line, error in (
        ("a ___ cat", "error: --fill 'a ___ cat':3: 'cat' is no word of the corpus"),
        ("a dog", "error: --fill 'a dog': no blank (___) in it"),
        ("a ___ ___ ___ ___", "error: --fill 'a ___ ___ ___ ___': 5 tokens, the length is 4"),
    ):
        ended = call(fill.main, tmp_path / "run", line)
        assert (ended.code, ended.err.startswith(error)) == (2, True), ended.err
