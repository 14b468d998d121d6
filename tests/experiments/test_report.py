import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments import page, records, report, report_text
from experiments.plots import MOST, Line, Mark, over_steps, trade_off
from rl.runtime.errors import InputError
from tests.experiments.helpers import Tags

HOSTILE = "</li></main><script>alert(1)</script> <img src=x onerror=alert(2)> {{ 7 * 7 }} {% raw %} &amp; \"'`"
SUMMARY = {
    "nll_oracle": 8.8, "nll_test": 7.9, "unique": 0.99, "sentences_per_second": 12345.6,
    "mle/nll_oracle": 9.0, "mle/nll_test": 7.8, "real/nll_oracle": 5.76, "uniform/nll_oracle": 10.31,
}  # fmt: skip


def make_run(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    config = {"numbers": {"mle_epochs": 4, "d_pretrain": 2, "steps": 3, "length": 0}, "oracle_params": "oracle.npz"}
    description = {"family": "text_gan", "variant": "seqgan", "seed": 3, "config": config | changes}
    description |= {"versions": {"torch": "2.13"}, "commit": "c0ffee", "command": "text_gan.py seqgan --seed 3"}
    (folder / "config.json").write_text(json.dumps(description))
    return folder


def finish(folder: Path, summary: dict[str, Any] = SUMMARY) -> None:
    rows = [{"step": step, "seconds": 40.0 * step, "mle/loss": 9.0 - step, "d/loss": None} for step in range(1, 5)]
    rows += [{"step": step, "seconds": 40.0 * step, "nll_oracle": 8.0 + step} for step in range(5, 10)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "summary.json").write_text(json.dumps(summary))
    point = {"inverse_temperature": 1.0, "nll_oracle": 9.0, "nll_test": 8.0}
    curve = [point, point | {"inverse_temperature": 2.0, "nll_oracle": 6.0}]
    (folder / "curves.json").write_text(json.dumps({"mle": curve, "last": curve}))
    (folder / "samples").mkdir()
    for step in (2, 10, 9):
        (folder / "samples" / f"step-{step}.txt").write_text(f"said at {step}\n{HOSTILE}\n", encoding="utf-8")


def test_page_of_a_finished_run_holds_everything(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    finish(run)
    text = report.write(run).read_text(encoding="utf-8")
    rows = {row[0]: row[1:] for row in Tags(text).rows}
    assert rows[""][:2] == ["nll_oracle", "nll_test"]
    assert rows["last step"] == ["8.800", "7.900", "0.990", "12,346"]
    assert rows["maximum-likelihood start"][:3] == ["9.000", "7.800", "\N{EN DASH}"]
    assert rows["REAL"][0] == "5.760"
    assert rows["uniform tokens"][0] == "10.310"
    assert rows["SeqGAN, published"][0] == "8.736"
    assert "maximum likelihood, steps 1 to 4" in text
    assert "adversarial, steps 7 to 9" in text
    assert "text_gan.py seqgan --seed 3" in text
    assert "c0ffee" in text
    # A figure for each of the two metrics that ever had a value, and one for the temperature curves.
    assert text.count("<svg") == 3
    assert re.findall(r"said at (\d+)", text) == ["10", "9", "2"]


def test_page_is_self_contained_and_escapes_samples(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", note="<script>alert(3)</script>")
    finish(run)
    (run / "metrics.jsonl").write_text('{"step": 1, "</svg><script>$x": 1.0}\n{"step": 2, "$\\\\frac{": 2.0}\n')
    text = report.write(run).read_text(encoding="utf-8")
    page_tags = Tags(text)
    names = {tag for tag, _ in page_tags.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "base"}
    for _, attributes in page_tags.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "http://" not in text
    assert "https://" not in text
    assert "{{ 7 * 7 }} {% raw %} &amp;amp;" in text
    assert re.search(r"url\((?!#)", text) is None


def test_page_of_a_run_half_way_leaves_out_what_is_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    text = report.write(run).read_text()
    assert re.findall("<h2>(.*?)</h2>", text) == ["Configuration"]
    assert "nothing logged yet" in text
    (run / "metrics.jsonl").write_text('{"step": 1, "seconds": 60, "mle/loss": 9.5}\n{"step": 2, "sec')
    text = report.write(run).read_text()
    assert re.findall("<h2>(.*?)</h2>", text) == ["Over the steps", "Configuration"]
    assert "step 1, 1.0 minutes, not finished" in text


def test_page_is_the_same_when_written_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    finish(run)
    assert report.write(run).read_bytes() == report.write(run).read_bytes()
    assert not list(run.glob(".report*"))


@pytest.mark.parametrize(
    ("config", "real", "shown"),
    [
        ({}, 5.76, True),
        ({}, 4.2, False),  # another oracle
        ({"oracle_params": None}, 5.76, False),
        ({"numbers": {"length": 40}}, 5.76, False),
        ({"numbers": {"length": 20}}, 5.76, True),
    ],
)
def test_published_numbers_stand_only_beside_the_papers_oracle(
    tmp_path: Path, config: dict[str, Any], real: float, shown: bool
) -> None:
    run = make_run(tmp_path / "run", **config)
    finish(run, SUMMARY | {"real/nll_oracle": real})
    text = report.write(run).read_text()
    assert ("LeakGAN, published" in text) == shown
    assert ("Caccia" in text) == shown


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("metrics.jsonl", '{"step": 1}\n{"step": 2,, "a": 1}\n', "metrics.jsonl:2:12: "),
        ("metrics.jsonl", '{"loss": 1}\n', "metrics.jsonl:1: "),
        ("summary.json", '{"nll_oracle": 8.8\n "x": 2}', "summary.json:2:2: "),
        ("summary.json", '{"nll_oracle": "good"}', "summary.json: nll_oracle: "),
        ("summary.json", "[1]", "summary.json: an object"),
        ("curves.json", '{"mle": 3}', "curves.json: mle: "),
        ("curves.json", '{"mle": [{"nll_oracle": []}]}', r"curves.json: mle\[0\].nll_oracle: "),
        ("config.json", "{", "config.json:1:2: "),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path: Path, name: str, content: str, place: str) -> None:
    run = make_run(tmp_path / "run")
    finish(run)
    (run / name).write_text(content)
    with pytest.raises(InputError, match=place):
        report.write(run)


def test_values_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    finish(run, {"nll_oracle": None, "nll_test": "inf", "unique": 1.0})
    (run / "metrics.jsonl").write_text('{"step": 1, "a": null}\n{"step": 2, "a": 4, "b": null}\n')
    read = records.read(run)
    assert read.summary == {"unique": 1.0}
    assert read.metrics() == ["a"]
    assert read.series("a") == ([2.0], [4.0])


def test_latest_samples_come_first_with_some_earlier_ones_spread(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    for step in range(10, 210, 10):
        (tmp_path / "samples" / f"step-{step}.txt").write_text("a\n")
    (tmp_path / "samples" / "step-best.txt").write_text("a\n")
    assert report_text.chosen_steps(tmp_path) == [200, 150, 100, 50]
    (tmp_path / "samples" / "step-200.txt").write_bytes(b"\xff\xfe caf\xc3\xa9\nb\nc\n")
    assert records.read_samples(tmp_path, 200, 2) == ["\ufffd\ufffd caf\u00e9", "b"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"), (-1e-16, "0.000"), (-2.5e-4, "\N{MINUS SIGN}2.5e-04"), (0.98765, "0.988"), (123.44, "123.4"),
        (12345.6, "12,346"), (-9.5, "\N{MINUS SIGN}9.500"), (3e8, "3.0e+08"), (None, "\N{EN DASH}"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_a_table(value: float | None, text: str) -> None:
    assert page.number(value) == text


def test_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/page\.html: cannot be written: No such file"):
        page.save(tmp_path / "nowhere" / "page.html", "")


def test_figures_follow_the_pages_colours_and_stay_small() -> None:
    many = [float(i) for i in range(50 * MOST)]
    noisy = [float(i * 7919 % 1000) for i in range(50 * MOST)]
    figure = over_steps([Line(many, noisy, "c0")], [], [(0.5, "c2")])
    assert len(figure) < 100_000
    assert "var(--c0)" in figure
    assert "var(--c2)" in figure
    assert not re.search(r"#[0-9a-f]{6}\b", figure)
    assert figure.startswith("<svg viewBox=")
    figure = trade_off([Line([1, 2], [3, 4], "c1")], [Mark(1, 3, "c2", words="$a < b$")], "x", "y")
    assert ">$a &lt; b$</text>" in figure


@pytest.mark.parametrize(("samples", "levels"), [(10_000, 1), (2_000, 0)])
def test_levels_are_drawn_only_where_as_many_sentences_were_measured(tmp_path: Path, samples: int, levels: int) -> None:
    run = make_run(tmp_path / "run", evaluate_samples=samples, final_samples=10_000)
    finish(run, {"mle/unique": 0.5, "mle/nll_test": 0.5})
    (run / "metrics.jsonl").write_text('{"step": 1, "unique": 0.9, "nll_test": 0.9}\n')
    read = records.read(run)
    assert report_text.panel(read, "unique", []).count("var(--c1)") == levels
    assert report_text.panel(read, "nll_test", []).count("var(--c1)") == 1
