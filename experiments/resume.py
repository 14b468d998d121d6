"""Continue a stopped run from its newest good checkpoint: `python -m experiments.resume RUN_DIR [--steps N]`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import tyro

from experiments.config import one_line_errors
from rl.runtime import InputError, closest, exit_codes, rundir

FAMILIES = {name: f"experiments.{name}" for name in ("text_gan", "gail", "irgan", "lm_gan", "image_gan")}


@dataclass(frozen=True)
class Arguments:
    """Continue a stopped run from its newest good checkpoint."""

    run_dir: tyro.conf.Positional[Path]
    """the run's folder"""
    steps: int | None = None
    """adversarial rounds to reach; none: as many as the run was to make"""


def script_of(run_dir: Path, saved: Mapping[str, Any]) -> Any:
    """Return the script of a run's family; raise InputError naming the file if there is none."""
    family = str(saved["family"])
    if family not in FAMILIES:
        place = f"{run_dir / 'config.json'}: family"
        raise InputError(f"{place}: {saved['family']!r} is no family{closest(family, FAMILIES)}")
    return import_module(FAMILIES[family])


def main(arguments: Sequence[str]) -> None:
    """Hand the run to the script of its family."""
    a = one_line_errors(
        lambda: tyro.cli(Arguments, args=arguments, prog="python -m experiments.resume", description=__doc__)
    )
    if a.steps is not None and a.steps < 0:
        raise InputError(f"--steps {a.steps}: must be zero or more")
    saved = rundir.read_config(a.run_dir)
    script_of(a.run_dir, saved).resume(a.run_dir, saved["config"], steps=a.steps)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
