"""Continue a stopped run from its newest good checkpoint: `python -m experiments.resume RUN_DIR [--steps N]`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import tyro

from experiments.config import one_line_errors
from rl.runtime import InputError, closest, exit_codes, rundir

FAMILIES = {"text_gan": "experiments.text_gan"}


@dataclass(frozen=True)
class Arguments:
    """Continue a stopped run from its newest good checkpoint."""

    run_dir: tyro.conf.Positional[Path]
    """the run's folder"""
    steps: int | None = None
    """adversarial rounds to reach; none: as many as the run was to make"""


def main(arguments: Sequence[str]) -> None:
    """Hand the run to the script of its family."""
    a = one_line_errors(
        lambda: tyro.cli(Arguments, args=arguments, prog="python -m experiments.resume", description=__doc__)
    )
    if a.steps is not None and a.steps < 0:
        raise InputError(f"--steps {a.steps}: must be zero or more")
    saved = rundir.read_config(a.run_dir)
    if str(saved["family"]) not in FAMILIES:
        place = f"{a.run_dir / 'config.json'}: family"
        raise InputError(f"{place}: {saved['family']!r} is no family{closest(str(saved['family']), FAMILIES)}")
    import_module(FAMILIES[saved["family"]]).resume(a.run_dir, saved["config"], steps=a.steps)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
