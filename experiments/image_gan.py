"""Image GANs: `python -m experiments.image_gan VARIANT [--flags]`; judge, paint, average."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments import config, image_results
from experiments.image_setup import (
    Cast,
    Experiment,
    check,
    check_fit,
    kind_of,
    load_data,
    reference_of,
    saved_experiment,
    set_rates,
)
from image_gans.latent import discriminator_round, generator_round
from image_gans.variants import PRESETS, VARIANTS, numbers_for
from rl.runtime import Engine, InputError, Keeper, Log, Stop, Stopped, checkpoints, closest, exit_codes, rundir

FAMILY = "image_gan"


def train(e: Experiment, cast: Cast, run_dir: Path, checkpoint: Path | None = None) -> None:
    """Run or continue: judge some times, paint once, average; measure at the last step."""
    n, at, game, players, engine = e.numbers, cast.at, cast.game, cast.players, cast.engine
    with Stop() as stop, Log(run_dir, total=n.steps) as log:
        keeper = Keeper(run_dir, cast.parts(log), stop, seconds=e.save_seconds)
        if checkpoint is not None:
            checkpoints.restore(checkpoint, cast.parts(log))
        else:
            log.load_state_dict({"offset": 0, "seconds": 0.0, "step": 0})  # rows of a run that died before it saved
        log.progress("classifier", 0, 1)
        with cast.clock.stopped():
            reference = reference_of(e, cast)

        for step in at.loop("steps", n.steps):
            log.progress("painting", step, n.steps)
            players.grow(step / n.steps)
            set_rates(cast, n, step)
            for _ in range(n.d_steps):
                real, latent = players.dealer.deal(*cast.batch())
                cast.meter.add(discriminator_round(game, real, latent, cast.d_optimizer))
            cast.agree()
            real, latent = players.dealer.deal(*cast.batch())
            cast.meter.add(generator_round(game, real, latent, cast.g_optimizer))
            cast.average.update(cast.generator)

            done, last = step + 1, step + 1 == n.steps
            if done % e.evaluate_every == 0 or last:
                measured = image_results.measure(e, cast, reference, e.evaluate_samples)
                if engine.is_main:
                    image_results.write_samples(run_dir, done, e, cast)
            else:
                measured = {}
            if done % e.log_every == 0 or measured:
                numbers = engine.gather(cast.meter.flush() | cast.remembered() | measured)
                log.log(done, numbers | {"cpu_seconds": cast.clock.seconds})
            keeper(done)
        keeper.save(n.steps)
        log.progress("measuring", 1, 1)
        stop.at_once = True
        if stop.requested:  # it came after the last step
            raise Stopped(stop.requested)
        if engine.is_main:
            image_results.finish(run_dir, e, cast, reference)


def evaluate(run_dir: Path, saved: dict[str, object], folder: Path) -> dict[str, float]:
    """Recompute summary.json from a checkpoint."""
    e = saved_experiment(run_dir, saved)
    engine = Engine(e.runtime, e.seed)
    cast = Cast(e, load_data(e), engine)
    names = ("origin", "generator", "discriminator", "average", "clock")
    checkpoints.restore(folder, {name: getattr(cast, name) for name in names}, partial=True)
    with cast.clock.stopped():
        reference = reference_of(e, cast)
    return image_results.summarise(run_dir, e, cast, reference, rounds_begun(folder))


def parse(arguments: Sequence[str]) -> Experiment:
    """Return the experiment that the command line asks for; raise InputError in one line."""
    preset = config.peek(arguments, "--preset", default="default")
    data = config.peek(arguments, "--data", default="digits")
    if preset not in PRESETS:
        raise InputError(f"--preset {preset}: no such preset{closest(preset, PRESETS)}")
    rows = {
        name: (row.summary, Experiment(name, numbers_for(name, kind_of(data), preset), preset))  # type: ignore[arg-type]
        for name, row in VARIANTS.items()
    }
    experiment = config.parse(rows, arguments, prog="python -m experiments.image_gan", description=__doc__ or "")
    check(experiment)
    return experiment


def rounds_begun(checkpoint: Path) -> int:
    """Return the generator's steps that a checkpoint has made."""
    outer = checkpoints.load(checkpoint)["at"]["path"][0]
    return int(outer["turn"] if outer["loop"] == "steps" else dict(outer["finished"]).get("steps", 0))


def resume(run_dir: Path, saved: dict[str, object], *, steps: int | None) -> None:
    """Continue a run from its newest good checkpoint, to `steps` of the generator if that is given."""
    e = saved_experiment(run_dir, saved)
    if steps is not None:
        e = replace(e, numbers=replace(e.numbers, steps=steps))
    engine = Engine(e.runtime, e.seed)
    with rundir.lock(run_dir):
        checkpoint = checkpoints.newest(run_dir) if checkpoints.steps(run_dir) else None
        begun = rounds_begun(checkpoint) if checkpoint else 0
        if e.numbers.steps < begun:
            raise InputError(f"--steps {e.numbers.steps}: the run has made {begun} steps by {checkpoint}")
        data = load_data(e)
        check_fit(e, data, engine)
        cast = Cast(e, data, engine)
        if steps is not None and engine.is_main:
            rundir.write_json(run_dir / "config.json", rundir.read_config(run_dir) | {"config": config.to_json(e)})
        train(e, cast, run_dir, checkpoint)


def main(arguments: Sequence[str]) -> None:
    """Start a run in a folder of its own."""
    e = parse(arguments)
    engine = Engine(e.runtime, e.seed)  # first: from here on the ranks know each other
    data = load_data(e)
    check_fit(e, data, engine)  # bad input ends here, before a folder is made
    cast = Cast(e, data, engine)
    run_dir = rundir.create(e.run_dir, FAMILY, e.variant, config.to_json(e), e.seed)
    if engine.is_main:
        print(f"run: {run_dir}", flush=True)
    with rundir.lock(run_dir):
        train(e, cast, run_dir)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
