"""Methods that learn from demonstrations side by side, by one command: makes the runs that are missing, and compares.

`python -m experiments.compare_lm [--variants mle sft ...] [--seeds 3] [--runs FOLDER] [--jobs 1] -- FLAGS of lm_gan`
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments import compare, lm_gan
from experiments.config import one_line_errors, to_json
from experiments.records import flatten
from rl.runtime import InputError, closest, exit_codes, rundir
from seqgan.lm.variants import VARIANTS

START = "mle"  # the variant whose start all others of its seed begin from
PLACES = ("run_dir", "start_from", "cache")  # may be called by another name


@dataclass(frozen=True)
class Arguments:
    """Make the runs that are missing, and compare all; flags of lm_gan stand after `--`."""

    variants: tuple[str, ...] = ("mle", "sft", "spin", "gad", "varl", "airl-token")
    """methods; `mle` is always among them, the others begin from its start"""
    seeds: int = 3
    """seeds 0, 1, ..."""
    runs: Path = Path("runs/lm")
    """where the runs are kept, VARIANT-sSEED each"""
    jobs: int = 1
    """runs at a time, one thread each"""


def perform(variants: Sequence[str], seeds: int, runs: Path, jobs: int, flags: Sequence[str]) -> list[Path]:
    """Return the folders of finished runs, made or continued where they are missing: first all starts, then the rest.

    Raises InputError for flags that are wrong, or others than a run that is there was made with, before any begins;
    and naming the log of a run that failed.
    """
    runs.mkdir(parents=True, exist_ok=True)
    others = [variant for variant in variants if variant != START]
    for variant in (START, *others):
        for seed in range(seeds):
            check(variant, seed, runs, flags)
    with ThreadPoolExecutor(jobs) as pool:
        for wave in ([START], others):
            wanted = [(variant, seed) for seed in range(seeds) for variant in wave]
            for problem in list(pool.map(lambda pair: finish(*pair, runs, flags), wanted)):
                if problem:
                    raise InputError(problem)
    return [folder(variant, seed, runs) for variant in (START, *others) for seed in range(seeds)]


def folder(variant: str, seed: int, runs: Path) -> Path:
    """Return where a run is kept."""
    return runs / f"{variant}-s{seed}"


def check(variant: str, seed: int, runs: Path, flags: Sequence[str]) -> None:
    """Raise InputError for wrong flags, and where a run is there that was made with others."""
    run_dir = folder(variant, seed, runs)
    asked = flatten(to_json(lm_gan.parse(arguments_of(variant, seed, runs, flags))))
    if not (run_dir / "config.json").exists():
        return
    made = flatten(rundir.read_config(run_dir)["config"])
    for name in sorted((asked.keys() | made.keys()) - {*PLACES}):
        if asked.get(name) != made.get(name):
            told = f"{made.get(name)!r}, and {asked.get(name)!r} is asked for"
            raise InputError(f"{run_dir / 'config.json'}: {name} is {told}; move it away, or name other --runs")


def finish(variant: str, seed: int, runs: Path, flags: Sequence[str]) -> str:
    """Make or continue one run in a process of its own; return what went wrong, "" if nothing did."""
    run_dir = folder(variant, seed, runs)
    if (run_dir / "summary.json").exists():
        return ""
    log = run_dir.with_suffix(".log")
    with log.open("a") as file:
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command(variant, seed, runs, flags), stdout=file, stderr=file, env=one_thread)
    return f"{log}: {run_dir.name} ended with exit code {done.returncode}" if done.returncode else ""


def command(variant: str, seed: int, runs: Path, flags: Sequence[str]) -> list[str]:
    """Return the command line that makes a run, or continues it where it has begun."""
    run_dir = folder(variant, seed, runs)
    if (run_dir / "config.json").exists():
        return [sys.executable, "-m", "experiments.resume", str(run_dir)]
    return [sys.executable, "-m", "experiments.lm_gan", *arguments_of(variant, seed, runs, flags)]


def arguments_of(variant: str, seed: int, runs: Path, flags: Sequence[str]) -> list[str]:
    """Return what lm_gan is told."""
    begin = [] if variant == START else ["--start-from", str(folder(START, seed, runs))]
    own = ["--seed", str(seed), "--run-dir", str(folder(variant, seed, runs)), "--runtime.threads", "1", *begin]
    return [variant, *own, *flags]


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags of this script, and those of lm_gan after `--`."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:place]), list(arguments[place + 1 :])


def main(arguments: Sequence[str]) -> None:
    """Make the runs, and hand them to `experiments.compare`."""
    mine, flags = split(arguments)
    a = one_line_errors(
        lambda: tyro.cli(Arguments, args=mine, prog="python -m experiments.compare_lm", description=__doc__)
    )
    for variant in a.variants:
        if variant not in VARIANTS:
            raise InputError(f"--variants {variant}: no such variant{closest(variant, VARIANTS)}")
    if a.seeds < 1 or a.jobs < 1:
        raise InputError(f"--seeds {a.seeds} --jobs {a.jobs}: at least one of each")
    folders = perform(a.variants, a.seeds, a.runs, a.jobs, flags)
    compare.main([*map(str, folders), "--output", str(a.runs / "compare.html")])


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
