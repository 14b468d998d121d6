"""Whatever is wrong with an image run's input: exit code 2, one line on stderr that names the place, nothing made."""

import gzip
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments import evaluate, image_gan, image_results, paint, resume, text_gan, text_results
from image_gans.variants import VARIANTS
from tests.experiments.bad_input import Case, Prepare, assert_refused, config, damaged, setting
from tests.experiments.helpers import CHECKOUT, IMAGE_TINY, TINY, call, contents, succeed

SCRIPTS: dict[str, Callable[[Sequence[str]], None]] = {
    "image_gan": image_gan.main, "resume": resume.main, "evaluate": evaluate.main, "paint": paint.main,
}  # fmt: skip


def flags(*wrong: tuple[str, str], variant: str = "dcgan") -> list[Case]:
    return [Case(f"image_gan {variant} {tail}", message) for tail, message in wrong]


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


PICTURES = np.arange(12 * 8 * 8, dtype=np.uint8).reshape(12, 8, 8)
CLASSES = np.arange(12, dtype=np.uint8) % 3


def mnist(images: bytes = idx(PICTURES), labels: bytes = idx(CLASSES), packed: str = "") -> Prepare:
    """A folder of idx files, train alone."""

    def write(tmp: Path, run: Path) -> None:
        (tmp / f"train-images-idx3-ubyte{packed}").write_bytes(images)
        (tmp / "train-labels-idx1-ubyte").write_bytes(labels)

    return write


def arrays(**given: Any) -> Prepare:
    def write(tmp: Path, run: Path) -> None:
        np.savez(tmp / "d.npz", **given)

    return write


def pngs(*shapes: tuple[int, ...], folder: str = "d") -> Prepare:
    """Pictures of these shapes in one folder, and none of a class."""

    def write(tmp: Path, run: Path) -> None:
        (tmp / folder).mkdir(parents=True, exist_ok=True)
        for number, shape in enumerate(shapes):
            Image.fromarray(np.full(shape, 20 * number, np.uint8)).save(tmp / folder / f"{number}.png")

    return write


def both(*prepared: Prepare) -> Prepare:
    return lambda tmp, run: [prepare(tmp, run) for prepare in prepared]


def cut(tmp: Path, run: Path) -> None:
    pngs(*[(8, 8)] * 5)(tmp, run)
    (tmp / "d/3.png").write_bytes((tmp / "d/3.png").read_bytes()[:40])


def text(name: str, content: bytes) -> Prepare:
    return lambda tmp, run: (tmp / name).write_bytes(content)


DAMAGE = damaged("average")


def unlike(tmp: Path, run: Path) -> None:
    """Another picture in the data of the run."""
    data = np.load(tmp / "own.npz")
    images = data["images"].copy()
    images[7, 3, 3] ^= 1
    np.savez(tmp / "own.npz", images=images, labels=data["labels"])


def text_run(tmp: Path, run: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(text_results, "finish", lambda *_, **__: None)
        patched.setattr(text_gan, "train", lambda *_, **__: None)
        succeed(text_gan.main, "seqgan", *TINY, "--run-dir", tmp / "text")


COMMAND_LINE = [
    Case("image_gan dcgann", "dcgann: no such variant; did you mean 'dcgan'?"),
    Case("image_gan", "command line: the variant is missing, one of gan, "),
    Case("image_gan --steps 3", "--steps: a flag stands after the variant"),
    *flags(
        ("--stepz 3", "--stepz: no such flag; did you mean '--steps'?"),
        ("--preset dem", "--preset dem: no such preset; did you mean 'demo'?"),
        ("3", "command line: '3' belongs to no flag"),
        ("--steps x", "--steps x: expected a whole number"),
        ("--width 1.5", "--width 1.5: expected a whole number"),
        ("--g-lr quick", "--g-lr quick: expected a number"),
        ("--net unet", "--net unet: expected one of 'mlp', 'dcgan', 'resnet', 'r3'"),
        ("--augmentation flips", "--augmentation flips: expected one of 'none', 'diffaugment', 'ada'"),
        ("--runtime.device tpu", "--runtime.device tpu: expected one of "),
        ("--runtime.precision fp16", "--runtime.precision fp16: not on a CPU; take bf16 or fp32"),
        ("--seed -1", "--seed -1: must be zero or more"),
        ("--steps -1", "--steps -1: must be zero or more"),
        ("--batch 0", "--batch 0: must be above zero"),
        ("--batch 1", "--batch 1: batch normalisation needs at least 2 pictures"),
        ("--batch 1439", "--batch 1439: only 1438 pictures in digits"),
        ("--d-steps 0", "--d-steps 0: must be above zero"),
        ("--width 0", "--width 0: must be above zero"),
        ("--latent 0", "--latent 0: must be above zero"),
        ("--g-lr 0", "--g-lr 0.0: must be above zero"),
        ("--d-lr inf", "--d-lr inf: too large"),
        ("--d-lr nan", "--d-lr nan: no number"),
        ("--beta1 1", "--beta1 1.0: must be at least 0 and below 1"),
        ("--beta2 -0.1", "--beta2 -0.1: must be at least 0 and below 1"),
        ("--average 2", "--average 2.0: must be at most 1"),
        ("--average -1", "--average -1.0: must be zero or more"),
        ("--lr-decay 1.5", "--lr-decay 1.5: must be at most 1"),
        ("--penalty-every 0", "--penalty-every 0: must be above zero"),
        ("--penalty-weight -1", "--penalty-weight -1.0: must be zero or more"),
        ("--log-every 0", "--log-every 0: must be above zero"),
        ("--evaluate-every 0", "--evaluate-every 0: must be above zero"),
        ("--evaluate-samples 1", "--evaluate-samples 1: a distance needs at least 4 pictures"),
        ("--final-samples 3", "--final-samples 3: a distance needs at least 4 pictures"),
        ("--save-seconds -1", "--save-seconds -1.0: must be zero or more"),
        ("--run-dir {run}", "{run}: holds a run; continue it with: python -m experiments.resume {run}"),
        ("--run-dir {tmp}", "{tmp}: is not empty"),
        ("--cache {tmp}/something", "--cache {tmp}/something: File exists"),
        ("--cache {tmp}/something/below", "--cache {tmp}/something/below: Not a directory"),
    ),
    *flags(("--mixing 1", "--mixing 1.0: must be at least 0 and below 1"), variant="stylegan"),
    *flags(("--truncation 0", "--truncation 0.0: must be above zero"), variant="stylegan"),
    *flags(("--growing 1.5", "--growing 1.5: must be at most 1"), variant="progan"),
    *flags(("--growing 0", "--growing 0.0: must be above zero"), variant="progan"),
    *flags(("--bound 0.001", "--bound 0.001: must be at least 0.01"), variant="biggan"),
    *flags(("--latent 1", "--latent 1: cannot be cut into 2 chunks of noise"), variant="biggan"),
    *flags(("--clip-weights 0", "--clip-weights 0.0: must be above zero"), variant="wgan"),
    *flags(("--labels 5", "--labels 5: fewer than there are classes, 10"), variant="ssgan"),
    *flags(("--labels 5000", "--labels 5000: class 0 has 142 pictures, 500 are wanted"), variant="ssgan"),
]
FIT = [
    *flags(
        ("--data digitz", "digitz: no such data; did you mean 'digits'?"),
        ("--data {tmp}/none", "{tmp}/none: no such data; allowed: "),
        ("--data {tmp}/something", "{tmp}/something: neither a folder nor .npz"),
        ("--data {tmp}", "{tmp}: no picture in it (.bmp, "),
        ("--test ring", "ring: points, where pictures are asked for"),
        ("--data ring --size 8", "ring: points know no --test, --size, --channels or --stack"),
        ("--channels 3", "digits: one channel where three are asked for (--channels)"),
        ("--channels 2", "--channels 2: not 1, 3, or 0 for the pictures' own"),
        ("--size 12", "--size 12: not a power of two from 8 up"),
        ("--stack 0", "--stack 0: must be above zero"),
        ("--data ring --augmentation ada", "--augmentation ada: changes pictures, and --data ring are points"),
    ),
    Case("image_gan cgan --data origin", "--data origin: no labels, which cgan needs"),
    Case("image_gan dirac", "--data: Dirac-GAN plays on single numbers such as `origin`, not on shape (1, 8, 8)"),
]
for _name, _row in VARIANTS.items():
    if "pictures" in _row.needs:
        FIT += flags(("--data ring", f"--data ring: points, and {_name} needs pictures"), variant=_name)
    if "labels" in _row.needs:
        FIT.append(
            Case(
                f"image_gan {_name} --data {{tmp}}/d.npz", f"--data {{tmp}}/d.npz: no labels, which {_name} needs",
                arrays(images=PICTURES),
            )
        )  # fmt: skip
COMPARING = ("aae", "vae-gan", "ls-gan", "gls-gan")
for _name in COMPARING:
    FIT += flags(("--augmentation ada", f"--augmentation ada: {_name} compares pictures, which"), variant=_name)
GIVEN, FOLDER, MNIST = "image_gan dcgan --data {tmp}/d.npz", "image_gan dcgan --data {tmp}/d", "train-images-idx3-ubyte"
FILES = [
    Case(GIVEN, "{tmp}/d.npz: no such data"),
    Case(GIVEN, "{tmp}/d.npz: not an .npz archive, or cut off", text("d.npz", b"")),
    Case(GIVEN, "{tmp}/d.npz: no array `images` in it, but: x", arrays(x=PICTURES)),
    Case(GIVEN, "{tmp}/d.npz: not a readable array file (", arrays(images=np.array([{}], dtype=object))),
    Case(GIVEN, "{tmp}/d.npz:images: float64 (12, 8, 8), expected uint8 ", arrays(images=PICTURES / 255)),
    Case(GIVEN, "{tmp}/d.npz:images: uint8 (12, 64), expected uint8 ", arrays(images=PICTURES.reshape(12, 64))),
    Case(GIVEN, "{tmp}/d.npz:labels", arrays(images=PICTURES, labels=CLASSES[:5])),
    Case(GIVEN, "{tmp}/d.npz:labels", arrays(images=PICTURES, labels=CLASSES / 2)),
    Case(GIVEN, "{tmp}/d.npz:images: 8 x 4 pixels, not square (--size crops", arrays(images=PICTURES[:, :, :4])),
    Case(GIVEN, "{tmp}/d.npz:images: at least 2 pictures are needed, it has 1", arrays(images=PICTURES[:1])),
    Case(GIVEN, "--data {tmp}/d.npz: 1 test pictures, measuring needs at least 4", arrays(images=PICTURES)),
    Case(f"{GIVEN} --test digits", "{tmp}/d.npz: no labels, while digits has them", arrays(images=PICTURES)),
    Case(f"{GIVEN} --channels 3", "{tmp}/d.npz:images: one channel where three are asked", arrays(images=PICTURES)),
    Case(FOLDER, "{tmp}/d/3.png: not a readable picture (", cut),
    Case(FOLDER, "{tmp}/d/2.png: 1 x 16 x 16, not like {tmp}/d/0.png (--size and", pngs((8, 8), (8, 8), (16, 16))),
    Case(FOLDER, "{tmp}/d/1.png: 3 x 8 x 8, not like {tmp}/d/0.png (--size and", pngs((8, 8), (8, 8, 3))),
    Case(FOLDER, "{tmp}/d/0.png: a picture without a class, beside", both(pngs((8, 8)), pngs((8, 8), folder="d/a"))),
    Case("image_gan dcgan --data {tmp}", f"{{tmp}}/{MNIST}: 700 bytes, the header promises 12 x 8 x 8",
         mnist(idx(PICTURES)[: 16 + 700])),
    Case("image_gan dcgan --data {tmp}", f"{{tmp}}/{MNIST}: damaged idx file (", mnist(b"\0\0\10")),
    Case("image_gan dcgan --data {tmp}", f"{{tmp}}/{MNIST}: not an idx file of bytes in 3", mnist(idx(CLASSES) * 4)),
    Case("image_gan dcgan --data {tmp}", f"{{tmp}}/{MNIST}.gz: damaged idx file (",
         mnist(gzip.compress(idx(PICTURES))[:-20], packed=".gz")),
    Case("image_gan dcgan --data {tmp}", "{tmp}/train-labels-idx1-ubyte: 4 labels for 12 pictures",
         mnist(labels=idx(CLASSES[:4]))),
]  # fmt: skip
RESUMED = [
    Case("resume {tmp}/none", "{tmp}/none/config.json: not a run's folder: No such file"),
    Case("resume {run} --steps -1", "--steps -1: must be zero or more"),
    Case("resume {run} --steps 3", "--steps 3: the run has come to 4 by {run}/checkpoints/step-4"),
    Case("resume {run}", "{run}/config.json:1:2: not JSON", lambda tmp, run: (run / "config.json").write_text("{")),
    Case("resume {run}", "{run}/config.json: 'seed' is missing",
         lambda tmp, run: (run / "config.json").write_text('{"family": "image_gan", "variant": "dcgan"}')),
    Case("resume {run}", "{run}/config.json: config.numbers.swidth: not a setting", setting("swidth", 3)),
    Case("resume {run}", "{run}/config.json: config.stack: missing", config(lambda c: c.pop("stack"))),
    Case("resume {run}", '{run}/config.json: config.numbers.width: "8", expected a whole', setting("width", "8")),
    Case("resume {run}", "{run}/config.json: --width 0: must be above zero", setting("width", 0)),
    Case("resume {run}", "{run}/config.json: --average 2.0: must be at most 1", setting("average", 2)),
    Case("resume {run}", '{run}/config.json: config.numbers.net: "unet", expected one of mlp', setting("net", "unet")),
    Case("resume {run}", "{run}/config.json: config.variant: 'dcgam' is no variant; did you mean",
         config(lambda c: c.update(variant="dcgam"))),
    Case("resume {run}", "--batch 999: only 54 pictures in {tmp}/own.npz", setting("batch", 999)),
    Case("resume {run}", "origin.json: a checkpoint of cgan, the run is one of acgan",
         config(lambda c: c.update(variant="acgan"))),
    Case("resume {run}", "origin.json: {tmp}/own.npz has changed since this checkpoint", unlike),
    Case("resume {run}", "{tmp}/own.npz: no such data", lambda tmp, run: (tmp / "own.npz").unlink()),
    Case("resume {run}", ".json: does not fit this run: ", setting("width", 16)),
    Case("resume {run}", ".json: does not fit this run: ", setting("d_norm", "spectral")),
    Case("resume {run}", "{run}/checkpoints: no good checkpoint", DAMAGE),
    Case("evaluate {run} --step 5", "{run}/checkpoints/step-5: no such checkpoint (there: 4)"),
    Case("evaluate {run}", "{run}/checkpoints: no good checkpoint", DAMAGE),
    Case("evaluate {run} --step 4", "{run}/checkpoints/step-4/average.safetensors: damaged: ", DAMAGE),
    Case("evaluate {run}", "origin.json: {tmp}/own.npz has changed since this checkpoint", unlike),
    Case("evaluate {run}", ".json: does not fit this run: ", setting("width", 16)),
]  # fmt: skip
PAINTED = [
    Case("paint {run} --labels 3", "--labels 3: the classes are 0 to 2"),
    Case("paint {run} --labels 0 -1", "--labels -1: the classes are 0 to 2"),
    Case("paint {run} --labels x", "Error parsing --labels: "),
    Case("paint {run} --number 0", "--number 0: must be at least 1"),
    Case("paint {run} --rows 0", "--rows 0: must be at least 1"),
    Case("paint {run} --between -1", "--between -1: must be at least 0"),
    Case("paint {run} --bound 0", "--bound 0.0: must be above zero"),
    Case("paint {run} --bound 0.001", "--bound 0.001: must be at least 0.01"),
    Case("paint {run} --truncation nan", "--truncation nan: must be above zero"),
    Case("paint {run} --truncation inf", "--truncation inf: must be above zero, and finite"),
    Case("paint {run} --seed -1", "--seed -1: must be zero or more"),
    Case("paint {run} --output {tmp}/x.jpg", "--output {tmp}/x.jpg: expected a .png"),
    Case("paint {run} --output {tmp}/none/x.png", "{tmp}/none/x.png: No such file or directory"),
    Case("paint", "command line: PATH is missing, the run's folder"),
    Case("paint {tmp}", "{tmp}/config.json: not a run's folder: No such file"),
    Case("paint {tmp}/text", "{tmp}/text/config.json: family: text_gan paints no pictures", text_run),
    Case("paint {run}", "{run}/checkpoints: no good checkpoint", DAMAGE),
    Case("paint {run}", "origin.json: {tmp}/own.npz has changed since this checkpoint", unlike),
]
CASES = [*COMMAND_LINE, *FIT, *FILES, *RESUMED, *PAINTED]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on pictures of its own, and these; tests work on copies."""
    folder = tmp_path_factory.mktemp("finished")
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.savez(folder / "own.npz", images=images, labels=np.arange(60) % 3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(image_gan, "reference_of", lambda *_: None)
        patched.setattr(image_results, "measure", lambda *_: {})
        patched.setattr(image_results, "finish", lambda *_: None)
        more = ["--data", folder / "own.npz", "--cache", folder / "cache"]
        succeed(image_gan.main, "cgan", *IMAGE_TINY, *more, "--run-dir", folder / "run")
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a copy of the run, which finds its data beside it."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/something").touch()
    shutil.copytree(finished / "run", tmp_path / "run")
    shutil.copy(finished / "own.npz", tmp_path / "tmp")
    config(lambda content: content.update(data=f"{tmp_path}/tmp/own.npz"))(tmp_path, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # where runs/ would be made
    return tmp_path


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bad_input_ends_in_one_line(case: Case, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp, run = place / "tmp", place / "run"
    if case.command.startswith("image_gan dcgan --data {tmp}") and "own" not in case.command:
        (tmp / "own.npz").unlink()
    case.prepare(tmp, run)
    before = contents(place)
    script, *arguments = case.words(place)
    tiny = [arguments.pop(0), *IMAGE_TINY] if script == "image_gan" and arguments and arguments[0] != "--steps" else []
    if tiny and "--cache" not in arguments:
        tiny += ["--cache", str(place / "cache")]
    ended = call(SCRIPTS[script], *tiny, *arguments)
    assert_refused(case, ended, place, before, warned=case.prepare is DAMAGE)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 120


def test_what_does_not_compare_pictures_may_change_them() -> None:
    assert {name for name, row in VARIANTS.items() if not row.augments} == {*COMPARING}


@pytest.mark.parametrize("command", ["paint {run} --labels 1", "paint {run}"])
def test_runs_that_paint_no_class_or_no_picture_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(image_results, "finish", lambda *_: None)
    monkeypatch.setattr(image_results, "measure", lambda *_: {})
    points = "--labels" not in command
    more = ["--data", "ring"] if points else ["--cache", tmp_path / "cache"]
    monkeypatch.setattr(image_gan, "reference_of", lambda *_: None)
    succeed(image_gan.main, "gan", *IMAGE_TINY, *more, "--run-dir", tmp_path / "run")
    said = f"{tmp_path}/run: a run on points paints no pictures" if points else (
        "--labels 1: this method paints no class that is asked for"
    )  # fmt: skip
    output = tmp_path / "painted.png"
    ended = call(paint.main, *command.format(run=tmp_path / "run").split()[1:], "--output", output)
    assert (ended.code, ended.err) == (2, f"error: {said}\n")
    assert not output.exists()


def test_bad_input_ends_a_process_in_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "experiments.image_gan", "dcgan", "--data", "digitz"],
        cwd=CHECKOUT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    said = "error: digitz: no such data; did you mean 'digits'?\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", said)
