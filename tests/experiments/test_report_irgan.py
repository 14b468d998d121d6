import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments import report, report_irgan
from experiments.published_retrieval import MOVIELENS
from tests.experiments.helpers import Tags

SUMMARY = {
    "p@5": 0.375, "ndcg@5": 0.4, "map": 0.25, "mrr": 0.6, "last/p@5": 0.25, "start/p@5": 0.125,
    "popularity/p@5": 0.0625, "discriminator/p@5": 0.03125, "held/p@5": 0.3,
    "g/entropy": 5.5, "d/share_of_item": 0.5, "d/norm_users": 0.001,
    "cpu_seconds": 12.5, "selected_on_test": 0.0, "chosen_round": 2.0,
}  # fmt: skip


def make_run(folder: Path, summary: dict[str, float] | None = None, **changes: Any) -> Path:
    folder.mkdir()
    config = {
        "data": "train.tsv",
        "test": "test.tsv",
        "documents": 1683,
        "positive": 4.0,
        "mask": "positives",
        "ties": "higher_id",
    } | changes
    description = {"family": "irgan", "variant": "irgan", "seed": 3, "config": config, "command": "irgan.py irgan"}
    (folder / "config.json").write_text(json.dumps(description))
    logged = [{"step": step, "seconds": 1.0, "valid/p@5": step / 100, "d/loss": 1.0} for step in (5, 10)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in logged))
    (folder / "samples").mkdir()
    for step in (5, 10):
        (folder / f"samples/step-{step}.txt").write_text(f"user 7: +{step} | <b>\n")
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def titles(text: str) -> list[str]:
    return [html.unescape(title) for title in re.findall("<h2>(.*?)</h2>", text)]


def test_page_of_a_finished_run_holds_everything(tmp_path: Path) -> None:
    text = report.write(make_run(tmp_path / "run", SUMMARY)).read_text(encoding="utf-8")
    assert titles(text) == ["Summary", "What no ranking shows", "Over the steps", "Rankings", "Configuration"]
    columns, *lines = Tags(text).rows
    table = {line[0]: dict(zip(columns[1:], line[1:], strict=True)) for line in lines}
    ours = {
        "the round chosen on validation": "0.375", "before learning from the validation data too": "0.300",
        "last round": "0.250", "start of the game": "0.125", "popularity": "0.062",
        "the discriminator as a ranker": "0.031",
    }  # fmt: skip
    assert {name: table[name]["p@5"] for name in ours} == ours
    published = {f"{name}, published": values for name, values in MOVIELENS.items()}
    assert table.keys() == ours.keys() | published.keys()
    assert table["IRGAN, published"]["ndcg@5"] == "0.401"
    assert "g/entropy" not in columns
    facts = dict(re.findall(r"<span>([\w/@]+)</span><span>([\d.]+)</span></li>", text))
    assert facts["g/entropy"] == "5.500"
    assert facts["chosen_round"] == "2.000"
    assert "p@5" not in facts
    assert re.findall(r"<li>user 7: \+(\d+) \| &lt;b&gt;</li>", text) == ["10", "5"]
    assert text.count("<svg") == 2
    assert "has learned which documents are popular" not in text


def test_what_was_chosen_on_test_is_no_score(tmp_path: Path) -> None:
    text = report.write(make_run(tmp_path / "run", SUMMARY | {"selected_on_test": 1.0})).read_text()
    assert "the round chosen ON TEST: no score" in text
    assert "the round chosen on validation" not in text


@pytest.mark.parametrize(
    ("chosen", "label"),
    [
        ({"chosen_round": 2.0}, "the round chosen on validation"),
        ({"held/chosen_round": 2.0}, "the round chosen on validation"),
        ({"chosen_pretrain": 4.0}, "the round chosen on validation"),
        ({}, "the last round, nothing chosen"),
    ],
)
def test_the_first_row_says_what_was_chosen(tmp_path: Path, chosen: dict[str, float], label: str) -> None:
    summary = {key: value for key, value in SUMMARY.items() if key != "chosen_round"} | chosen
    text = report.write(make_run(tmp_path / "run", summary)).read_text()
    assert Tags(text).rows[1][0] == label


def test_a_discriminator_that_only_knows_what_is_popular_is_warned_of(tmp_path: Path) -> None:
    text = report.write(make_run(tmp_path / "run", SUMMARY | {"d/share_of_item": 0.99})).read_text()
    assert report_irgan.WARNING in html.unescape(text)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("documents", 0), ("positive", 3.0), ("mask", "all_seen"), ("ties", "lower_id"), ("test", None)],
)
def test_published_numbers_stand_only_beside_what_was_measured_alike(tmp_path: Path, setting: str, value: Any) -> None:
    assert ", published" in report.write(make_run(tmp_path / "same", SUMMARY)).read_text()
    assert ", published" not in report.write(make_run(tmp_path / "other", SUMMARY, **{setting: value})).read_text()


def test_page_of_a_run_half_way_leaves_out_what_is_missing(tmp_path: Path) -> None:
    text = report.write(make_run(tmp_path / "run")).read_text()
    assert titles(text) == ["Over the steps", "Rankings", "Configuration"]
    assert "not finished" in text


def test_page_is_self_contained_and_nothing_in_it_is_raw(tmp_path: Path) -> None:
    text = report.write(make_run(tmp_path / "run", SUMMARY, data="<script>")).read_text()
    for raw in ("<script", "<b>", "http://", "https://"):
        assert raw not in text


def test_metrics_of_rankings_are_told_from_other_numbers() -> None:
    ranked, facts = report_irgan.parted(SUMMARY)
    assert ranked.keys() == {key for key in SUMMARY if key.rpartition("/")[2] in ("p@5", "ndcg@5", "map", "mrr")}
    assert ranked | facts == SUMMARY
