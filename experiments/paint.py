"""Paint with a trained generator: `python -m experiments.paint RUN_DIR [--labels 3 7] [--between 8]`."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import tyro
from torch import Tensor

from experiments import picture_grid
from experiments.config import LARGEST, one_line_errors
from experiments.image_gan import FAMILY
from experiments.image_results import painted_from
from experiments.image_setup import Cast, check_bound, load_data, saved_experiment
from experiments.resume import script_of
from image_gans.variants import VARIANTS
from image_gans.walks import walk
from rl.runtime import Engine, InputError, checkpoints, exit_codes, rundir, seeded


@dataclass(frozen=True)
class Arguments:
    """Paint with a trained generator."""

    run_dir: tyro.conf.Positional[Path]
    """the run's folder"""
    number: int = 10
    """pictures in a row: of a class, or of fresh noise"""
    rows: int = 10
    """rows, where no classes are asked for"""
    labels: tuple[int, ...] = ()
    """classes to paint, a row for each; none: all, where classes can be asked for"""
    between: int = 0
    """instead, this many pictures on the way from one latent to another in each row"""
    bound: float | None = None
    """BigGAN: largest number in the noise; none: the run's"""
    truncation: float | None = None
    """StyleGAN: share of the way from the average style; none: the run's"""
    seed: int = 0
    """of the noise"""
    output: Path = Path("painted.png")
    """where the grid is written"""


def paint(a: Arguments) -> Tensor:
    """Return the pictures, row by row, as bytes."""
    saved = rundir.read_config(a.run_dir)
    script_of(a.run_dir, saved)
    if saved["family"] != FAMILY:
        raise InputError(f"{a.run_dir / 'config.json'}: family: {saved['family']} paints no pictures")
    e = saved_experiment(a.run_dir, saved["config"])
    given = {"bound": a.bound, "truncation": a.truncation}
    e = replace(e, numbers=replace(e.numbers, **{name: value for name, value in given.items() if value is not None}))
    data = load_data(e)
    if data.kind == "points":
        raise InputError(f"{a.run_dir}: a run on points paints no pictures")
    cast = Cast(e, data, Engine(e.runtime, e.seed))
    held = {"origin": cast.origin, "average": cast.average}
    checkpoints.restore(checkpoints.newest(a.run_dir), held, partial=True)
    labels = classes_of(a, cast, VARIANTS[e.variant].conditional)
    device, dealer = cast.engine.device, cast.players.dealer
    with seeded(a.seed):
        if not a.between:
            asked = None if labels is None else labels.repeat_interleave(a.number).to(device)
            return painted_from(cast, dealer.free(a.rows * a.number if asked is None else len(asked), asked, device))
        rows = a.rows if labels is None else len(labels)
        ends = [dealer.free(rows, None if labels is None else labels.to(device), device) for _ in range(2)]
        return painted_from(cast, walk(*ends, a.between))


def classes_of(a: Arguments, cast: Cast, conditional: bool) -> Tensor | None:
    """Return the class of each row, None where no class can be asked for."""
    if not conditional:
        if a.labels:
            raise InputError(f"--labels {' '.join(map(str, a.labels))}: this method paints no class that is asked for")
        return None
    for label in a.labels:
        if not 0 <= label < cast.data.classes:
            raise InputError(f"--labels {label}: the classes are 0 to {cast.data.classes - 1}")
    return torch.tensor(a.labels or range(cast.data.classes))


def main(arguments: Sequence[str]) -> None:
    """Write the grid."""
    a = one_line_errors(
        lambda: tyro.cli(Arguments, args=arguments, prog="python -m experiments.paint", description=__doc__)
    )
    for flag, value, least in (("number", a.number, 1), ("rows", a.rows, 1), ("between", a.between, 0)):
        if value < least:
            raise InputError(f"--{flag} {value}: must be at least {least}")
    for name, share in (("bound", a.bound), ("truncation", a.truncation)):
        if share is not None and not 0 < share < math.inf:
            raise InputError(f"--{name} {share}: must be above zero, and finite")
    if a.bound is not None:
        check_bound(a.bound)
    if not 0 <= a.seed < LARGEST:
        raise InputError(f"--seed {a.seed}: must be zero or more, and below 2^62")
    if a.output.suffix != ".png":
        raise InputError(f"--output {a.output}: expected a .png")
    picture_grid.save(a.output, paint(a), columns=a.between or a.number)
    print(f"painted: {a.output}")


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
