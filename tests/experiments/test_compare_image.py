import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments import compare, comparison_image
from experiments.comparison import Group
from tests.experiments.helpers import Tags
from tests.experiments.test_report_image import make_run


def finished(folder: Path, seed: int, fid: float, *, variant: str = "cgan", **changes: Any) -> Path:
    """A run whose REAL against REAL is as far as its seed and a half."""
    summary = {"fid": fid, "recall": 0.5, "real/fid": seed + 0.5, "real/recall": 0.9, "cpu_seconds": 10.0 + seed}
    run = make_run(folder, **changes.pop("pictures", {}), seed=seed, run_dir=str(folder), **changes)
    description = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(description | {"variant": variant, "seed": seed}))
    (run / "summary.json").write_text(json.dumps(summary | ({"class_accuracy": 0.75} if variant == "cgan" else {})))
    return run


def groups_of(folders: list[Path]) -> list[Group]:
    return compare.group_runs([compare.load(folder) for folder in folders])


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    runs = [finished(tmp_path / f"c{seed}", seed, fid) for seed, fid in enumerate((10.0, 20.0, 30.0))]
    return [*runs, finished(tmp_path / "d", 1, 5.0, variant="dcgan")]


def test_table_of_the_last_step_by_hand(folders: list[Path]) -> None:
    table = comparison_image.at_the_end(groups_of(folders))
    assert table.columns == ["n", "fid", "recall", "class_accuracy", "cpu_seconds"]
    ((_, lines),) = table.blocks
    # half of the interval of 10, 20, 30: 4.30265 * 10 / sqrt(3) = 24.841
    assert dict(lines) == {
        "cgan": ["3", "20.000 ± 24.841", "0.500 ± 0.000", "0.750 ± 0.000", "11.000 ± 2.484"],
        "dcgan": ["1", "5.000", "0.500", "\N{EN DASH}", "11.000"],
        "REAL": ["", "1.500", "0.900", "\N{EN DASH}", "\N{EN DASH}"],  # of all four runs: .5, 1.5, 2.5, 1.5
    }


def test_the_page_shows_what_each_paints(
    tmp_path: Path, folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    compare.main([*map(str, folders), "--output", str(out)])
    said = capsys.readouterr()
    assert "not comparable" not in said.err
    assert said.err.count("warning: ") == 1  # dcgan has one seed
    assert [line.split()[0] for line in said.out.splitlines() if line.startswith("  ")] == [
        "n",
        "cgan",
        "dcgan",
        "REAL",
    ]
    text = out.read_text()
    assert re.findall(r"<figcaption>(\w+, seed \d)</figcaption>", text) == ["cgan, seed 0", "dcgan, seed 1"]
    images = [str(attributes["src"]) for tag, attributes in Tags(text).tags if tag == "img"]
    assert len(images) == 2
    assert {row[0] for row in Tags(text).rows} >= {"cgan", "dcgan", "REAL"}
    assert text.count("<svg") == 3


def test_the_last_grid_is_shown(tmp_path: Path) -> None:
    run = finished(tmp_path / "a", 0, 1.0, pictures={"steps": (90, 1000)})
    section = comparison_image.painted(groups_of([run]))
    assert str(comparison_image.report_image.grid(run, 1000)).split('"')[1] in section.html
    assert str(comparison_image.report_image.grid(run, 90)).split('"')[1] not in section.html
    for picture in (run / "samples").iterdir():
        picture.unlink()
    assert comparison_image.painted(groups_of([run])).html == ""


@pytest.mark.parametrize(
    ("setting", "value"),
    [("final_samples", 500), ("data", "mnist"), ("size", 32), ("channels", 1), ("stack", 3), ("test", "other")],
)
def test_runs_that_were_measured_on_something_else_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, value: Any
) -> None:
    before = {"final_samples": 2000, "data": "digits", "size": 0, "channels": 0, "stack": 1, "test": ""}
    runs = [finished(tmp_path / "a", 0, 1.0, **before), finished(tmp_path / "b", 0, 1.0, **before | {setting: value})]
    compare.main([*map(str, runs), "--output", str(tmp_path / "page.html")])
    said = [line for line in capsys.readouterr().err.splitlines() if "not comparable" in line]
    assert len(said) == 1
    for run in (before, {setting: value}):
        assert f"{run[setting]} (cgan --{setting.replace('_', '-')} {run[setting]})" in said[0]


def test_the_place_of_the_classifier_is_no_difference(tmp_path: Path) -> None:
    runs = [finished(tmp_path / str(seed), seed, 1.0, cache=f"/somewhere/{seed}") for seed in range(2)]
    assert len(groups_of(runs)) == 1
