import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments import picture_grid, records, report, report_image
from tests.experiments.helpers import Tags

SUMMARY = {
    "fid": 12.5, "kid": 0.25, "inception_score": 6.5, "precision": 0.75, "recall": 0.5, "modes": 9.0,
    "class_accuracy": 0.875, "real/fid": 1.5, "real/kid": 0.125, "real/inception_score": 9.5, "real/precision": 0.95,
    "real/recall": 0.9, "real/modes": 10.0, "real/class_accuracy": 0.99, "fid_real": 1.5, "cpu_seconds": 512.5,
    "images_per_second": 375.0,
}  # fmt: skip


def make_run(folder: Path, steps: tuple[int, ...] = (500, 1000, 1500), **changes: Any) -> Path:
    folder.mkdir()
    config = {"data": "digits", "evaluate_samples": 2000, "final_samples": 2000, "numbers": {"width": 8}} | changes
    description = {"family": "image_gan", "variant": "cgan", "seed": 3, "config": config, "command": "image_gan.py"}
    (folder / "config.json").write_text(json.dumps(description))
    logged = [{"step": step, "seconds": 1.0, "fid": 50000 / step, "d/loss": 1.0, "d/accuracy": 0.5} for step in steps]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in logged))
    (folder / "samples").mkdir()
    for step in steps:
        pictures = torch.full((4, 1, 8, 8), step // 20, dtype=torch.uint8)
        picture_grid.save(folder / f"samples/step-{step}.png", pictures, columns=2)
    return folder


def finish(folder: Path) -> None:
    (folder / "summary.json").write_text(json.dumps(SUMMARY))


def titles(text: str) -> list[str]:
    return [html.unescape(title) for title in re.findall("<h2>(.*?)</h2>", text)]


def shown(text: str) -> list[bytes]:
    images = [attributes for tag, attributes in Tags(text).tags if tag == "img"]
    return [base64.b64decode(str(image["src"]).removeprefix("data:image/png;base64,")) for image in images]


def test_page_of_a_finished_run_holds_everything(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    finish(run)
    text = report.write(run).read_text(encoding="utf-8")
    assert titles(text) == ["Summary", "Pictures", "Over the steps", "Configuration"]
    columns, *lines = Tags(text).rows
    table = {line[0]: dict(zip(columns[1:], line[1:], strict=True)) for line in lines}
    assert table.keys() == {"last step", "REAL against REAL"}
    assert (table["last step"]["fid"], table["REAL against REAL"]["fid"]) == ("12.500", "1.500")
    assert (table["last step"]["class_accuracy"], table["REAL against REAL"]["class_accuracy"]) == ("0.875", "0.990")
    assert table["last step"]["modes"] == "9.000"
    assert shown(text) == [(run / f"samples/step-{step}.png").read_bytes() for step in (1500, 500, 1000)]
    assert "the first is step 1500" in text
    assert re.findall("<figcaption>step (.*?)</figcaption>", text) == ["500", "1000"]
    assert text.count("<svg") == 3  # fid, and two of the discriminator
    words = html.unescape(text)
    assert words.count(report_image.MEANING["fid"]) == 2  # in the table's head and over its curve
    assert f"<small>{report_image.MEANING['d/accuracy']}</small>" in words
    assert f'title="{report_image.MEANING["cpu_seconds"]}"' in words
    assert (table["last step"]["cpu_seconds"], table["last step"]["images_per_second"]) == ("512.5", "375.0")


def test_page_is_self_contained_and_nothing_in_it_is_raw(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", data="<script>", test="<b>.npz")
    finish(run)
    text = report.write(run).read_text(encoding="utf-8")
    for raw in ("<script", "<b>", "http://", "https://"):
        assert raw not in text


def test_page_of_a_run_half_way_leaves_out_what_is_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=())
    assert titles(report.write(run).read_text()) == ["Configuration"]
    run = make_run(tmp_path / "other", steps=(500,))
    text = report.write(run).read_text()
    assert titles(text) == ["Pictures", "Over the steps", "Configuration"]
    assert "not finished" in text
    assert len(shown(text)) == 1


@pytest.mark.parametrize(
    ("steps", "chosen"),
    [
        ([], []), ([5], [5]), ([5, 10], [10, 5]), ([1, 2, 3, 4, 5, 6], [6, 1, 2, 3, 4, 5]),
        ([1, 2, 3, 4, 5, 6, 7], [7, 1, 3, 5]), ([*range(1, 22)], [21, 1, 5, 9, 13, 17]),
    ],
)  # fmt: skip
def test_some_earlier_grids_are_shown_after_the_last(steps: list[int], chosen: list[int]) -> None:
    assert report_image.chosen(steps) == chosen


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", steps=(90, 1000, 200))
    assert re.findall("<figcaption>step (.*?)</figcaption>", report.write(run).read_text()) == ["90", "200"]


def test_real_is_drawn_only_where_as_many_pictures_were_measured(tmp_path: Path) -> None:
    same, other = make_run(tmp_path / "same"), make_run(tmp_path / "other", final_samples=10_000)
    for run, levels in ((same, [(1.5, "c2")]), (other, [])):
        assert report_image.real_level(records.read(run), "fid") == []
        finish(run)
        assert report_image.real_level(records.read(run), "fid") == levels
        assert report_image.real_level(records.read(run), "d/loss") == []


def test_a_grid_has_lines_between_its_pictures() -> None:
    pictures = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    assert picture_grid.joined(pictures, 2)[0].tolist() == [
        [255, 255, 255, 255, 255, 255, 255],
        [255, 0, 0, 255, 1, 1, 255],
        [255, 0, 0, 255, 1, 1, 255],
        [255, 255, 255, 255, 255, 255, 255],
        [255, 2, 2, 255, 255, 255, 255],
        [255, 2, 2, 255, 255, 255, 255],
        [255, 255, 255, 255, 255, 255, 255],
    ]
