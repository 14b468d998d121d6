import json
import re
from pathlib import Path
from typing import Any

import pytest

from experiments import verdict
from experiments.compare import load
from experiments.verdict import find_tasks, markdown, title_of
from experiments.verdict_tables import at_last, table
from rl.runtime.errors import InputError, exit_codes
from tests.experiments.text_runs import REAL, shifted, write_run

BLEU = {f"{prefix}{key}": value for prefix in ("", "mle/", "real/") for key, value in (("bleu_4", 0.3), ("fbd", 0.25))}


def oracle_runs(folder: Path) -> list[Path]:
    """SeqGAN .3 below its start, paid dice .1 below it; both at nll_oracle 8.5 at the last step."""
    made = []
    for variant, by in (("seqgan", -0.3), ("seqgan-noise", -0.1)):
        for seed in range(3):
            last = tuple((t, x - 0.5, y + 0.75) if t == 1 else (t, x, y) for t, x, y in shifted(by + 0.01 * seed))
            made.append(write_run(folder / f"{variant}-{seed}", seed, variant=variant, last=last))
    return made


def coco_run(folder: Path, variant: str = "leakgan", seed: int = 0, **changes: Any) -> Path:
    places = ((0.5, 0.1, 0.2), (1.0, 0.2, 0.4), (2.0, 0.3, 0.6))
    changes = {"config": {"corpus": "/data/coco_train.tok.txt"}, "summary": BLEU} | changes
    pair = ("bleu_5", "self_bleu_5")
    return write_run(folder, seed, variant=variant, pair=pair, last=places, start=places, **changes)


def made_of(folders: list[Path]) -> str:
    return markdown(find_tasks([load(folder) for folder in folders]))


def rows_of(page: str, name: str) -> list[list[str]]:
    lines = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(
    ("config", "title"),
    [
        ({}, "SeqGAN's oracle, 20 tokens"),
        ({"numbers": {"length": 40}}, "SeqGAN's oracle, 40 tokens"),
        ({"numbers": {"length": 32}}, "SeqGAN's oracle, 32 tokens"),
        ({"corpus": "/d/coco_train.tok.txt"}, "COCO captions"),
        ({"corpus": "/coco/emnlp_train_12500.tok.txt"}, "EMNLP2017 WMT news"),
        ({"corpus": "/coco/my.txt"}, "my.txt"),
        ({"corpus": "coco.txt", "numbers": {"prompt": 3}}, "COCO captions, 3 words given"),
        ({"oracle_params": None, "data_seed": 4}, "an oracle of ours: 5000 words, 20 tokens, draw 4"),
        ({"numbers": {"length": 0, "classes": 2}}, "SeqGAN's oracle, 20 tokens, 2 classes"),
    ],
)
def test_runs_belong_to_what_they_were_measured_on(tmp_path: Path, config: dict[str, Any], title: str) -> None:
    assert title_of(load(write_run(tmp_path / "run", 0, config=config))) == title


def test_another_oracle_from_a_file_is_not_the_papers(tmp_path: Path) -> None:
    run = load(write_run(tmp_path / "run", 0, summary={"real/nll_oracle": 4.0}))
    assert title_of(run) == "o.npz, 20 tokens"


def test_ruling_row_says_published_ours_and_verdict(tmp_path: Path) -> None:
    page = made_of(oracle_runs(tmp_path))
    ruling = rows_of(page, "seqgan")[0]
    assert ruling[:4] == [
        "seqgan", "SeqGAN's oracle, 20 tokens", "nll_oracle 9.038 to 8.736", "nll_oracle 9.000 to 8.500 ± 0.000",
    ]  # fmt: skip
    assert ruling[4].startswith("nll_test \N{MINUS SIGN}0.290 [")
    assert ruling[5] == "seqgan-noise: nll_test " + "\N{MINUS SIGN}0.200 [\N{MINUS SIGN}0.200, \N{MINUS SIGN}0.200]"
    assert ruling[6:] == ["**survives**", "n = 3"]
    assert "**seqgan** against its start: dominates for nll_oracle 6.000 to 10.000 by 0.290" in page
    assert "**seqgan** against seqgan-noise: dominates for nll_oracle 6.000 to 10.000 by 0.200" in page


def test_controls_are_set_against_their_start_alone(tmp_path: Path) -> None:
    folders = [*oracle_runs(tmp_path), write_run(tmp_path / "constant", 0, variant="seqgan-constant")]
    page = made_of(folders)
    assert "**seqgan** against seqgan-constant:" in page
    assert "**seqgan-noise** against its start:" in page
    assert "**seqgan-noise** against seqgan" not in page


def test_oracle_table_reads_the_start_at_the_same_quality(tmp_path: Path) -> None:
    folders = oracle_runs(tmp_path)
    (task, *_) = find_tasks([load(folder) for folder in folders])
    # The start is 20 - 1.5 * 8.5 = 7.25 there; SeqGAN .3, .29, .28 below it.
    cells = at_last(task, task.of("seqgan")[0])
    assert cells[0] == "8.500 ± 0.000"
    assert cells[2].startswith("15.460")
    assert cells[4:] == ["7.250 ± 0.000", "\N{MINUS SIGN}0.290 [\N{MINUS SIGN}0.315, \N{MINUS SIGN}0.265]", "3"]
    page = made_of(folders)
    assert rows_of(page, "start of seqgan, seqgan-noise")[0][2:5] == [
        "9.000 ± 0.000",
        "6.500 ± 0.000",
        "15.500 ± 0.000",
    ]
    assert rows_of(page, "REAL")[0][1:3] == ["5.750 (RelGAN 1)", "5.750 ± 0.000"]


def test_what_nobody_ran_is_unverified(tmp_path: Path) -> None:
    page = made_of([coco_run(tmp_path / "a")])
    for name in ("RankGAN", "SentiGAN", "RelGAN"):
        assert rows_of(page, name)[0][1] == "SeqGAN's oracle, 20 tokens"
        assert rows_of(page, name)[0][6:] == ["**unverified**", "no run"]
    assert rows_of(page, "**relgan, ours**")[0][1] == "unverified"
    assert {row[6] for row in rows_of(page, "leakgan")} == {"**unverified**"}
    assert [row[1] for row in rows_of(page, "LeakGAN")][:3] == [
        "SeqGAN's oracle, 20 tokens",
        "EMNLP2017 WMT news",
        "7.038 (RelGAN 1)",
    ]


def test_corpus_table_has_published_rows_over_ours(tmp_path: Path) -> None:
    page = made_of([coco_run(tmp_path / "a")])
    heads = next(line for line in page.splitlines() if line.startswith("|  | bleu_2"))
    columns = [cell.strip() for cell in heads.strip("|").split("|")]
    ours = dict(zip(columns, rows_of(page, "**leakgan, ours**")[0], strict=True))
    published = dict(zip(columns, rows_of(page, "LeakGAN, published (Texygen)")[0], strict=True))
    assert (ours["bleu_5"], ours["self_bleu_5"], ours["fbd"], ours["seeds"]) == ("0.200", "0.400", "0.250", "1")
    assert (published["bleu_5"], published["self_bleu_5"], published["nll_gen"]) == ("0.230", "0.780", "0.679")
    assert rows_of(page, "LeakGAN, published (LeakGAN COCO) (?)")[0][1] == "0.950"


def test_the_page_is_the_same_whatever_the_order_of_runs(tmp_path: Path) -> None:
    folders = [*oracle_runs(tmp_path), coco_run(tmp_path / "coco")]
    assert made_of(folders) == made_of(folders[::-1])


def test_runs_are_named_and_their_places_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = oracle_runs(tmp_path / "runs")
    out, numbers = tmp_path / "docs" / "page.md", tmp_path / "docs" / "page.json"
    out.parent.mkdir()
    verdict.main([*map(str, folders), str(folders[0]), "--output", str(out), "--json", str(numbers)])
    page = out.read_text()
    assert len(re.findall(r"^- .*, seed \d, commit ", page, re.MULTILINE)) == 6  # the folder named twice counts once
    assert str(tmp_path) not in page
    asked = verdict.asked_for("text_gan.py seqgan --corpus /a/b/c.txt --g-lr 1e-3 --run-dir /x/runs/seqgan-0")
    assert asked == "text_gan.py seqgan --corpus c.txt --g-lr 1e-3 --run-dir seqgan-0"
    found = json.loads(numbers.read_text())["SeqGAN's oracle, 20 tokens"]["seqgan"]
    assert (found["ruling"], found["seeds"], found["means"]["nll_oracle"]) == ("survives", [0, 1, 2], 8.5)
    assert found["start"]["overall"]["mean"] == pytest.approx(-0.29)
    assert found["controls"]["seqgan-noise"]["stretches"][0]["side"] == "below"
    assert "seqgan, SeqGAN's oracle, 20 tokens: survives" in capsys.readouterr().out


def test_few_seeds_and_unlike_measurements_are_named_on_the_page(tmp_path: Path) -> None:
    other = coco_run(tmp_path / "b", "relgan", config={"corpus": "/data/coco_train.tok.txt", "final_samples": 100})
    page = made_of([coco_run(tmp_path / "a"), other])
    assert "Warning: leakgan: 1 seed; an interval needs at least 3." in page
    assert "Warning: not comparable, final_samples differs" in page


def test_a_cell_cannot_break_the_table() -> None:
    assert table(["", "a"], [["x|y", "1"]]).splitlines()[-1] == r"| x\|y | 1 |"


def test_real_rows_come_from_runs_alone(tmp_path: Path) -> None:
    page = made_of(oracle_runs(tmp_path))
    assert f"{REAL['distinct_2']:.3f} ± 0.000" in rows_of(page, "REAL")[0]


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda run: (run / "summary.json").unlink(), "summary.json: missing or empty"),
        (lambda run: (run / "curves.json").write_text("["), "curves.json:1:2: not JSON"),
        (
            lambda run: (run / "config.json").write_text(
                json.dumps({"family": "gail", "variant": "gail", "seed": 0, "config": {}})
            ),
            "config.json: family gail: a text run is expected",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], break_it: Any, message: str
) -> None:
    run = write_run(tmp_path / "run", 0)
    break_it(run)
    with pytest.raises(SystemExit) as end, exit_codes():
        verdict.main([str(run), "--output", str(tmp_path / "page.md")])
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "page.md").exists()


def test_runs_must_be_named() -> None:
    with pytest.raises(InputError, match="command line: name at least one"):
        verdict.main([])
