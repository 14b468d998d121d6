import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments import compare
from experiments.compare import group_runs, load, warnings
from experiments.comparison import Group, learning_figure
from experiments.comparison_text import at_equal_temperature, tabulate
from experiments.equal_quality import compare_curves
from experiments.statistics import interval, read_curve, t_cover, t_quantile
from rl.runtime.errors import InputError, exit_codes

MINUS = "\N{MINUS SIGN}"


def make_run(folder: Path, seed: int, *, variant: str = "seqgan", y: float = 8.0, x: float = 9.0, **flags: Any) -> Path:
    """A run whose start's curve is y = 20 - 1.5 x from 6 to 10, and whose last step stands at (x, y)."""
    folder.mkdir()
    numbers = {name: flags.pop(name, value) for name, value in (("batch", 64), ("vocabulary", 500), ("length", 0))}
    config = {
        "corpus": "oracle",
        "oracle_params": None,
        "seed": seed,
        "run_dir": str(folder),
        "numbers": numbers,
    } | flags
    description = {"family": "text_gan", "variant": variant, "seed": seed, "config": config, "command": "<b>"}
    (folder / "config.json").write_text(json.dumps(description))
    last, start = {"nll_oracle": x, "nll_test": y}, {"mle/nll_oracle": 9.5, "mle/nll_test": 5.75}
    (folder / "summary.json").write_text(json.dumps(last | start | {"real/nll_oracle": 5.0}))
    mle = [
        {"inverse_temperature": t, "nll_oracle": a, "nll_test": 20 - 1.5 * a} for t, a in ((0.5, 10), (1, 8), (2, 6))
    ]
    curves = {"mle": mle, "last": [{"inverse_temperature": 1.0, "nll_oracle": x, "nll_test": y}]}
    (folder / "curves.json").write_text(json.dumps(curves))
    (folder / "metrics.jsonl").write_text("".join(json.dumps({"step": s, "loss": seed + s}) + "\n" for s in (1, 2, 3)))
    return folder


def make_runs(folder: Path, name: str, ys: list[float], **changes: Any) -> list[Path]:
    return [make_run(folder / f"{name}{i}", i, y=y, **changes) for i, y in enumerate(ys)]


@pytest.mark.parametrize(
    ("freedom", "expected"),  # two-sided 95 % points of Student's t, from printed tables
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (29, 2.045), (120, 1.980)],
)
def test_t_quantiles_match_printed_tables(freedom: int, expected: float) -> None:
    assert t_quantile(freedom) == pytest.approx(expected, abs=6e-4)


@given(st.integers(1, 60), st.floats(0.01, 20))
def test_t_cover_is_the_integral_of_the_density(freedom: int, t: float) -> None:
    log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    steps = 2_000  # Simpson's rule
    weights = [1 if i in (0, steps) else 4 if i % 2 else 2 for i in range(steps + 1)]
    heights = [(1 + (t * i / steps) ** 2 / freedom) ** (-(freedom + 1) / 2) for i in range(steps + 1)]
    area = sum(w * h for w, h in zip(weights, heights, strict=True)) * t / steps / 3
    assert t_cover(t, freedom) == pytest.approx(2 * math.exp(log_scale) * area, abs=1e-7)


def test_interval_by_hand() -> None:
    # 1, 2, 3: standard deviation 1, so half of the interval is 4.30265 / sqrt(3).
    found = interval([1.0, 2.0, 3.0])
    assert (found.n, found.mean) == (3, 2.0)
    assert found.high - 2 == pytest.approx(2.48414, abs=1e-5)
    assert 2 - found.low == pytest.approx(2.48414, abs=1e-5)
    assert math.isnan(interval([1.0, 2.0]).low)
    assert math.isnan(interval([]).mean)


def test_a_curve_is_read_between_its_points_at_its_lowest() -> None:
    x, y = [0.0, 2.0, 2.0, 1.0], [0.0, 4.0, 1.0, 0.0]
    assert read_curve(x[:2], y[:2], 0.5) == 1.0
    assert read_curve(x, y, 1.5) == 0.5  # 3.0 on the way out, 0.5 on the way back
    assert read_curve(x, y, 2.0) == 1.0
    assert math.isnan(read_curve(x, y, 2.1))
    assert math.isnan(read_curve([], [], 1.0))


def test_runs_group_by_variant_and_by_what_differs_besides_the_seed(tmp_path: Path) -> None:
    folders = [
        make_run(tmp_path / "a", 0, runtime={"threads": 1}),
        make_run(tmp_path / "b", 1, runtime={"threads": 2}),
        make_run(tmp_path / "c", 0, batch=128),
        make_run(tmp_path / "d", 0, variant="mle", batch=32),
    ]
    groups = group_runs([load(folder) for folder in folders])
    assert [(group.name, len(group.runs)) for group in groups] == [
        ("seqgan --batch 64", 2), ("seqgan --batch 128", 1), ("mle", 1),
    ]  # fmt: skip


def test_groups_with_many_differences_keep_names_apart(tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", 0, preset="demo", a=1, b=1, c=1)
    second = make_run(tmp_path / "b", 0, preset="demo", a=1, b=1, c=2)
    third = make_run(tmp_path / "c", 0, preset="paper", a=2, b=2, c=2)
    groups = group_runs([load(folder) for folder in (first, second, third)])
    names = [group.name for group in groups]
    assert names[0] == "seqgan --preset demo --a 1 --b 1 +1 more"
    assert names[1] == names[0] + " (2)"


def test_table_takes_differences_within_runs(tmp_path: Path) -> None:
    (group,) = group_runs([load(folder) for folder in make_runs(tmp_path, "a", [5.0, 6.0, 7.0])])
    rows = dict(tabulate(group))
    # Half of the interval of 5, 6, 7 is 2.484; the start is 5.75 in every run.
    assert rows["nll_test"] == ["6.000 ± 2.484", "5.750 ± 0.000", "0.250 ± 2.484", "\N{EN DASH}"]
    assert rows["nll_oracle"][3] == "5.000 ± 0.000"
    group.runs[0].summary.pop("nll_test")
    assert dict(tabulate(group))["nll_test"][0] == "6.500 (n = 2)"


@pytest.mark.parametrize(
    ("ys", "side", "verdict"),
    [
        # The start's curve is 20 - 1.5 * 9 = 6.5 at x = 9.
        ([6.2, 6.3, 6.4], "0.200 below", f"{MINUS}0.448 to 0.048, n = 3: no clear difference"),
        ([6.29, 6.3, 6.31], "0.200 below", f"{MINUS}0.225 to {MINUS}0.175, n = 3: better"),
        ([6.69, 6.7, 6.71], "0.200 above", "0.175 to 0.225, n = 3: worse"),
        ([6.3, 6.3], "0.200 below", "n = 2: too few seeds"),
    ],
)
def test_verdict_beside_the_starts_temperature_curve(tmp_path: Path, ys: list[float], side: str, verdict: str) -> None:
    words = compare_curves([load(folder) for folder in make_runs(tmp_path, "a", ys)], "nll_oracle", "nll_test")
    assert f"its nll_test is {side} the start's temperature curve" in words
    assert verdict in words


def test_verdict_says_where_the_start_does_not_reach(tmp_path: Path) -> None:
    away = load(make_run(tmp_path / "a", 0, x=10.5))
    near = load(make_run(tmp_path / "b", 1, y=6.0))
    assert "does not reach there" in compare_curves([away], "nll_oracle", "nll_test")
    assert "; 1 more did not reach it" in compare_curves([away, near], "nll_oracle", "nll_test")
    assert compare_curves([away], "bleu_4", "self_bleu_4") == ""


def test_verdict_names_the_stretches_of_the_curve(tmp_path: Path) -> None:
    # Last step less start: -.1 at 7, -.05 at 7.5, .1 at 8, -.1 at 9: zero at 7 2/3 and 8.5, between places of 2 / 40.
    runs = [load(make_run(tmp_path / f"{seed}", seed)) for seed in range(3)]
    places = [(3.0, 7.0, 9.4), (2.0, 7.5, 8.7), (1.0, 8.0, 8.1), (0.5, 9.0, 6.4)]  # start: 9.5, 8.75, 8.0, 6.5
    for run in runs:
        run.curves["last"] = [{"inverse_temperature": t, "nll_oracle": x, "nll_test": y} for t, x, y in places]
    words = compare_curves(runs, "nll_oracle", "nll_test")
    assert "dominates for nll_oracle 7.000 to 7.650 by" in words
    assert "is dominated for nll_oracle 7.700 to 8.450 by" in words
    assert ", level for nll_oracle 8.500, dominates for nll_oracle 8.550 to 9.000 by" in words


def test_means_are_taken_at_temperatures_that_all_seeds_have() -> None:
    one = {0.5: {"x": 1.0, "y": 5.0}, 1.0: {"x": 2.0, "y": 6.0}}
    two = {1.0: {"x": 4.0, "y": 8.0}, 2.0: {"x": 9.0, "y": 9.0}}
    assert at_equal_temperature([one, two], "x", "y") == [(1.0, [2.0, 4.0], [6.0, 8.0])]
    assert at_equal_temperature([], "x", "y") == []


def test_learning_curves_need_no_common_steps(tmp_path: Path) -> None:
    runs = [load(folder) for folder in make_runs(tmp_path, "a", [6.0, 6.0])]
    runs[1].rows[:] = [{"step": 9, "loss": 1.0}]
    assert "<svg" in learning_figure([Group("a", runs, "c0")], "loss")


def test_warnings_name_few_seeds_repeated_seeds_and_what_is_not_comparable(tmp_path: Path) -> None:
    folders = make_runs(tmp_path, "a", [6.0, 6.0, 6.0])
    assert warnings(group_runs([load(folder) for folder in folders])) == []
    folders += [make_run(tmp_path / "again", 2), make_run(tmp_path / "big", 0, vocabulary=900)]
    assert warnings(group_runs([load(folder) for folder in folders])) == [
        "seqgan --vocabulary 500: more than one run of seed 2: not independent",
        "seqgan --vocabulary 900: 1 seed; an interval needs at least 3",
        "not comparable, vocabulary differs: 500 (seqgan --vocabulary 500); 900 (seqgan --vocabulary 900)",
    ]
    # Twenty is an oracle's length by default; the flag of the vocabulary says nothing of an oracle from a file.
    lengths = [make_run(tmp_path / f"l{length}", 0, length=length) for length in (20, 0)]
    assert not any("comparable" in line for line in warnings(group_runs([load(folder) for folder in lengths])))
    files = [make_run(tmp_path / f"f{v}", 0, vocabulary=v, oracle_params="o.npz") for v in (5, 6)]
    assert not any("comparable" in line for line in warnings(group_runs([load(folder) for folder in files])))


def test_main_prints_the_table_and_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = make_runs(tmp_path, "a", [6.29, 6.3, 6.31]) + make_runs(tmp_path, "b", [7.0], variant="<i>mle")
    out = tmp_path / "page.html"
    compare.main([*map(str, folders), str(folders[0]), "--output", str(out)])
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].split() == ["last", "step", "start", "last", "-", "start", "REAL"]
    assert lines[1] == "seqgan, n = 3"  # the folder named twice counts once
    assert len({len(line) for line in lines[2:4]}) == 1
    assert "n = 3: better" in said.out
    assert "warning: <i>mle: 1 seed" in said.err
    text = out.read_text()
    assert text.count("<svg") == 2
    assert "&lt;i&gt;mle" in text
    assert "<i>mle" not in text
    assert "<b>" not in text
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda run: (run / "config.json").unlink(), "run/config.json: not a run's folder: "),
        (lambda run: (run / "summary.json").unlink(), "run/summary.json: missing or empty, the run is not finished"),
        (lambda run: (run / "summary.json").write_text('{\n"a": 1,}'), "run/summary.json:2:"),
        (lambda run: (run / "curves.json").write_text("["), "run/curves.json:1:2: not JSON"),
        (lambda run: (run / "summary.json").write_bytes(b"\xff"), "run/summary.json: not JSON: "),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], break_it: Any, message: str
) -> None:
    run = make_run(tmp_path / "run", 0)
    break_it(run)
    with pytest.raises(SystemExit) as end, exit_codes():
        compare.main([str(run), "--output", str(tmp_path / "page.html")])
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(("arguments", "named"), [([], "command line: "), (["--no-such-flag"], "^--no-such-flag: ")])
def test_bad_command_line_is_one_line(arguments: list[str], named: str) -> None:
    with pytest.raises(InputError, match=named):
        compare.main(arguments)
