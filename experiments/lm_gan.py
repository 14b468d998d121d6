"""Language models from demonstrations: `python -m experiments.lm_gan VARIANT [--flags]`; read, warm up, play."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments import config, lm_results, text_results
from experiments.lm_data import load_task
from experiments.lm_setup import MAY_BE_ZERO, SHARES, Cast, Experiment, check_fit, measurement, saved_experiment
from experiments.text_setup import EVALUATION_SEED
from rl.runtime import Engine, InputError, Keeper, Log, Stop, Stopped, checkpoints, closest, exit_codes, rundir
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
            log.load_state_dict({"offset": 0, "seconds": 0.0, "step": 0})  # rows of a run that died before it saved
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
    preset = config.peek(arguments, "--preset", default="default")
    if preset not in PRESETS:
        raise InputError(f"--preset {preset}: no such preset{closest(preset, PRESETS)}")
    rows = {
        name: (variant.summary, Experiment(name, variant.presets[preset], preset))  # type: ignore[arg-type]
        for name, variant in VARIANTS.items()
    }
    experiment = config.parse(rows, arguments, prog="python -m experiments.lm_gan", description=__doc__ or "")
    config.check_numbers(experiment, may_be_zero=MAY_BE_ZERO, shares=SHARES)
    return experiment


def rounds_begun(checkpoint: Path) -> int:
    """Return the rounds that a checkpoint has made, one under way included."""
    outer = checkpoints.load(checkpoint)["at"]["path"][0]
    return int(outer["turn"] + 1 if outer["loop"] == "play" else dict(outer["finished"]).get("play", 0))


def resume(run_dir: Path, saved: dict[str, object], *, steps: int | None) -> None:
    """Continue a run from its newest good checkpoint, to `steps` rounds if that is given."""
    e = saved_experiment(run_dir, saved)
    if steps is not None:
        e = replace(e, numbers=replace(e.numbers, steps=steps))
    engine = Engine(e.runtime, e.seed)
    with rundir.lock(run_dir):
        checkpoint = checkpoints.newest(run_dir) if checkpoints.steps(run_dir) else None
        begun = rounds_begun(checkpoint) if checkpoint else 0
        if e.numbers.steps < begun:
            raise InputError(f"--steps {e.numbers.steps}: the run has begun round {begun} of {checkpoint}")
        task = load_task(e)
        check_fit(e, task, engine)
        cast = Cast(e, task, engine)
        if steps is not None and engine.is_main:
            rundir.write_json(run_dir / "config.json", rundir.read_config(run_dir) | {"config": config.to_json(e)})
        train(e, task, cast, run_dir, checkpoint)


def main(arguments: Sequence[str]) -> None:
    """Start a run in a folder of its own."""
    e = parse(arguments)
    engine = Engine(e.runtime, e.seed)  # first: from here on the ranks know each other
    task = load_task(e)
    check_fit(e, task, engine)  # bad input ends here, before a folder is made
    cast = Cast(e, task, engine)
    run_dir = rundir.create(e.run_dir, FAMILY, e.variant, config.to_json(e), e.seed)
    if engine.is_main:
        print(f"run: {run_dir}", flush=True)
    with rundir.lock(run_dir):
        train(e, task, cast, run_dir)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
