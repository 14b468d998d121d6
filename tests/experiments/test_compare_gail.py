import json
import math
from pathlib import Path
from typing import Any

import pytest

from experiments import compare, comparison_gail
from experiments.compare import group_runs, load, warnings
from experiments.comparison import Group, at_equal_places, comparable, learning_figure
from experiments.records import Run

DASH = "\N{EN DASH}"


def make_run(
    folder: Path, seed: int, *, variant: str = "gail", env: str = "A-v1", score: float = 0.5, **flags: Any
) -> Path:
    """A run whose return goes from 0 (random) to 100 (the expert), in CPU seconds of its own."""
    folder.mkdir()
    summary = flags.pop("summary", {})
    config = {"env": env, "env_kwargs": "{}", "seed": seed, "demos": f"{env}.npz", "final_episodes": 50, "numbers": {}}
    config |= {"run_dir": str(folder)} | flags
    description = {"family": "gail", "variant": variant, "seed": seed, "config": config}
    (folder / "config.json").write_text(json.dumps(description))
    own = {"return_mean": 100 * score, "return_normalised": score, "return_expert": 100.0, "return_random": 0.0}
    own |= {"env_steps": 3000.0, "cpu_seconds": 10.0 + seed}
    (folder / "summary.json").write_text(json.dumps(own | summary))
    rows = [
        {"step": 1000 * i, "cpu_seconds": (10.0 + seed) * i, "return_mean": 100 * score * i / 3, "d/loss": 1.0}
        for i in (1, 2, 3)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def make_runs(folder: Path, name: str, scores: list[float], **changes: Any) -> list[Path]:
    return [make_run(folder / f"{name}{i}", i, score=score, **changes) for i, score in enumerate(scores)]


def groups_of(folders: list[Path]) -> list[Group]:
    return group_runs([load(folder) for folder in folders])


def test_methods_keep_their_name_and_colour_in_every_environment(tmp_path: Path) -> None:
    # Numbers that go with the environment (steps here) are no part of a name; those that differ within one are.
    folders = [
        make_run(tmp_path / "a", 0, env="A-v1", steps=100, trajectories=4),
        make_run(tmp_path / "b", 0, env="A-v1", steps=100, trajectories=11),
        make_run(tmp_path / "c", 0, env="B-v1", steps=900, trajectories=4),
        make_run(tmp_path / "d", 1, env="B-v1", steps=900, trajectories=4, film=False),
        make_run(tmp_path / "e", 0, env="A-v1", variant="dac"),
    ]
    groups = groups_of(folders)
    assert [(group.name, len(group.runs)) for group in groups] == [
        ("gail --trajectories 4, A-v1", 1), ("gail --trajectories 11, A-v1", 1), ("gail --trajectories 4, B-v1", 2),
        ("dac, A-v1", 1),
    ]  # fmt: skip
    assert [group.method for group in groups[::2]] == ["gail --trajectories 4"] * 2
    assert groups[0].colour == groups[2].colour
    assert len({group.colour for group in groups}) == 3
    assert "gail --trajectories 11: no run in B-v1: means over environments are of other environments" in warnings(
        groups
    )


def test_arguments_of_an_environment_make_another_of_it(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "a", 0), make_run(tmp_path / "b", 0, env_kwargs='{"gravity": 1}')]
    assert [group.task for group in groups_of(folders)] == ["A-v1", 'A-v1 {"gravity": 1}']


def test_other_demonstrations_are_named_only_within_an_environment(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "a", 0), make_run(tmp_path / "b", 0, env="B-v1")]
    assert comparable([(str(folder), load(folder)) for folder in folders]) == {}
    folders.append(make_run(tmp_path / "c", 0, demos="other.npz"))
    assert comparable([(folder.name, load(folder)) for folder in folders]) == {
        "demos (A-v1)": {"A-v1.npz": "a", "other.npz": "c"}
    }


def test_table_of_the_last_step_by_hand(tmp_path: Path) -> None:
    groups = groups_of(make_runs(tmp_path, "a", [0.0, 0.3, 0.6]) + make_runs(tmp_path, "b", [0.5], variant="bc"))
    table = comparison_gail.at_the_end(groups)
    assert table.columns == ["n", "return_mean", "return_normalised", "IQM"]
    ((title, rows),) = table.blocks
    assert title == "A-v1: expert 100.0, random 0.000"
    # Half of the interval of 0, 30, 60: 4.30265 * 30 / sqrt(3) = 74.52; of three runs the IQM is the mean, and one draw
    # in 27 is all zeros, one all sixties.
    assert dict(rows) == {
        "gail": ["3", "30.000 ± 74.524", "0.300 ± 0.745", "0.300 [0.000, 0.600]"],
        "bc": ["1", "50.000", "0.500", "0.500"],
    }


def test_costs_say_how_many_runs_solved_it(tmp_path: Path) -> None:
    folders = make_runs(tmp_path, "a", [0.5, 0.5])
    folders.append(make_run(tmp_path / "s", 2, summary={"solved_env_steps": 2000.0}))
    table = comparison_gail.costs(groups_of(folders))
    assert table.columns == ["n", "env_steps", "cpu_seconds", "solved_env_steps"]
    ((_, ((_, cells),)),) = table.blocks
    assert cells == ["3", "3,000 ± 0.000", "11.000 ± 2.484", "2,000 (n = 1)"]


def test_one_line_for_each_method_over_all_its_environments(tmp_path: Path) -> None:
    folders = make_runs(tmp_path, "a", [0.1, 0.2, 0.3]) + make_runs(tmp_path, "b", [0.7, 0.8, 0.9], env="B-v1")
    folders += make_runs(tmp_path, "c", [0.4, 0.4, 0.4], variant="dac")
    folders += make_runs(tmp_path, "d", [0.8, 0.8, 0.8], variant="dac", env="B-v1")
    (table,) = comparison_gail.over_tasks(groups_of(folders))
    assert table.columns == ["environments", "n", "mean", "IQM", "better than gail"]
    ((_, rows),) = table.blocks
    first, second = (cells for _, cells in rows)
    assert first[:3] == ["2", "6", "0.500"]
    # Of .1 .2 .3 .7 .8 .9 the middle four; drawn anew within each environment they stay around the two heights.
    assert first[3].startswith("0.500 [0.4")
    assert first[4] == DASH
    assert second[:4] == ["2", "6", "0.600", "0.600 [0.600, 0.600]"]
    # In A every one is better; in B .7 is beaten, .8 ties, .9 wins: (1 + 1 / 2) / 2.
    assert second[4].startswith("0.750 [0.5")


def test_methods_without_a_common_environment_are_not_set_against_each_other(tmp_path: Path) -> None:
    folders = [make_run(tmp_path / "a", 0), make_run(tmp_path / "b", 0, env="B-v1", variant="dac")]
    (table,) = comparison_gail.over_tasks(groups_of(folders))
    assert table.blocks[0][1][1][1][-1] == DASH
    assert comparison_gail.over_tasks(groups_of(folders[:1])) == []


def test_a_run_that_has_no_return_of_its_expert_is_left_out(tmp_path: Path) -> None:
    groups = groups_of([make_run(tmp_path / "a", 0, summary={"return_normalised": None}), make_run(tmp_path / "b", 1)])
    ((_, ((_, cells),)),) = comparison_gail.at_the_end(groups).blocks
    assert cells[2:] == ["0.500 (n = 1)", "0.500"]


def test_curves_over_places_of_their_own_are_read_on_a_grid() -> None:
    x, (a, b) = at_equal_places([([0.0, 10.0], [0.0, 100.0]), ([5.0, 15.0], [1.0, 1.0])])
    assert (x[0], x[-1]) == (5.0, 10.0)
    assert (a[0], a[-1]) == (50.0, 100.0)
    assert a[1] - a[0] == pytest.approx(50 / (len(x) - 1))
    assert set(b) == {1.0}
    # Common places are taken as they are; where two curves never meet there is nothing.
    assert at_equal_places([([1.0, 2.0, 3.0], [5.0, 6.0, 7.0]), ([2.0, 3.0], [8.0, 9.0])]) == (
        [2.0, 3.0],
        [[6.0, 7.0], [8.0, 9.0]],
    )
    assert at_equal_places([([0.0, 1.0], [0.0, 1.0]), ([2.0, 3.0], [0.0, 1.0])]) == ([], [])
    assert at_equal_places([([1.0], [2.0])]) == ([1.0], [[2.0]])
    assert at_equal_places([]) == ([], [])


def test_return_over_cpu_seconds_has_a_band_from_three_runs_on(tmp_path: Path) -> None:
    runs: list[Run] = [load(folder) for folder in make_runs(tmp_path, "a", [0.2, 0.4, 0.6])]
    group = Group("a", runs, "c0")
    for over in ("step", "cpu_seconds"):
        assert learning_figure([group], "return_mean", over).count("opacity: 0.18") == 1
    figure = learning_figure([Group("a", runs[:2], "c0")], "return_mean", "cpu_seconds")
    assert "opacity: 0.18" not in figure
    assert figure.count("stroke-opacity: 0.6") == 2  # each of the two runs, thin
    assert math.isclose(runs[1].series("return_mean", "cpu_seconds")[0][0], 11.0)


def test_main_prints_the_tables_and_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = make_runs(tmp_path, "a", [0.1, 0.2, 0.3]) + make_runs(tmp_path, "b", [0.7, 0.8, 0.9], env="<B>-v1")
    out = tmp_path / "page.html"
    compare.main([*map(str, folders), "--output", str(out)])
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    places = [lines.index(title) for title in ("At the last step", "Over all environments", "What it took")]
    assert places == sorted(places)
    assert lines[-1] == f"page: {out}"
    text = out.read_text()
    assert "&lt;B&gt;-v1" in text
    assert "<B>" not in text
    assert text.count("gail, n = 6</li>") == 1  # the legend names a method once
    # Return over two axes in two environments, and the discriminator's loss in each.
    assert text.count("<svg") == 6


def test_families_stand_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [make_run(tmp_path / "a", 0), make_run(tmp_path / "b", 0, variant="seqgan")]
    config = json.loads((folders[1] / "config.json").read_text())
    (folders[1] / "config.json").write_text(json.dumps(config | {"family": "chess"}))
    compare.main([*map(str, folders), "--output", str(tmp_path / "page.html")])
    said = capsys.readouterr()
    assert "not comparable, family differs: gail (gail); chess (seqgan)" in said.err
    assert (tmp_path / "page.html").read_text().count("<h2>At the last step</h2>") == 2
    assert said.out.count("What it took") == 1
