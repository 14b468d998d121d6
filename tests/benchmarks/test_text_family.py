import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import text_family
from benchmarks.text_family import Config
from seqgan.variants import VARIANTS, Variant


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows with a world of 20 words."""
    sizes = {"vocabulary": 20, "length": 6, "batch": 8, "rollouts": 2, "hidden": 8, "embedding": 8, "d_batch": 16}
    sizes |= {"d_embedding": 8, "representations": 2, "head_size": 4, "goal": 2}
    rows = {
        name: Variant(row.summary, row.players, {"protocol": replace(row.presets["protocol"], **sizes)})  # type: ignore[arg-type]
        for name, row in VARIANTS.items()
    }
    monkeypatch.setattr(text_family, "VARIANTS", rows)


def test_every_row_has_the_moves_that_it_makes(tiny: None) -> None:
    moves = {name: set(text_family.steps_of(name, Config())) for name in VARIANTS}
    everything = {"generator", "discriminator", "likelihood"}
    assert moves["seqgan"] == moves["relgan"] == moves["seqgan-conditional"] == everything
    assert moves["mle"] == {"likelihood"}
    assert moves["residual"] == {"discriminator", "likelihood"}
    assert moves["wgan-gp"] == moves["scratchgan"] == {"generator", "discriminator"}
    assert moves["seqgan-noise"] == {"generator", "likelihood"}
    for work in text_family.steps_of("maskgan", Config()).values():
        work()


def test_the_report_has_seconds_for_all(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sentences = [f"a {'b' if i % 2 else 'c'} d{i % 7} e" for i in range(30)]
    for name in ("samples", "references"):
        (tmp_path / f"{name}.txt").write_text("\n".join(sentences) + "\n")
    text_family.main(
        Config(
            methods=("seqgan", "mle"), repeats=1, nltk_sentences=2, json=tmp_path / "out.json",
            samples=tmp_path / "samples.txt", references=tmp_path / "references.txt",
        )
    )  # fmt: skip
    found = json.loads((tmp_path / "out.json").read_text())
    assert {f"seconds/seqgan/{move}" for move in ("generator", "discriminator", "likelihood")} <= found.keys()
    assert found["sentences"] == 30
    assert found["speedup/evaluation"] == pytest.approx(found["seconds_other/nltk_bleu"] / found["seconds/evaluation"])
    assert "NLTK's BLEU-2..5: 2 of 30 sentences" in capsys.readouterr().out
