"""Language models from demonstrations: `python -m experiments.lm_gan VARIANT [--flags]`; read, warm up, play."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from experiments import config, launch, lm_results, text_results
from experiments.lm_data import load_task
from experiments.lm_setup import Cast, Experiment, check, check_fit, measurement, saved_experiment
from experiments.origin import check_start
from experiments.text_setup import EVALUATION_SEED
from rl.runtime import Engine, Keeper, Log, Stop, Stopped, checkpoints, exit_codes, turns_begun
from seqgan.likelihood import nll
from seqgan.lm.health import health
from seqgan.lm.task import Task
from seqgan.lm.variants import PRESETS, VARIANTS

FAMILY = "lm_gan"


def train(e: Experiment, task: Task, cast: Cast, run_dir: Path, checkpoint: Path | None = None) -> None:
    """Run or continue: read the text, warm the discriminator up, play; then measure what was chosen."""
    n, at, meter, players, engine = e.numbers, cast.at, cast.meter, cast.players, cast.engine
    text = task.text.train.to(engine.device)
    epochs = 0 if e.start_from else n.mle_epochs
    with Stop() as stop, Log(run_dir, total=epochs + 1 + n.steps) as log:
        keeper = Keeper(run_dir, cast.parts(log), stop, seconds=e.save_seconds)
        if checkpoint is not None:
            checkpoints.restore(checkpoint, cast.parts(log))
        else:
            log.begin()
            if engine.is_main:
                task.text.vocabulary.save(run_dir / "vocabulary.json")

        # 1. Read: maximum likelihood on the text.
        for epoch in at.loop("mle", epochs):
            log.progress("maximum likelihood", epoch, epochs)
            for _ in at.loop("batches", len(cast.sentences)):
                meter.add(players.imitate(text[engine.shard(next(cast.sentences)).to(engine.device)]))
                keeper(epoch)
            read = nll(players.generator, task.text.valid.to(engine.device))
            cast.best.offer(players.generator, read)
            log.log(epoch + 1, engine.gather(meter.flush()) | {"mle/nll_valid": read})
        for _ in at.loop("start", 1):
            if e.start_from:
                checkpoints.restore(checkpoints.newest(e.start_from), {"start": players.generator}, partial=True)
            elif n.mle_best and epochs:
                players.generator.load_state_dict(cast.best.weights)
            players.begin()
            keeper.save(epochs)

        # 2. Warm up: the discriminator learns from the start's answers.
        for _ in at.loop("warm-up", 1):
            for step in at.loop("warm", n.d_warm):
                log.progress("discriminator", step, n.d_warm)
                meter.add(players.warm())
                keeper(epochs)
            log.log(epochs + 1, engine.gather(meter.flush()) | look(e, task, cast, 0))

        # 3. Play.
        begun = epochs + 1
        for step in at.loop("play", n.steps):
            if n.patience and cast.choice.waited >= n.patience:
                break
            log.progress("rounds", step, n.steps)
            for _ in at.loop("round", 1):
                meter.add(players.round())
                keeper(begun + step)
            measured = {}
            if (step + 1) % e.evaluate_every == 0 or step + 1 == n.steps:
                measured = look(e, task, cast, step + 1)
                if engine.is_main:
                    speaker = players.speaker(players.generator)
                    text_results.write_samples(run_dir, begun + step + 1, speaker, task.shown, e.seed)
            log.log(begun + step + 1, engine.gather(meter.flush()) | measured)
        keeper.save(begun + n.steps)
        log.progress("measuring", n.steps, n.steps)
        stop.at_once = True
        if stop.requested:  # it came after the last round
            raise Stopped(stop.requested)
        chosen = cast.settle(e)
        if engine.is_main:
            lm_results.finish(run_dir, players, task, cast.instruments, measurement(e), chosen)


def look(e: Experiment, task: Task, cast: Cast, step: int) -> dict[str, float]:
    """Return how the game stands after `step` rounds, and take the round for the choice."""
    measured = health(cast.players, task, cast.outside, samples=e.evaluate_samples, seed=e.seed + EVALUATION_SEED)
    cast.choice.measure(cast.players.generator, measured["outside"], step)
    return measured


def evaluate(run_dir: Path, saved: dict[str, object], folder: Path) -> dict[str, float]:
    """Recompute summary.json from a checkpoint."""
    e = saved_experiment(run_dir, saved)
    task, engine = load_task(e), Engine(e.runtime, e.seed)
    cast = Cast(e, task, engine)
    parts = {"origin": cast.origin, "choice": cast.choice} | cast.players.parts()
    checkpoints.restore(folder, parts, partial=True)
    chosen = cast.settle(e)
    return lm_results.summarise(run_dir, cast.players, task, cast.instruments, measurement(e), chosen)


def parse(arguments: Sequence[str]) -> Experiment:
    """Return the experiment that the command line asks for; raise InputError in one line."""
    return config.of_command_line(arguments, FAMILY, PRESETS, rows, check, __doc__)


def rows(preset: str) -> dict[str, tuple[str, Experiment]]:
    """Return each variant's summary and experiment."""
    return {name: (row.summary, Experiment(name, row.presets[preset], preset)) for name, row in VARIANTS.items()}  # type: ignore[arg-type]


def rounds_begun(e: Experiment, checkpoint: Path) -> int:
    """Return the rounds that a checkpoint has made, one under way included."""
    return turns_begun(checkpoints.load(checkpoint)["at"], "play")


def ready(e: Experiment, engine: Engine, checkpoint: Path | None = None) -> launch.Train:
    """Return how to train, with all that it needs; raise InputError for what does not fit."""
    task = load_task(e)
    check_fit(e, task, engine)
    cast = Cast(e, task, engine)
    check_start(e.start_from, cast.origin)
    return partial(train, e, task, cast)


def resume(run_dir: Path, saved: dict[str, object], *, steps: int | None) -> None:
    """Continue a run from its newest good checkpoint, to `steps` rounds if that is given."""
    launch.resume(saved_experiment(run_dir, saved), run_dir, steps, ready, rounds_begun)


def main(arguments: Sequence[str]) -> None:
    """Start a run in a folder of its own."""
    launch.start(FAMILY, parse(arguments), ready)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
