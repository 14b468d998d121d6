import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from experiments import painter, painting
from experiments.painter import Experiment, Progress, Studio, at_random, worth
from image_gans.data import Data, load
from image_gans.metrics import features
from image_gans.metrics.evaluation import Reference
from image_gans.samples import Pair, as_bytes
from rl.control import environments
from rl.control.collecting import Collector
from rl.objectives import Wasserstein
from rl.rewards import PerStep, Terminal
from rl.runtime import Engine, InputError, Runtime
from tests.experiments.helpers import Tags, call, rows, succeed

FLAT = 2 * 3.5 / 8 - 1  # the middle of row or column 3, of 8 pixels
ONE = 0.0  # the width number of one pixel, where a side has 8: from 0 to 2 pixels
TINY = ("--judge-steps", 2, "--rounds", 3, "--canvases", 8, "--samples", 40, "--evaluate-every", 2)


def stroke(*numbers: float, under: float = -1.0, side: int = 8) -> np.ndarray:
    canvas = np.full((1, side, side), under, np.float32)
    return painting.paint(canvas, np.array([numbers], np.float32))[0]


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", channels=1)


@pytest.fixture(scope="module")
def cache(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier that has hardly been trained: these tests ask no more of it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "STEPS", 60)
        Reference(digits, folder, torch.device("cpu"))
    return folder


def test_a_horizontal_stroke_of_one_pixel_fills_its_row_alone() -> None:
    expected = np.full((8, 8), -1.0)
    expected[3] = 1
    assert stroke(-1, FLAT, 0, FLAT, 1, FLAT, ONE, 1) == pytest.approx(expected, abs=1e-6)
    assert stroke(FLAT, -1, FLAT, 0, FLAT, 1, ONE, 1) == pytest.approx(expected.T, abs=1e-6)


def test_width_ends_and_ink_by_hand() -> None:
    wide = stroke(-1, 0, 0, 0, 1, 0, 1, 1)  # two pixels wide along the line between rows 3 and 4
    assert wide[:, 0] == pytest.approx([-1, -1, -1, 1, 1, -1, -1, -1], abs=1e-6)
    thin = stroke(-1, FLAT, 0, FLAT, 1, FLAT, -0.5, 1)  # half a pixel: covers 0.25 + 0.5 of the row
    assert thin[:, 5] == pytest.approx([-1, -1, -1, 0.5, -1, -1, -1, -1], abs=1e-6)
    grey = stroke(-1, FLAT, 0, FLAT, 1, FLAT, -0.5, 0.2, under=0.6)  # 0.6 + 0.75 (0.2 - 0.6)
    assert grey[3] == pytest.approx(np.full(8, 0.3), abs=1e-6)
    black = stroke(-1, FLAT, 0, FLAT, 1, FLAT, ONE, -1, under=1)
    assert black[3] == pytest.approx(-np.ones(8))
    assert black[4] == pytest.approx(np.ones(8))
    dot = stroke(FLAT, FLAT, FLAT, FLAT, FLAT, FLAT, 1, 1)  # a disc of radius 1 around pixel (3, 3)
    assert dot[3, 3] == dot[3, 2] + 1 == dot[2, 3] + 1 == 1  # distance 1: half covered
    assert dot[2, 2] == pytest.approx(2 * (1.5 - 2**0.5) - 1, abs=1e-6)
    assert dot[3, 1] == -1


def test_a_curve_bends_towards_its_middle_point_and_passes_half_way() -> None:
    side = 32
    at = stroke(-0.9, -0.9, 0.9, -0.9, 0.9, 0.9, -0.7, 1, side=side)
    # (first + 2 bend + last) / 4 = (0.45, -0.45): x right, y down
    column, row = (int((number + 1) / 2 * side) for number in (0.45, -0.45))
    assert at[row, column] > 0
    assert at[column, row] == -1
    assert at[1, 30] == -1  # the bend itself is not touched
    assert at[side // 2, side // 2] == -1  # nor is the straight way
    assert at == pytest.approx(stroke(0.9, 0.9, 0.9, -0.9, -0.9, -0.9, -0.7, 1, side=side), abs=1e-5)


def test_canvases_are_painted_one_by_one_and_stay_pictures() -> None:
    generator = np.random.default_rng(0)
    canvases = generator.uniform(-1, 1, (20, 16, 16)).astype(np.float32)
    strokes = generator.uniform(-1, 1, (20, painting.NUMBERS)).astype(np.float32)
    before = canvases.copy()
    painted = painting.paint(canvases, strokes)
    assert np.array_equal(canvases, before)
    assert painted.dtype == np.float32
    assert np.abs(painted).max() <= 1
    for one, canvas, numbers in zip(painted, canvases, strokes, strict=True):
        assert np.array_equal(one, painting.paint(canvas[None], numbers[None])[0])


def test_episodes_have_so_many_strokes_and_repeat_with_their_seed() -> None:
    env = environments.make(painting.ID, 3, {"side": 8, "strokes": 2, "classes": 5})
    obs, _ = env.reset(seed=[7, 8, 7])
    assert env.observation_space.contains(obs)
    assert obs["asked"][0] == obs["asked"][2]
    strokes = np.random.default_rng(0).uniform(-1, 1, (3, painting.NUMBERS)).astype(np.float32)
    strokes[2] = strokes[0]
    first, rewards, terminated, truncated, _ = env.step(strokes)
    assert not rewards.any() | terminated.any() | truncated.any()
    last, _, terminated, truncated, _ = env.step(strokes)
    assert terminated.all()
    assert not truncated.any()
    assert [*obs["left"], *first["left"], *last["left"]] == [2] * 3 + [1] * 3 + [0] * 3
    assert np.array_equal(last["canvas"][0], last["canvas"][2])
    assert not np.array_equal(first["canvas"], last["canvas"])
    again, _ = env.reset(seed=[1, 9, 3], options={"reset_mask": np.array([True, False, False])})
    assert (again["canvas"][0] == -1).all()
    assert (last["canvas"][0] != -1).any()  # what was observed stays
    assert np.array_equal(again["canvas"][1:], last["canvas"][1:])
    assert [*again["left"]] == [2, 0, 0]
    classes = [env.reset(seed=seed)[0]["asked"].tolist() for seed in range(40)]
    assert {label for several in classes for label in several} == set(range(5))
    assert classes[0][1:] == classes[1][:2]  # one seed is counted up


def test_a_collector_continues_an_interrupted_canvas() -> None:
    def easels() -> Collector:
        return Collector(environments.make(painting.ID, 4, {"strokes": 5}), 0)

    torch.manual_seed(0)
    one, other = easels(), easels()
    one.collect(at_random, 7)
    other.load_state_dict(one.state_dict())
    torch.manual_seed(1)
    expected = one.collect(at_random, 6)
    torch.manual_seed(1)
    found = other.collect(at_random, 6)
    assert all(torch.equal(a, b) for a, b in zip(expected.steps, found.steps, strict=True))


@pytest.mark.parametrize("wrong", [{"strokes": 0}, {"side": 0}, {"classes": 0}, {"colour": 1}])
def test_an_environment_that_cannot_be_is_refused_in_one_line(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=rf"^Painting-v0: [^\n]*{next(iter(wrong))}"):
        environments.make(painting.ID, 2, wrong)


def test_the_reward_telescopes_to_the_worth_of_the_last_canvas(digits: Data) -> None:
    torch.manual_seed(0)
    studio = Studio(Experiment(strokes=3, canvases=16, samples=20), digits)
    judge = studio.players.discriminator
    studio.paint(at_random)  # must not disturb the canvases of the run
    for _ in range(2):
        rollout = studio.collector.collect(at_random, 3).relabel(PerStep(Progress(judge, studio.view), Wasserstein()))
        last = studio.view(rollout.steps.next_obs[:, -1])
        assert rollout.rewards.shape == (16, 3)
        assert not rollout.rewards.requires_grad
        assert rollout.rewards.abs().min() > 0
        assert torch.allclose(rollout.rewards.sum(1), worth(judge, last), atol=1e-5)
        # the same as paying the end alone, but for what black is worth
        ends = rollout.relabel(Terminal(lambda steps: judge(studio.view(steps.next_obs[:, -1])), Wasserstein()))
        black = Pair(torch.full_like(last.x, -1), last.label)
        with torch.no_grad():
            assert torch.allclose(rollout.rewards.sum(1), ends.rewards.sum(1) - judge(black), atol=1e-5)
        assert torch.equal(rollout.steps.terminated, torch.tensor([False, False, True]).expand(16, 3))


def test_a_stroke_that_changes_nothing_earns_nothing(digits: Data) -> None:
    studio = Studio(Experiment(canvases=4), digits)
    black = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0, -1.0]]).expand(4, -1)
    rollout = studio.collector.collect(lambda obs: black, 4)
    pays = PerStep(Progress(studio.players.discriminator, studio.view), Wasserstein())
    assert pays(rollout).abs().max() < 1e-6


def test_the_view_reads_canvas_and_class_from_rows(digits: Data) -> None:
    studio = Studio(Experiment(canvases=2), digits)
    env = environments.make(painting.ID, 2, {})
    obs, _ = env.reset(seed=[4, 5])
    obs["canvas"][1, 8 * 2 + 5] = 0.25  # row 2, column 5
    seen = studio.view(torch.from_numpy(studio.collector.observations.rows(obs)).unsqueeze(1))
    assert seen.x.shape == (2, 1, 8, 8)
    assert seen.x[1, 0, 2, 5] == 0.25
    assert seen.label.tolist() == obs["asked"].tolist()


def test_the_studio_draws_real_pictures_of_the_classes_asked_for(digits: Data) -> None:
    torch.manual_seed(0)
    studio = Studio(Experiment(), digits)
    stored = {
        (picture.numpy().tobytes(), label)
        for picture, label in zip(*digits.train[:1], digits.train.labels.tolist(), strict=True)
    }
    wanted = torch.arange(10).repeat(600)
    real = studio.real(wanted)
    drawn = {
        (picture.numpy().tobytes(), label) for picture, label in zip(as_bytes(real.x), wanted.tolist(), strict=True)
    }
    assert drawn <= stored
    assert len(drawn) > 0.97 * len(stored)  # each is left out with probability exp(-600 / 144)


def test_scribbles_are_what_random_strokes_leave_after_each(digits: Data) -> None:
    torch.manual_seed(0)
    studio = Studio(Experiment(strokes=3), digits)
    left = studio.scribbles(50).view(3, 50, 64)
    changed = torch.cat([torch.full((1, 50, 64), -1.0), left]).diff(dim=0).ne(0).any(2)
    assert changed.float().mean() > 0.95
    assert (left[0] > -1).sum() < (left[2] > -1).sum()
    assert len({canvas.numpy().tobytes() for canvas in left[2]}) == 50


def test_the_same_episodes_are_measured_and_the_draws_of_the_run_stay(digits: Data) -> None:
    studio = Studio(Experiment(canvases=8, samples=30), digits)
    before = torch.get_rng_state()
    one, other = studio.paint(at_random), studio.paint(lambda obs: torch.zeros(len(obs), painting.NUMBERS))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.label, other.label)
    assert len(one.x) >= 30
    assert torch.equal(one.x, studio.paint(at_random).x)
    assert not torch.equal(one.x, other.x)


def test_a_row_of_the_grid_is_a_class(tmp_path: Path) -> None:
    label = torch.arange(10).repeat(3)  # fewer of each than a row has places
    painter.show(tmp_path, 7, Pair((label / 5 - 1).view(-1, 1, 1, 1).expand(-1, 1, 8, 8), label))
    with Image.open(tmp_path / "samples" / "step-7.png") as image:
        grid = np.asarray(image)
    factor = len(grid) // (10 * 9 + 1)  # a white line before and after each
    middles = grid[5 * factor :: 9 * factor, 5 * factor :: 9 * factor]
    expected = as_bytes(torch.arange(10) / 5 - 1).numpy()
    assert np.array_equal(middles, np.repeat(expected[:, None], 10, 1))


def test_a_painter_that_is_paid_for_a_frozen_opinion_beats_random_strokes(
    digits: Data, cache: Path, tmp_path: Path
) -> None:
    e = Experiment(judge_steps=40, rounds=25, samples=512, evaluate_every=25, cache=cache)
    judge, agent = painter.train(e, digits, Engine(Runtime("cpu", "fp32"), 0), tmp_path)
    assert not any(weight.requires_grad for weight in judge.parameters())
    studio = Studio(e, digits)
    painted, random = (studio.paint(act) for act in (agent.act, at_random))
    assert torch.equal(painted.label, random.label)
    gained = worth(judge, painted) - worth(judge, random)  # in pairs, of the same class
    error = gained.std() / len(gained) ** 0.5
    assert gained.mean() > 6 * error
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["reward"] == pytest.approx(worth(judge, painted).mean().item(), abs=1e-4)
    assert summary["random/reward"] == pytest.approx(worth(judge, random).mean().item(), abs=1e-4)
    assert summary["real/reward"] > summary["random/reward"]


def weights(run_dir: Path, cache: Path, data: Data, **changed: object) -> torch.Tensor:
    run_dir.mkdir()
    e = Experiment(judge_steps=1, canvases=8, samples=16, cache=cache, **changed)  # type: ignore[arg-type]
    judge, _ = painter.train(e, data, Engine(Runtime("cpu", "fp32"), 0), run_dir)
    return torch.cat([weight.detach().flatten() for weight in judge.parameters()])


def test_only_a_discriminator_that_learns_changes_while_it_pays(digits: Data, cache: Path, tmp_path: Path) -> None:
    before = weights(tmp_path / "a", cache, digits, rounds=0)
    assert torch.equal(before, weights(tmp_path / "b", cache, digits, rounds=2))
    assert not torch.equal(before, weights(tmp_path / "c", cache, digits, rounds=2, learns=True))


def test_a_discriminator_that_learns_alone_is_given_nothing_to_judge(
    digits: Data, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(painter, "half", lambda pictures: asked.append(len(pictures)) or pictures[:32])
    weights(tmp_path / "a", cache, digits, rounds=0, alone=True)
    assert asked == []
    weights(tmp_path / "b", cache, digits, rounds=0)
    # in every step of the discriminator: the batch under other labels, and scribbles after each of four strokes
    assert asked == [painter.JUDGE.batch, 4 * painter.SCRIBBLES] * painter.JUDGE.d_steps


def test_a_run_leaves_what_every_run_leaves_and_repeats(cache: Path, tmp_path: Path) -> None:
    found = []
    for name in "ab":
        torch.rand(3)
        succeed(painter.main, *TINY, "--cache", cache, "--run-dir", tmp_path / name)
        found.append((rows(tmp_path / name), json.loads((tmp_path / name / "summary.json").read_text())))
    assert found[0] == found[1]
    logged, summary = found[0]
    assert [row["step"] for row in logged] == [2, 4, 5]
    assert sorted(path.name for path in (tmp_path / "a" / "samples").iterdir()) == [
        f"step-{step}.png" for step in (2, 4, 5)
    ]
    assert logged[-1]["reward"] == summary["reward"]
    assert {"", "random", "generator", "real"} == {key.rpartition("/")[0] for key in summary}
    described = json.loads((tmp_path / "a" / "config.json").read_text())
    assert (described["family"], described["variant"], described["seed"]) == ("painter", "frozen", 0)
    tags = Tags((tmp_path / "a" / "report.html").read_text(encoding="utf-8"))
    assert len([tag for tag, _ in tags.tags if tag == "img"]) == 3
    assert [row[0] for row in tags.rows if row][-4:] == list(painter.ROWS.values())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--data", "ring"), "error: ring: points know no --test, --size, --channels or --stack\n"),
        (
            ("--data", "nowhere"),
            "error: nowhere: no such data; allowed: a file .npz, a folder, digits, grid, hf:NAME, origin, ring\n",
        ),
        (("--strokes", 0), "error: --strokes 0: must be above zero\n"),
        (("--rounds", -1), "error: --rounds -1: must be zero or more\n"),
        (("--samples", 3), "error: --samples 3: measuring needs at least 4\n"),
        (("--size", 12), "error: --size 12: not a power of two from 8 up\n"),
        (("--stroke", 3), "error: --stroke: no such flag; did you mean '--strokes'?\n"),
    ],
)
def test_bad_input_is_one_line_and_makes_no_folder(arguments: tuple[object, ...], line: str, tmp_path: Path) -> None:
    ended = call(painter.main, *arguments, "--run-dir", tmp_path / "run")
    assert (ended.code, ended.err) == (2, line)
    assert not (tmp_path / "run").exists()


def test_pictures_without_classes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=np.zeros((20, 8, 8), np.uint8))
    ended = call(painter.main, "--data", tmp_path / "set.npz", "--run-dir", tmp_path / "run")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.endswith("set.npz: no classes; a painter is asked for one\n")
