import json
from pathlib import Path
from typing import Any

import pytest

from experiments import compare, comparison_irgan
from experiments.comparison import Group
from tests.experiments.helpers import Tags

CONFIG = {
    "data": "train.tsv", "test": "test.tsv", "positive": 4.0, "documents": 0, "mask": "positives", "pool": "judged",
    "ties": "higher_id",
}  # fmt: skip


def finished(folder: Path, seed: int, p5: float, variant: str = "irgan", summary: Any = (), **changes: Any) -> Path:
    folder.mkdir()
    description = {"family": "irgan", "variant": variant, "seed": seed, "config": CONFIG | changes, "command": "irgan"}
    (folder / "config.json").write_text(json.dumps(description))
    (folder / "metrics.jsonl").write_text('{"step": 1, "seconds": 1.0, "valid/p@5": 0.5}\n')
    found = {"p@5": p5, "map": 0.5, "popularity/p@5": 0.125, "start/p@5": 0.25} | dict(summary)
    (folder / "summary.json").write_text(json.dumps(found))
    return folder


def groups_of(folders: list[Path]) -> list[Group]:
    return compare.group_runs([compare.load(folder) for folder in folders])


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    first = [finished(tmp_path / f"a{seed}", seed, p5) for seed, p5 in enumerate((0.1, 0.2, 0.3))]
    others = ((0, 0.2), (1, 0.4), (2, 0.7), (7, 0.9))
    return first + [finished(tmp_path / f"b{seed}", seed, p5, variant="ar2") for seed, p5 in others]


def test_tables_by_hand(folders: list[Path]) -> None:
    groups = groups_of(folders)
    table = comparison_irgan.at_the_chosen(groups)
    assert table.columns == ["n", "p@5", "map"]
    ((_, lines),) = table.blocks
    # half of the interval of .1, .2, .3: 4.30265 * .1 / sqrt(3) = .248
    assert dict(lines)["irgan"] == ["3", "0.200 ± 0.248", "0.500 ± 0.000"]
    assert dict(lines)["popularity"] == ["", "0.125", "\N{EN DASH}"]
    (difference,) = comparison_irgan.against_the_first(groups)
    ((_, lines),) = difference.blocks
    # seeds 0, 1, 2: .1, .2 and .4 more; half of the interval: 4.30265 * .152753 / sqrt(3) = .379
    assert dict(lines) == {"ar2": ["3", "0.233 ± 0.379", "0.000 ± 0.000"]}
    assert difference.title == "More than irgan"
    ((_, lines),) = comparison_irgan.beside(groups).blocks
    assert dict(lines)["ar2"] == ["0.250 ± 0.000"]


def test_one_group_has_no_difference(folders: list[Path]) -> None:
    assert comparison_irgan.against_the_first(groups_of(folders[:3])) == []


def test_the_page_and_the_terminal_show_the_groups(
    tmp_path: Path, folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    compare.main([*map(str, folders), "--output", str(tmp_path / "page.html")])
    said = capsys.readouterr()
    assert "not comparable" not in said.err
    assert "More than irgan" in said.out
    assert {row[0] for row in Tags((tmp_path / "page.html").read_text()).rows} >= {"irgan", "ar2", "popularity"}


def test_a_group_whose_round_was_chosen_on_test_is_named_so(tmp_path: Path) -> None:
    runs = [finished(tmp_path / str(on), 0, 0.1, summary={"selected_on_test": on}, select_on_test=on) for on in (0, 1)]
    ((_, lines),) = comparison_irgan.at_the_chosen(groups_of(runs)).blocks
    assert [name for name, _ in lines[:2]] == [
        "irgan --select-on-test 0", "irgan --select-on-test 1 (chosen on test)",
    ]  # fmt: skip


@pytest.mark.parametrize("setting", ["data", "test", "positive", "documents", "mask", "pool", "ties"])
def test_runs_that_were_measured_on_something_else_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    runs = [finished(tmp_path / "a", 0, 0.1), finished(tmp_path / "b", 0, 0.1, **{setting: "other"})]
    compare.main([*map(str, runs), "--output", str(tmp_path / "page.html")])
    said = [line for line in capsys.readouterr().err.splitlines() if "not comparable" in line]
    assert len(said) == 1
    assert f"{setting} differs" in said[0]
