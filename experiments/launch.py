"""Start a run, or go on with one: what the script of every family does before it trains."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from experiments import config
from rl.runtime import Engine, InputError, Runtime, checkpoints, rundir


class Experiment(Protocol):
    """A configuration, whatever its family: `numbers.steps` is what a longer run has more of."""

    @property
    def variant(self) -> str: ...  # noqa: D102
    @property
    def numbers(self) -> Any: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def run_dir(self) -> Path | None: ...  # noqa: D102
    @property
    def runtime(self) -> Runtime: ...  # noqa: D102


E = TypeVar("E", bound=Experiment)
Train = Callable[[Path, Path | None], None]  # in a run's folder, from a checkpoint or anew
Ready = Callable[[E, Engine, Path | None], Train]  # loads what the run needs; raises InputError for what does not fit


def start(family: str, e: E, ready: Ready[E]) -> None:
    """Train in a new folder. Bad input ends before there is one."""
    engine = Engine(e.runtime, e.seed)  # first: from here on the ranks know each other
    train = ready(e, engine, None)
    run_dir = rundir.create(e.run_dir, family, e.variant, config.to_json(e), e.seed)
    if engine.is_main:
        print(f"run: {run_dir}", flush=True)
    with rundir.lock(run_dir):
        train(run_dir, None)


def resume(e: E, run_dir: Path, steps: int | None, ready: Ready[E], made: Callable[[E, Path], int]) -> None:
    """Train on from the newest good checkpoint, to `steps` if that is given.

    Args:
        e: the run's configuration.
        run_dir: its folder.
        steps: what `numbers.steps` becomes.
        ready: loads what the run needs, and returns how to train it.
        made: how many of these steps a checkpoint has begun; fewer cannot be asked for.
    """
    if steps is not None:
        e = replace(e, numbers=replace(e.numbers, steps=steps))  # type: ignore[type-var]
    engine = Engine(e.runtime, e.seed)
    with rundir.lock(run_dir):
        checkpoint = checkpoints.newest(run_dir) if checkpoints.steps(run_dir) else None
        if steps is not None and checkpoint and steps < (begun := made(e, checkpoint)):
            raise InputError(f"--steps {steps}: the run has come to {begun} by {checkpoint}")
        train = ready(e, engine, checkpoint)
        if steps is not None and engine.is_main:
            rundir.write_json(run_dir / "config.json", rundir.read_config(run_dir) | {"config": config.to_json(e)})
        train(run_dir, checkpoint)
