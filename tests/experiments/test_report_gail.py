import base64
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments import published, records, report, report_gail
from rl.runtime.errors import InputError
from tests.experiments.helpers import Tags

SUMMARY = {
    "return_mean": 3421.5, "return_std": 12.25, "return_normalised": 0.957, "return_expert": 3571.0,
    "return_random": 15.5, "episode_length": 980.0, "env_steps": 300_000.0, "cpu_seconds": 512.5,
    "solved_env_steps": 262_144.0,
}  # fmt: skip
LOGITS = {"edges": [-1.0, 0.0, 1.0], "counts": {"expert": [1, 9], "agent": [6, 2]}}
REWARDS = {"edges": [0.0, 5.0, 10.0], "counts": {"terminated": [0, 3], "others": [1200, 0]}}


def make_run(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    config = {"env": "Hopper-v5", "env_kwargs": "{}", "numbers": {"trajectories": 4, "ppo": {"gamma": 0.99}}}
    description = {"family": "gail", "variant": "dac", "seed": 3, "config": config | changes, "command": "gail.py dac"}
    (folder / "config.json").write_text(json.dumps(description))
    return folder


def log(folder: Path, accuracies: tuple[float, float] = (0.7, 0.6)) -> None:
    rows: list[dict[str, Any]] = [{"step": 0, "return_mean": 100.0}]  # of cloning: no CPU seconds yet
    for step in (1000, 2000, 3000):
        row = {"step": step, "seconds": step / 10, "cpu_seconds": step / 20, "return_mean": 10.0 * step}
        row |= {"train/return": 9.0 * step, "d/accuracy_expert": accuracies[0], "d/accuracy_agent": accuracies[1]}
        rows.append(row | {"entropy": 0.5})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def finish(folder: Path) -> bytes:
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    (folder / "histograms.json").write_text(json.dumps({"logits": LOGITS, "rewards": REWARDS}))
    (folder / "samples").mkdir()
    file = io.BytesIO()
    Image.new("RGB", (4, 2), (200, 0, 0)).save(file, "PNG")
    (folder / "samples" / "film.png").write_bytes(file.getvalue())
    return file.getvalue()


def titles(text: str) -> list[str]:
    return [html.unescape(title) for title in re.findall("<h2>(.*?)</h2>", text)]


def test_page_of_a_finished_run_holds_everything(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    log(run)
    film = finish(run)
    text = report.write(run).read_text(encoding="utf-8")
    assert titles(text) == [
        "Summary", "Published, Hopper-v1", "Return", "Discriminator", "What the agent's steps earn", "One episode",
        "Over the steps", "Configuration",
    ]  # fmt: skip
    rows = {row[0]: row[1:] for row in Tags(text).rows}
    assert rows["last step"] == ["3,422 ± 12.250", "0.957"]
    assert rows["the expert's demonstrations"] == ["3,571", "1.000"]
    assert rows["random actions"] == ["15.500", "0.000"]
    assert rows["4"] == ["50.570 ± 0.950", "3,572 ± 6.350", "3,065 ± 147.8", "3,614 ± 7.170"]
    assert re.search(r'<tr class="strong"><th>4</th>', text)
    assert "Theirs is Hopper-v1, this run's Hopper-v5: not the same environment." in " ".join(text.split())
    assert "<span>solved_env_steps</span><span>262,144</span>" in text
    assert "steps that terminated, n = 3" in text
    assert "all others, n = 1,200" in text
    assert "entropy<small>of the policy, nats</small>" in text
    for words in ("over steps in the environment", "over CPU seconds of training"):
        assert f"return<small>{words}</small>" in text
    # Returns over steps and over CPU seconds, accuracies, two histograms, entropy.
    assert text.count("<svg") == 6
    (image,) = (attributes for tag, attributes in Tags(text).tags if tag == "img")
    assert base64.b64decode(str(image["src"]).removeprefix("data:image/png;base64,")) == film
    assert "img-src data:" in text


def test_page_is_self_contained_and_nothing_in_it_is_raw(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", env="<script>-v5", demos="<b>.npz")
    log(run)
    finish(run)
    text = report.write(run).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<b>" not in text
    assert "http://" not in text
    assert "https://" not in text


def test_page_of_a_run_half_way_leaves_out_what_is_missing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert titles(report.write(run).read_text()) == ["Configuration"]
    log(run)
    text = report.write(run).read_text()
    assert titles(text) == ["Return", "Discriminator", "Over the steps", "Configuration"]
    assert "not finished" in text
    assert "random actions" not in text


def test_page_of_a_control_has_no_discriminator(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", env="Swimmer-v5")
    (run / "metrics.jsonl").write_text('{"step": 1, "cpu_seconds": 1, "return_mean": 2.0}\n')
    (run / "summary.json").write_text(json.dumps(SUMMARY))
    text = report.write(run).read_text()
    assert titles(text) == ["Summary", "Return", "Configuration"]
    assert "likeliest actions, other episodes" in text
    assert "drawn actions, in training" not in text


@pytest.mark.parametrize(("accuracies", "warned"), [((1.0, 0.995), True), ((1.0, 0.98), False), ((0.5, 1.0), False)])
def test_a_discriminator_that_is_always_right_is_named(
    tmp_path: Path, accuracies: tuple[float, float], warned: bool
) -> None:
    run = make_run(tmp_path / "run")
    log(run, accuracies)
    assert ('class="warning"' in report.write(run).read_text()) == warned


def test_returns_are_drawn_between_random_actions_and_the_expert(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    log(run)
    assert "dasharray" not in report_gail.returns(records.read(run))
    finish(run)
    read = records.read(run)
    assert report_gail.returns(read).count("stroke-dasharray") == 4  # two levels in two figures
    assert read.series("return_mean", "cpu_seconds") == ([50.0, 100.0, 150.0], [10_000.0, 20_000.0, 30_000.0])
    assert read.series("return_mean")[0] == [0.0, 1000.0, 2000.0, 3000.0]


def test_rewards_are_shown_only_where_something_terminated(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    never = REWARDS | {"counts": {"terminated": [0, 0], "others": [1200, 0]}}
    (run / "histograms.json").write_text(json.dumps({"logits": LOGITS, "rewards": never}))
    assert titles(report.write(run).read_text()) == ["Discriminator", "Configuration"]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("[]", "histograms.json: an object"),
        ('{"logits": 3}', "histograms.json: logits: an object"),
        ('{"logits": {"edges": [0, 1]}}', r"histograms.json: logits\.counts: an object"),
        ('{"logits": {"edges": [1, 0], "counts": {}}}', r"logits\.edges: a list of rising"),
        ('{"logits": {"edges": [0, null], "counts": {}}}', r"logits\.edges: a list of rising"),
        ('{"logits": {"edges": [0, 1], "counts": {"agent": [1, 2]}}}', r"logits\.counts\.agent: 1 numbers"),
        ('{"logits": {"edges": [0, 1], "counts": {"agent": ["x"]}}}', r"logits\.counts\.agent: 1 numbers"),
    ],
)
def test_histograms_that_cannot_be_read_are_named(tmp_path: Path, content: str, place: str) -> None:
    run = make_run(tmp_path / "run")
    (run / "histograms.json").write_text(content)
    with pytest.raises(InputError, match=place):
        report.write(run)


def test_a_family_that_has_no_sections_of_its_own_shows_summary_and_metrics(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    description = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(description | {"family": "chess"}))
    log(run)
    finish(run)
    text = report.write(run).read_text()
    assert titles(text) == ["Summary", "Over the steps", "Configuration"]
    assert {row[0] for row in Tags(text).rows} == {"", "last step"}


@pytest.mark.parametrize(
    ("env", "task"),
    [
        ("Hopper-v5", "Hopper-v1"), ("CartPole-v1", "CartPole-v0"), ("Reacher-v4", "Reacher-v1"),
        ("seals/Hopper-v1", ""), ("HopperBullet-v0", ""), ("Hopper", ""), ("Hopper-v1-slow", ""),
    ],
)  # fmt: skip
def test_published_tasks_are_found_by_name_whatever_the_version(env: str, task: str) -> None:
    found = published.task_like(env)
    assert (found.env if found else "") == task


def test_published_numbers_are_the_papers() -> None:
    assert len(published.GAIL) == 9
    for task in published.GAIL.values():
        assert all(len(scores) == len(task.methods) for scores in task.rows.values())
    gail = {
        name: {n: row[task.methods.index("GAIL")] for n, row in task.rows.items()}
        for name, task in published.GAIL.items()
    }
    assert gail["Walker2d"] == {4: (4877.98, 2848.37), 11: (6850.27, 39.19), 18: (6964.68, 46.3), 25: (6832.01, 254.64)}
    assert gail["Humanoid"][240] == (10361.94, 61.28)
    assert gail["Acrobot"][1] == (-77.26, 18.03)
    assert published.GAIL["Ant"].rows[25][0] == (3235.73, 1186.38)
    assert published.GAIL["HalfCheetah"].expert == (4463.46, 105.83)
    assert report_gail.score(-302.6, published.UNKNOWN) == "\N{MINUS SIGN}302.6"
