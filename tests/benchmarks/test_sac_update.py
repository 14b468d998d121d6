import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("stable_baselines3")

from benchmarks import sac_update


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore")  # theirs
def test_both_sides_run_and_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sac_update, "STEPS", 50)
    monkeypatch.setattr(sac_update, "SIZES", {"sac_update": 16, "sac_update_128": 8})
    sac_update.main(sac_update.Config(json=tmp_path / "result.json", updates=2, repeats=1))
    result = json.loads((tmp_path / "result.json").read_text())
    for what in ("sac_update", "sac_update_128"):
        assert result[f"speedup/{what}"] > 0
        assert result[f"updates_per_second/{what}"] == pytest.approx(2 / result[f"seconds/{what}"])
    assert result["threads"] == 1
