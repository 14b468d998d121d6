import re
from pathlib import Path

import pytest

from experiments.compare import group_runs, load
from experiments.comparison_text import sections, trade_offs
from experiments.equal_quality import (
    against,
    against_each_other,
    against_start,
    at_last,
    distances_to_start,
    pretrained,
    start_of,
)
from experiments.plots import Line, Mark, trade_off
from experiments.records import Run
from tests.experiments.text_runs import PAIR, shifted, write_run


def runs_of(folder: Path, variant: str, by: list[float], **changes: object) -> list[Run]:
    return [
        load(write_run(folder / f"{variant}-{i}", i, variant=variant, last=shifted(d), **changes))  # type: ignore[arg-type]
        for i, d in enumerate(by)
    ]


def test_each_run_is_set_against_its_own_start(tmp_path: Path) -> None:
    # Starts of different heights, each last step .1 below its own: the same difference in all.
    runs = []
    for seed, height in enumerate((0.0, 1.0, 5.0)):
        start = shifted(height)
        runs.append(load(write_run(tmp_path / f"{seed}", seed, start=start, last=shifted(-0.1, start))))
    found = against_start(runs, *PAIR)
    assert found.overall.difference.mean == pytest.approx(-0.1)
    assert found.overall.side == "below"


def test_a_start_that_learned_nothing_gives_way_to_maximum_likelihood_of_the_same_seed(tmp_path: Path) -> None:
    untrained = {"config": {"numbers": {"mle_epochs": 0}}}
    mle = [load(write_run(tmp_path / f"mle{i}", i, variant="mle", last=shifted(float(i)))) for i in range(3)]
    for run in mle:
        run.description["config"]["numbers"] = {"mle_epochs": 5}
    far = [(1.0, 9.0, 99.0), (2.0, 6.0, 99.0)]
    run = load(write_run(tmp_path / "gan", 2, last=shifted(1.5), start=far, **untrained))  # type: ignore[arg-type]
    assert not pretrained(run)
    assert start_of(run, []) == ({}, [])
    summary, curve = start_of(run, mle)
    assert summary["nll_test"] == 8.5
    assert [point["nll_test"] for point in curve] == [7.0, 8.5, 13.0]
    assert against_start([run], *PAIR, mle).overall.difference.mean == pytest.approx(-0.5)
    run.description["config"]["start_from"] = "some/run"
    assert pretrained(run)
    assert start_of(run, mle)[0]["nll_test"] == 99.0


def test_maximum_likelihood_of_another_corpus_is_no_start(tmp_path: Path) -> None:
    run = load(write_run(tmp_path / "gan", 0, config={"numbers": {"mle_epochs": 0}}))
    other = load(write_run(tmp_path / "mle", 0, variant="mle", config={"corpus": "coco.txt"}))
    assert start_of(run, [other]) == ({}, [])


def test_groups_are_compared_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    ours = runs_of(tmp_path, "seqgan", [0.0, 1.0, 2.0, 50.0])
    theirs = runs_of(tmp_path, "seqgan-noise", [0.1, 1.1, 2.1])[::-1]
    found = against(ours, theirs, *PAIR)
    assert found.pairs == 3
    assert found.overall.difference.mean == pytest.approx(-0.1)
    assert found.overall.side == "below"
    fewer = runs_of(tmp_path, "trust", [0.1, 1.1, 2.1], config={"sweep_samples": 5})
    assert against(ours, fewer, *PAIR).pairs == 0  # Self-BLEU and the like depend on how many sentences there are


def test_every_two_groups_are_compared_controls_last(tmp_path: Path) -> None:
    made = [*runs_of(tmp_path, "seqgan-noise", [0.1] * 3), *runs_of(tmp_path, "seqgan", [0.0] * 3)]
    elsewhere = runs_of(tmp_path, "relgan", [0.0], config={"corpus": "coco.txt"})
    groups = group_runs([*made, *elsewhere])
    (pair,) = against_each_other(groups, *PAIR)
    assert (pair[0].name, pair[1].name) == ("seqgan", "seqgan-noise")
    assert pair[2] == "dominates for nll_oracle 6.000 to 10.000 by 0.100 [0.100, 0.100]"


def test_starts_of_each_seed_do_not_part_a_group(tmp_path: Path) -> None:
    runs = [
        load(
            write_run(tmp_path / f"r{seed}", seed, config={"start_from": f"x/seqgan10-{seed}", "evaluate_every": seed})
        )
        for seed in (1, 2)
    ]
    assert len(group_runs(runs)) == 1
    other = load(write_run(tmp_path / "other", 1, config={"start_from": "x/trust-1", "evaluate_every": 1}))
    assert len(group_runs([*runs, other])) == 2


def test_a_start_that_was_pretrained_alike_is_a_runs_own(tmp_path: Path) -> None:
    start = write_run(tmp_path / "start", 0, variant="mle")
    own = write_run(tmp_path / "own", 1, config={"start_from": None})
    given = write_run(tmp_path / "given", 0, config={"start_from": str(start)})
    assert len(group_runs([load(own), load(given)])) == 1
    longer = write_run(tmp_path / "longer", 0, variant="mle", config={"numbers": {"mle_epochs": 200}})
    other = write_run(tmp_path / "other", 0, config={"start_from": str(longer)})
    assert len(group_runs([load(own), load(other)])) == 2


def test_comparison_says_which_dominates(tmp_path: Path) -> None:
    made = [*runs_of(tmp_path, "seqgan", [-0.2] * 3), *runs_of(tmp_path, "seqgan-constant", [0.1] * 3)]
    section = trade_offs(group_runs(made))
    assert "seqgan: at the last step's nll_oracle (mean 9.000), its nll_test is 0.200 below" in section.text
    assert "Over temperatures: dominates for nll_oracle 6.000 to 10.000 by 0.200 [0.200, 0.200]." in section.text
    against_control = "seqgan against seqgan-constant: dominates for nll_oracle 6.000 to 10.000 by 0.300 [0.300, 0.300]"
    assert against_control in section.text
    assert "5,000 resamples" in section.html


def test_the_terminal_shows_methods_against_controls_the_page_all(tmp_path: Path) -> None:
    made = [run for variant in ("seqgan", "relgan") for run in runs_of(tmp_path, variant, [0.0] * 3)]
    assert "seqgan against relgan" in trade_offs(group_runs(made)).text
    section = trade_offs(group_runs([*made, *runs_of(tmp_path, "trust", [0.1] * 3)]))
    assert "seqgan against relgan" not in section.text
    assert "relgan against trust" in section.text
    assert "seqgan against relgan" in section.html


def test_an_axis_may_fall() -> None:
    def places(falling: bool) -> dict[str, float]:
        marks = [Mark(1, 3, "c2", words="one"), Mark(2, 3, "c2", words="two")]
        figure = trade_off([Line([1, 2], [3, 4], "c1")], marks, "x", "y", falling=falling)
        return {word: float(x) for x, word in re.findall(r' x="([\d.]+)"[^<]*>(one|two)<', figure)}

    assert places(False)["one"] < places(False)["two"]
    assert places(True)["one"] > places(True)["two"]


@pytest.mark.parametrize(("pair", "falls"), [(("bleu_5", "self_bleu_5"), True), (("lm_kn", "reverse_lm_kn"), False)])
def test_better_quality_is_drawn_to_the_left(
    tmp_path: Path, pair: tuple[str, str], falls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("experiments.comparison_text.trade_off", lambda *_, falling: asked.append(falling) or "figure")
    places = ((0.5, 0.1, 0.2), (1.0, 0.2, 0.4), (2.0, 0.3, 0.6))
    run = load(write_run(tmp_path / "a", 0, pair=pair, last=places, start=places))
    assert pair[0] in trade_offs(group_runs([run])).text
    assert asked == [falls]


def test_all_metrics_stand_in_one_row_beside_real_and_the_other_rows(tmp_path: Path) -> None:
    measured = {"fbd": 0.5, "copied_5": 0.25, "real/fbd": 0.1, "kn5/fbd": 0.75, "uniform/nll_oracle": 11.4}
    runs = runs_of(tmp_path, "seqgan", [0.0], summary=measured)
    blocks, table, *_ = (section.text.splitlines() for section in sections(group_runs(runs)))
    assert blocks[0].split() == ["last", "step", "start", "last", "-", "start", "REAL", "5-gram", "uniform"]
    heads = table[0].split()
    assert heads == ["n", "nll_oracle", "nll_test", "fbd", "copied_5", "distinct_2", "unique"]
    rows = {line.split()[0]: line.split()[1:] for line in table[1:]}
    assert rows["seqgan"] == ["1", "9.000", "6.500", "0.500", "0.250", "0.800", "1.000"]
    assert rows["REAL"][2] == "0.100"
    assert rows["5-gram"][2] == "0.750"
    assert rows["uniform"][0] == "11.400"


def test_the_last_step_is_what_its_curve_says_not_what_more_samples_say(tmp_path: Path) -> None:
    """Self-BLEU and reverse likelihoods depend on how many sentences there are; both curves have as many."""
    run = load(write_run(tmp_path / "0", 0, last=shifted(-0.1)))
    at_one = next(point for point in run.curves["last"] if point["inverse_temperature"] == 1.0)
    run.summary.update({PAIR[0]: 77.0, PAIR[1]: 88.0})  # type: ignore[attr-defined]
    assert at_last(run) is at_one
    assert distances_to_start([run], *PAIR) == [pytest.approx(-0.1)]
    run.curves["last"] = []
    assert at_last(run) is run.summary


def test_seeds_with_data_of_their_own_are_one_group(tmp_path: Path) -> None:
    runs = [load(write_run(tmp_path / f"{i}", i, config={"data_seed": i})) for i in range(3)]
    assert [len(group.runs) for group in group_runs(runs)] == [3]
