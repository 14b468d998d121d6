"""Retrieval on a GPU: every kind of data and of players trains, is resumed and measured there."""

from pathlib import Path

import pytest
import torch

from experiments import irgan, irgan_setup, resume
from rl.retrieval.relevance import Relevance
from rl.retrieval.synthetic import synthetic
from rl.retrieval.variants import VARIANTS
from tests.experiments.helpers import IRGAN_GAME, IRGAN_TINY, succeed
from tests.experiments.retrieval_files import letor_files, qa_files, rating_files

FILES = {"ratings": rating_files, "letor": letor_files, "qa": qa_files}
PAIRS = [(name, kind) for name, row in VARIANTS.items() for kind in row.kinds]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("variant", "kind"), PAIRS, ids=lambda value: value)
def test_every_variant_trains_and_is_resumed_on_a_gpu(tmp_path: Path, variant: str, kind: str) -> None:
    plays = VARIANTS[variant].plays
    flags = [variant, *FILES[kind](tmp_path), *IRGAN_TINY[kind], "--runtime.device", "cuda"]
    flags += [f"--{name.replace('_', '-')}={IRGAN_GAME[name]}" for name in plays]
    flags += ["--list", "5"] if variant == "ar2" and kind == "ratings" else []
    succeed(irgan.main, *flags, "--refit", "--run-dir", tmp_path / "refit")
    succeed(irgan.main, *flags, "--run-dir", tmp_path / "run")
    if "steps" in plays:
        succeed(resume.main, tmp_path / "run", "--steps", 3)


def test_data_that_are_joined_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Relevance, "union", lambda one, other: one)  # it looks at the numbers, which "meta" has not
    assert irgan_setup.joined(synthetic(0).to("meta")).valid.ids.device.type == "meta"
