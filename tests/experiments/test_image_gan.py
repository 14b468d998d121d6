"""What an image run leaves; that it repeats, can be measured again, and that its generator paints."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from experiments import evaluate, image_gan, image_results, paint, picture_grid
from image_gans.data import load
from image_gans.metrics import features
from image_gans.metrics.evaluation import Reference
from image_gans.metrics.feature_nets import RandomConv
from image_gans.samples import as_floats
from rl.runtime import checkpoints
from tests.experiments.helpers import IMAGE_TINY, call, fingerprint, rows, succeed

KEYS = {
    "fid", "fid_real", "kid", "inception_score", "precision", "recall", "modes", "images_per_second", "cpu_seconds",
}  # fmt: skip
TIMED = {"cpu_seconds", "images_per_second"}
SIDE = 70  # pixels of a grid's pictures, with the line between them


@pytest.fixture(scope="module", autouse=True)
def _few_batches() -> Iterator[None]:
    """Statistics of batch norms are taken from few pictures."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(image_results, "REFRESHED", (3, 20))
        yield


@pytest.fixture
def tiny(cache: Path) -> list[str]:
    return [*IMAGE_TINY, "--cache", str(cache)]


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs write no report, which takes longer than the run."""
    monkeypatch.setattr(image_results.report, "write", lambda run_dir: run_dir / "report.html")


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end before the final measuring."""
    monkeypatch.setattr(image_results, "finish", lambda *_: None)


def trained(folder: Path, *flags: object) -> Path:
    succeed(image_gan.main, *flags, "--run-dir", folder)
    return folder


def summary_of(run: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((run / "summary.json").read_text())
    return found


def untimed(run: Path) -> dict[str, float]:
    return {key: value for key, value in summary_of(run).items() if key not in TIMED}


def pictures_of(grid: Path, columns: int, side: int = 8) -> np.ndarray:
    """The pictures of a grid, [rows columns side side(, 3)], without lines and enlargement."""
    image = np.array(Image.open(grid))
    factor = max(1, round(picture_grid.SMALLEST / (columns * (side + 1) + 1)))
    small = image[::factor, ::factor]
    assert (small.repeat(factor, 0).repeat(factor, 1) == image).all()
    assert (small[:: side + 1] == 255).all()
    assert (small[:, :: side + 1] == 255).all()
    count = (small.shape[0] - 1) // (side + 1)
    at = [[(row * (side + 1) + 1, column * (side + 1) + 1) for column in range(columns)] for row in range(count)]
    return np.array([[small[top : top + side, left : left + side] for top, left in row] for row in at])


def test_a_run_leaves_all_that_a_run_is(tmp_path: Path, tiny: list[str]) -> None:
    run = tmp_path / "run"
    out = succeed(image_gan.main, "dcgan", *tiny, "--run-dir", run)
    assert out.startswith(f"run: {run}\n")
    assert out.endswith(f"report: {run}/report.html\n")
    names = {"config.json", "metrics.jsonl", "summary.json", "features.json", "report.html"}
    assert names | {"checkpoints", "samples", "tensorboard", ".lock"} == {path.name for path in run.iterdir()}
    description = json.loads((run / "config.json").read_text())
    assert (description["family"], description["variant"]) == ("image_gan", "dcgan")
    assert {"seed", "config", "versions", "commit", "command", "platform", "threads"} <= description.keys()
    assert (description["config"]["data"], description["config"]["numbers"]["width"]) == ("digits", 8)
    table = rows(run)
    assert [row["step"] for row in table] == [2, 3, 4]
    learned = {"d/loss", "d/penalty", "d/real", "d/fake", "d/accuracy", "d/grad_norm", "g/loss", "g/reward"}
    assert all(learned <= row.keys() for row in table)
    assert ["fid" in row for row in table] == [True, False, True]
    assert all(np.isfinite(value) for row in table for value in row.values())
    assert checkpoints.steps(run) == [4]
    checkpoints.verify(checkpoints.newest(run))
    summary = summary_of(run)
    assert summary.keys() >= KEYS
    assert "class_accuracy" not in summary
    assert all(np.isfinite(value) for value in summary.values())
    assert summary["fid_real"] == summary["real/fid"] < summary["fid"]
    assert summary["real/class_accuracy"] > 0.8
    assert summary["fid_samples"] == summary["real/fid_samples"] == 20
    assert summary["images_per_second"] == pytest.approx(4 * 8 / summary["cpu_seconds"])
    assert {key: table[-1][key] for key in ("modes", "fid_samples")} == {
        key: summary[key] for key in ("modes", "fid_samples")
    }
    named = json.loads((run / "features.json").read_text())["features"]
    assert re.fullmatch("classifier-128 sha256:[0-9a-f]{16}", named)
    assert {path.name for path in (run / "samples").iterdir()} == {"step-2.png", "step-4.png"}
    first, last = (pictures_of(run / f"samples/step-{step}.png", 10) for step in (2, 4))
    assert first.shape == last.shape == (10, 10, 8, 8)
    assert len(np.unique(last.reshape(100, -1), axis=0)) == 100
    assert (first != last).any()
    assert "<html" in (run / "report.html").read_text()
    assert list((run / "tensorboard").glob("events.*"))


def test_without_a_folder_it_makes_one_under_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unmeasured: None
) -> None:
    monkeypatch.chdir(tmp_path)
    out = succeed(image_gan.main, "gan", *IMAGE_TINY, "--data", "ring", "--steps", 1)
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("image_gan-gan-")
    assert out.startswith(f"run: runs/{folder.name}\n")


def test_a_seed_repeats_and_another_differs_and_measuring_changes_nothing(
    tmp_path: Path, unmeasured: None, tiny: list[str]
) -> None:
    def run(name: str, *flags: object) -> tuple[str, list[dict[str, Any]]]:
        folder = trained(tmp_path / name, "dcgan", *tiny, *flags)
        return fingerprint(folder), rows(folder)

    once = run("once")
    assert run("again") == once
    assert run("saved", "--save-seconds", 0) == once
    assert run("other", "--seed", 1)[0] != once[0]
    orders = [checkpoints.load(checkpoints.newest(tmp_path / name))["order"] for name in ("once", "other")]
    assert repr(tensors(orders[0])) != repr(tensors(orders[1]))
    run("often", "--evaluate-every", 1, "--evaluate-samples", 50)
    run("never", "--evaluate-every", 10**9)
    states = [checkpoints.load(checkpoints.newest(tmp_path / name)) for name in ("once", "often", "never")]
    for part in ("generator", "discriminator", "g_optimizer", "d_optimizer", "order"):
        assert len({repr(tensors(state[part])) for state in states}) == 1, part
    assert len({repr(tensors(state["engine"]["generators"])) for state in states}) == 1


def tensors(state: Any) -> Any:
    """A state that can be compared as text."""
    if isinstance(state, torch.Tensor):
        return state.tolist()
    if isinstance(state, dict):
        return {key: tensors(value) for key, value in state.items()}
    return [tensors(value) for value in state] if isinstance(state, list | tuple) else state


# one of each kind of latent and of generator
MEASURED = [
    "dcgan", "sagan --attention", "ssgan", "stylegan", "progan", "infogan", "vae-gan", "cogan", "cgan --data grid",
]  # fmt: skip


@pytest.mark.parametrize("command", MEASURED)
def test_a_run_is_measured_again(tmp_path: Path, unreported: None, tiny: list[str], command: str) -> None:
    variant, *more = command.split()
    run = trained(tmp_path / "run", variant, *tiny, *more)
    said, named, state = untimed(run), (run / "features.json").read_text(), fingerprint(run)
    rounded = {key: rows(run)[-1][key] for key in rows(run)[-1].keys() & said.keys()}
    assert rounded == pytest.approx({key: said[key] for key in rounded}, rel=1e-5, abs=1e-6)  # as many pictures
    (run / "summary.json").unlink()
    (run / "features.json").unlink()
    out = succeed(evaluate.main, run, "--json", tmp_path / "numbers.json")
    assert out.startswith(f"checkpoint: {run}/checkpoints/step-4\ntensors: {state}\n")
    assert untimed(run) == said
    assert (run / "features.json").read_text() == named
    assert json.loads((tmp_path / "numbers.json").read_text()) == summary_of(run)
    assert fingerprint(run) == state


def test_an_earlier_checkpoint_is_measured_as_it_was(
    tmp_path: Path, unreported: None, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained(tmp_path / "run", "dcgan", *tiny, "--save-seconds", 0)
    real = image_gan.reference_of

    def slow(*arguments: Any) -> Reference:
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
        return real(*arguments)

    monkeypatch.setattr(image_gan, "reference_of", slow)
    succeed(evaluate.main, run, "--step", 2)
    summary = summary_of(run)
    for key in ("fid", "kid", "precision", "modes"):
        assert summary[key] == pytest.approx(rows(run)[0][key], rel=1e-5)
    trained_for = checkpoints.load(run / "checkpoints/step-2")["clock"]["seconds"]
    assert trained_for <= summary["cpu_seconds"] < trained_for + 0.1
    assert summary["images_per_second"] == pytest.approx(2 * 8 / summary["cpu_seconds"])


def test_no_step_at_all_is_measured_too(tmp_path: Path, unreported: None, tiny: list[str]) -> None:
    run = trained(tmp_path / "run", "dcgan", *tiny, "--steps", 0)
    assert checkpoints.steps(run) == [0]
    assert not (run / "metrics.jsonl").exists()
    assert summary_of(run)["fid"] > summary_of(run)["fid_real"]


def test_a_conditional_grid_has_a_row_for_each_class(
    tmp_path: Path, unreported: None, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = image_results.paint

    def watched(cast: Any, number: int, labels: Any = None) -> Any:
        asked.append((number, None if labels is None else labels.tolist()))
        return real(cast, number, labels)

    monkeypatch.setattr(image_results, "paint", watched)
    run = trained(tmp_path / "run", "cgan", *tiny, "--final-samples", 25)
    each = [i for i in range(10) for _ in range(10)]
    assert asked == [(20, [*range(10)] * 2), (100, each)] * 2 + [(25, [*range(10)] * 2 + [*range(5)])]
    assert pictures_of(run / "samples/step-4.png", 10).shape == (10, 10, 8, 8)
    summary = summary_of(run)
    assert 0 <= summary["class_accuracy"] <= 1
    assert all("class_accuracy" in row for row in rows(run) if "fid" in row)


def test_shown_pictures_are_of_the_averaged_generator(tmp_path: Path, unreported: None, tiny: list[str]) -> None:
    """Its weights move a thousandth of the way in a step; without an average it is the generator itself."""
    paths = {}
    for average in (0, 0.5, 1):
        run = trained(tmp_path / str(average), "dcgan", *tiny, "--average", average)
        state = checkpoints.load(checkpoints.newest(run))
        names = [name for name in state["generator"] if name.endswith("weight")]
        paths[average] = [state["average"][name] for name in names]
        same = all(held.equal(state["generator"][name]) for held, name in zip(paths[average], names, strict=True))
        assert same == (average == 0)
    between = [torch.equal(a, b) for a, b in zip(paths[0], paths[0.5], strict=True)]
    assert not any(between)
    grids = {average: (tmp_path / f"{average}/samples/step-4.png").read_bytes() for average in paths}
    assert len(set(grids.values())) == 3
    still = [(tmp_path / f"1/samples/step-{step}.png").read_bytes() for step in (2, 4)]
    assert still[0] == still[1]  # nothing moves it, and the noise is the same


def test_points_are_drawn_over_the_real_ones(tmp_path: Path, unreported: None) -> None:
    run = trained(tmp_path / "run", "gan", *IMAGE_TINY, "--data", "ring")
    summary = summary_of(run)
    assert {"modes", "high_quality", "reverse_kl", "real/modes"} <= summary.keys()
    assert not {"fid", "fid_real"} & summary.keys()
    assert (summary["real/modes"], json.loads((run / "features.json").read_text())["features"]) == (8, "coordinates")
    image = np.array(Image.open(run / "samples/step-4.png").convert("RGB")).reshape(-1, 3)
    assert len(image) == 540 * 540
    for colour in ((0xB8, 0xB8, 0xB8), (0x1F, 0x6F, 0xD6)):
        assert (image == colour).all(1).any()


def colours(folder: Path, *, labels: bool = True) -> Path:
    """Sixty pictures of three channels in three classes, of which each is bright in one channel."""
    draw, classes = np.random.default_rng(0), np.arange(60) % 3
    images = draw.integers(0, 60, (60, 8, 8, 3), dtype=np.uint8)
    images[np.arange(60), :, :, classes] += 180
    np.savez(folder / "colours.npz", images=images, **({"labels": classes} if labels else {}))
    return folder / "colours.npz"


def test_own_pictures_in_colour(tmp_path: Path, unreported: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "STEPS", 20)
    flags = [*IMAGE_TINY, "--cache", tmp_path / "cache", "--data", colours(tmp_path), "--augmentation", "diffaugment"]
    run = trained(tmp_path / "run", "cgan", *flags)
    assert pictures_of(run / "samples/step-4.png", 10).shape == (3, 10, 8, 8, 3)
    assert summary_of(run)["fid_samples"] == 6  # a tenth is held out, and as many are compared
    assert summary_of(run)["fid_reference"] == 54
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_pictures_without_labels_are_measured_in_random_features(tmp_path: Path, unreported: None) -> None:
    flags = [*IMAGE_TINY, "--cache", tmp_path / "cache", "--data", colours(tmp_path, labels=False)]
    run = trained(tmp_path / "run", "dcgan", *flags, "--channels", 1)
    assert {"fid", "kid", "precision"} <= summary_of(run).keys()
    assert not {"modes", "inception_score"} & summary_of(run).keys()
    assert json.loads((run / "features.json").read_text())["features"].startswith(RandomConv((1, 8, 8)).name)
    assert list((tmp_path / "cache").iterdir()) == []
    assert pictures_of(run / "samples/step-4.png", 10).shape == (10, 10, 8, 8)


def test_stacked_pictures_count_their_classes(
    tmp_path: Path, unreported: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "STEPS", 5)
    flags = [*IMAGE_TINY, "--stack", 3, "--cache", tmp_path / "cache", "--steps", 1]
    run = trained(tmp_path / "run", "dcgan", *flags)
    assert summary_of(run)["real/modes"] <= 20
    assert {"mode_kl", "modes", "fid"} <= summary_of(run).keys()


def test_the_batch_is_of_the_data(tiny: list[str]) -> None:
    """Pictures come with their own labels, each once before any comes again."""
    e = image_gan.parse(["dcgan", *tiny, "--batch", "100"])
    data = load("digits")
    cast = image_gan.Cast(e, data, image_gan.Engine(e.runtime, 0))
    seen = [cast.batch() for _ in range(14)]
    pictures = torch.cat([pair[0] for pair in seen])
    assert len(pictures.flatten(1).unique(dim=0)) == len(as_floats(data.train.images).flatten(1).unique(dim=0)) - 38
    by_bytes = {picture.numpy().tobytes(): int(label) for picture, label in zip(*data.train, strict=True)}
    stored = ((pictures + 1) * 127.5).round().to(torch.uint8)
    labels = torch.cat([pair[1] for pair in seen]).tolist()
    assert [by_bytes[picture.numpy().tobytes()] for picture in stored.contiguous()] == labels


def test_the_discriminator_plays_its_steps_on_fresh_pictures(
    tmp_path: Path, unmeasured: None, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[tuple[str, bytes]] = []

    def watched(name: str) -> Any:
        real_round = getattr(image_gan, name)

        def play(game: Any, real: Any, latent: Any, optimizer: Any) -> Any:
            played.append((name[0], real.numpy().tobytes()))
            return real_round(game, real, latent, optimizer)

        return play

    for name in ("discriminator_round", "generator_round"):
        monkeypatch.setattr(image_gan, name, watched(name))
    trained(tmp_path / "run", "dcgan", *tiny, "--d-steps", 3, "--steps", 2)
    assert "".join(who for who, _ in played) == "dddgdddg"
    assert len({pictures for _, pictures in played}) == 8


@pytest.fixture(scope="module")
def painters(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> dict[str, Path]:
    """Trained generators."""
    folder = tmp_path_factory.mktemp("painters")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(image_results, "finish", lambda *_: None)
        return {
            name: trained(folder / name, name, *IMAGE_TINY, "--cache", cache, "--g-lr", 0.01, "--average", 0, *more)
            for name, *more in (["dcgan"], ["cgan"], ["stylegan"], ["biggan", "--attention"], ["infogan"], ["lapgan"])
        }


def painted(run: Path, *flags: object, columns: int = 10) -> np.ndarray:
    output = run.parent / "painted.png"
    assert succeed(paint.main, run, *flags, "--output", output) == f"painted: {output}\n"
    return pictures_of(output, columns)


@pytest.mark.parametrize("name", ["dcgan", "stylegan", "biggan", "infogan", "lapgan"])
def test_a_trained_generator_paints(painters: dict[str, Path], name: str) -> None:
    before = fingerprint(painters[name])
    shape = (10, 10, 8, 8)
    first = painted(painters[name])
    assert first.shape == shape
    assert (painted(painters[name]) == first).all()
    assert (painted(painters[name], "--seed", 1) != first).any()
    if name != "biggan":  # that has a row for each class
        assert painted(painters[name], "--rows", 2, "--number", 3, columns=3).shape == (2, 3, 8, 8)
    assert painted(painters[name], "--between", 4, columns=4).shape == (10, 4, 8, 8)
    assert fingerprint(painters[name]) == before


def test_it_paints_what_a_run_shows(painters: dict[str, Path]) -> None:
    """The samples of the last step, if it is given their noise."""
    seed = image_results.EVALUATION_SEED + 1
    for name in ("dcgan", "cgan", "stylegan"):
        shown = pictures_of(painters[name] / "samples/step-4.png", 10)
        assert (painted(painters[name], "--seed", seed) == shown).all(), name


def test_classes_are_painted_as_they_are_asked_for(painters: dict[str, Path]) -> None:
    every = painted(painters["cgan"], "--number", 4, columns=4)
    assert every.shape == (10, 4, 8, 8)
    some = painted(painters["cgan"], "--labels", 3, 7, 3, "--number", 4, columns=4)
    assert some.shape == (3, 4, 8, 8)
    cast = [tuple(call_of(painters["cgan"], labels).label.tolist()) for labels in ((), (3, 7))]
    assert cast == [tuple(i for i in range(10) for _ in range(4)), (3, 3, 3, 3, 7, 7, 7, 7)]


def call_of(run: Path, labels: tuple[int, ...]) -> Any:
    """The latents that are painted from."""
    seen = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(paint, "painted_from", lambda cast, latent: seen.append(latent))
        paint.paint(paint.Arguments(run, number=4, labels=labels))
    return seen[0]


def test_the_way_between_two_latents(painters: dict[str, Path]) -> None:
    """Neighbours are more alike than the ends, in all rows together."""
    way = painted(painters["stylegan"], "--between", 9, "--rows", 6, columns=9).astype(float)
    near = np.abs(way[:, 1:] - way[:, :-1]).mean((2, 3))
    ends = np.abs(way[:, -1] - way[:, 0]).mean((1, 2))
    assert near.mean() < ends.mean() / 2
    assert ends.min() > 0
    conditional = painted(painters["cgan"], "--between", 3, "--labels", 5, 6, columns=3)
    assert conditional.shape == (2, 3, 8, 8)


def test_less_truncation_is_more_variety(painters: dict[str, Path]) -> None:
    def spread(name: str, flag: str, value: float) -> float:
        return float(painted(painters[name], flag, value).astype(float).std((0, 1)).mean())

    assert spread("stylegan", "--truncation", 0.01) < spread("stylegan", "--truncation", 0.5) / 2
    assert spread("stylegan", "--truncation", 0.5) < spread("stylegan", "--truncation", 1)
    assert spread("biggan", "--bound", 0.02) < spread("biggan", "--bound", 10)
    unlike = painted(painters["dcgan"])
    assert (painted(painters["dcgan"], "--truncation", 0.5, "--bound", 0.1) == unlike).all()  # it has neither


DIVERGING = {
    "dcgan --g-lr 1e38": "d/loss: update 2: the loss is nan",
    "dcgan --d-lr 1e38": "g/loss: update 1: the loss is nan",
    "gan --data ring --g-lr 1e38 --evaluate-every 1": "d/loss: update 2: the loss is nan",
}


@pytest.mark.parametrize(("command", "message"), DIVERGING.items(), ids=DIVERGING)
def test_a_run_that_diverges_ends_with_code_3_and_names_the_term(
    tmp_path: Path, tiny: list[str], command: str, message: str
) -> None:
    variant, *more = command.split()
    ended = call(image_gan.main, variant, *tiny, *more, "--run-dir", tmp_path / "run")
    assert (ended.code, ended.err) == (3, f"error: {message}\n")


def test_a_run_that_diverges_keeps_its_checkpoint(
    tmp_path: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = image_gan.set_rates

    def late(cast: Any, n: Any, step: int) -> None:
        real(cast, n, step)
        if step == 2:
            cast.d_optimizer.param_groups[0]["lr"] = 1e38

    monkeypatch.setattr(image_gan, "set_rates", late)
    run = tmp_path / "run"
    ended = call(image_gan.main, "dcgan", *tiny, "--save-seconds", 0, "--run-dir", run)
    assert (ended.code, ended.err) == (3, "error: g/loss: update 3: the loss is nan\n")
    assert checkpoints.steps(run) == [1, 2]
    checkpoints.verify(checkpoints.newest(run))
    state = checkpoints.load(checkpoints.newest(run))
    assert all(value.isfinite().all() for value in state["discriminator"].values())
