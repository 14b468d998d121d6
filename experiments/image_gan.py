"""Image GANs: `python -m experiments.image_gan VARIANT [--flags]`; judge, paint, average."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from experiments import config, image_results, launch
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
from rl.runtime import Engine, Keeper, Log, Stop, Stopped, checkpoints, exit_codes, turns_begun

FAMILY = "image_gan"


def train(e: Experiment, cast: Cast, run_dir: Path, checkpoint: Path | None = None) -> None:
    """Run or continue: judge some times, paint once, average; measure at the last step."""
    n, at, game, players, engine = e.numbers, cast.at, cast.game, cast.players, cast.engine
    with Stop() as stop, Log(run_dir, total=n.steps) as log:
        keeper = Keeper(run_dir, cast.parts(log), stop, seconds=e.save_seconds)
        if checkpoint is not None:
            checkpoints.restore(checkpoint, cast.parts(log))
        else:
            log.begin()
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
    return image_results.summarise(run_dir, e, cast, reference, steps_made(folder))


def parse(arguments: Sequence[str]) -> Experiment:
    """Return the experiment that the command line asks for; raise InputError in one line."""
    kind = kind_of(config.peek(arguments, "--data", default="digits"))

    def rows(preset: str) -> dict[str, tuple[str, Experiment]]:
        return {
            name: (row.summary, Experiment(name, numbers_for(name, kind, preset), preset))  # type: ignore[arg-type]
            for name, row in VARIANTS.items()
        }

    return config.of_command_line(arguments, FAMILY, PRESETS, rows, check, __doc__)


def steps_made(checkpoint: Path) -> int:
    """Return the generator's steps that a checkpoint has made."""
    return turns_begun(checkpoints.load(checkpoint)["at"], "steps")


def ready(e: Experiment, engine: Engine, checkpoint: Path | None = None) -> launch.Train:
    """Return how to train, with all that it needs; raise InputError for what does not fit."""
    data = load_data(e)
    check_fit(e, data, engine)
    return partial(train, e, Cast(e, data, engine))


def resume(run_dir: Path, saved: dict[str, object], *, steps: int | None) -> None:
    """Continue a run from its newest good checkpoint, to `steps` of the generator if that is given."""
    launch.resume(saved_experiment(run_dir, saved), run_dir, steps, ready, lambda e, checkpoint: steps_made(checkpoint))


def main(arguments: Sequence[str]) -> None:
    """Start a run in a folder of its own."""
    launch.start(FAMILY, parse(arguments), ready)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
