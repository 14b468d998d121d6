"""Adversarial retrieval: `python -m experiments.irgan VARIANT [--flags]`; imitate, judge, climb."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from experiments import config, irgan_results, launch
from experiments.irgan_cast import Cast
from experiments.irgan_setup import Experiment, check, check_fit, kind_of, load_data, saved_experiment
from rl.retrieval.variants import PRESETS, VARIANTS, numbers_for
from rl.runtime import Engine, InputError, Keeper, Log, Stop, Stopped, checkpoints, exit_codes, turns_begun

FAMILY = "irgan"


def train(e: Experiment, cast: Cast, run_dir: Path, checkpoint: Path | None = None) -> None:
    """Run or continue: learn; with --refit choose a round, and learn anew from all data for as long; measure."""
    with Stop() as stop, Log(run_dir, total=epochs_in(e) * (1 + e.refit)) as log:
        if checkpoint is not None:
            checkpoints.restore(checkpoint, cast.parts(log))
        else:
            log.begin()
        keeper = learn(e, cast, Keeper(run_dir, cast.parts(log), stop, seconds=e.save_seconds), log, stage=0)
        if e.refit:
            for _ in cast.at.loop("choose", 1):
                irgan_results.choose(e, cast)
                keeper.save(epochs_in(e))
            cast.enter(1)
            keeper = learn(e, cast, Keeper(run_dir, cast.parts(log), stop, seconds=e.save_seconds), log, stage=1)
        keeper.save(epochs_in(e) * (1 + e.refit))
        log.progress("measuring", 1, 1)
        stop.at_once = True
        if stop.requested:  # it came after the last epoch
            raise Stopped(stop.requested)
        irgan_results.finish(run_dir, e, cast)


def learn(e: Experiment, cast: Cast, keeper: Keeper, log: Log, *, stage: int) -> Keeper:
    """Imitate, then play; measure on validation data, and remember who was best. A stage that is over does nothing."""
    n, at, players = e.numbers, cast.at, cast.players
    step = stage * epochs_in(e)
    pretraining = cast.plan.numbers["pretrain_epochs"] if stage else n.pretrain_epochs
    rounds = cast.plan.numbers["rounds"] if stage else n.steps

    # 1. Imitate: the best epoch stays.
    for epoch in at.loop("pretrain", pretraining):
        log.progress("pretraining", epoch, pretraining)
        cast.meter.add(players.imitate())
        cast.check(step + epoch + 1)
        if (epoch + 1) % e.evaluate_every == 0 or epoch + 1 == pretraining:
            measured = irgan_results.measure_and_offer(e, cast, cast.start, epoch + 1, 0)
            log.log(step + epoch + 1, cast.engine.gather(cast.meter.flush()) | measured)
        keeper(step + epoch + 1)
    step += n.pretrain_epochs
    for _ in at.loop("start", 1):
        cast.start.put_back(players)
        irgan_results.keep_start(e, cast)
        irgan_results.write_samples(keeper.run_dir, step, e, cast)
        keeper.save(step)

    # 2. Play: the discriminator judges, the generator climbs.
    for turn in at.loop("rounds", rounds):
        log.progress("rounds", turn, rounds)
        for epoch in at.loop("judge", n.d_epochs):
            if epoch % n.deal_every == 0:
                players.deal()
            cast.meter.add(players.judge((turn + epoch / n.d_epochs) / rounds))
            cast.check(step + turn * epochs_of_round(e) + epoch + 1)
            keeper(step + turn * epochs_of_round(e) + epoch + 1)
        before = step + turn * epochs_of_round(e) + n.d_epochs
        last = stage and turn + 1 == rounds
        epochs = cast.plan.numbers["g_epochs"] if last else n.g_epochs
        for epoch in at.loop("improve", epochs):
            cast.meter.add(players.improve((turn + epoch / n.g_epochs) / rounds))
            cast.check(before + epoch + 1)
            if (epoch + 1) % e.evaluate_every == 0 and epoch + 1 < epochs:
                measured = irgan_results.measure_and_offer(e, cast, cast.best, turn + 1, epoch + 1)
                log.log(before + epoch + 1, cast.engine.gather(cast.meter.flush()) | measured)
            keeper(before + epoch + 1)
        for _ in at.loop("measure", 1):
            measured = irgan_results.measure_and_offer(e, cast, cast.best, turn + 1, epochs)
            irgan_results.write_samples(keeper.run_dir, before + epochs, e, cast)
            log.log(before + epochs, cast.engine.gather(cast.meter.flush()) | measured)
            keeper(before + epochs)
    return keeper


def epochs_of_round(e: Experiment) -> int:
    """Return the epochs of both players in a round: what the run's steps count."""
    return e.numbers.d_epochs + e.numbers.g_epochs


def epochs_in(e: Experiment) -> int:
    """Return all epochs, those of pretraining included."""
    return e.numbers.pretrain_epochs + e.numbers.steps * epochs_of_round(e)


def evaluate(run_dir: Path, saved: dict[str, object], folder: Path) -> dict[str, float]:
    """Recompute summary.json from a checkpoint."""
    e = saved_experiment(run_dir, saved)
    engine = Engine(e.runtime, e.seed)
    cast = Cast(e, load_data(e), engine, stage_of(folder))
    with Log(run_dir, total=0, quiet=True) as log:
        parts = cast.parts(log)
    checkpoints.restore(folder, {name: parts[name] for name in parts if name != "log"}, partial=True)
    return irgan_results.summarise(run_dir, e, cast)


def parse(arguments: Sequence[str]) -> Experiment:
    """Return the experiment that the command line asks for; raise InputError in one line."""
    data = config.peek(arguments, "--data", default="synthetic")
    kind = kind_of(data, config.peek(arguments, "--format", default="auto"))

    def rows(preset: str) -> dict[str, tuple[str, Experiment]]:
        return {
            name: (row.summary, Experiment(name, numbers_for(name, kind, preset), preset))  # type: ignore[arg-type]
            for name, row in VARIANTS.items()
        }

    e = config.of_command_line(arguments, FAMILY, PRESETS, rows, check, __doc__)
    if e.preset == "paper" and kind not in (known := VARIANTS[e.variant].paper):
        having = f"numbers for {' and '.join(known)} alone" if known else "no numbers"
        raise InputError(f"--preset paper: {e.variant} has {having}, and --data {data} are {kind}")
    return e


def stage_of(checkpoint: Path) -> int:
    """Return whether a checkpoint learns from the training data (0), or from what was held out as well (1)."""
    return int(checkpoints.load(checkpoint)["plan"].get("stage", 0))


def rounds_begun(e: Experiment, checkpoint: Path) -> int:
    """Return the rounds that a checkpoint has made, one under way included."""
    return turns_begun(checkpoints.load(checkpoint)["at"], "rounds")


def ready(e: Experiment, engine: Engine, checkpoint: Path | None = None) -> launch.Train:
    """Return how to train, with all that it needs; raise InputError for what does not fit."""
    data = load_data(e)
    check_fit(e, data, engine)
    return partial(train, e, Cast(e, data, engine, stage_of(checkpoint) if checkpoint else 0))


def resume(run_dir: Path, saved: dict[str, object], *, steps: int | None) -> None:
    """Continue a run from its newest good checkpoint, to `steps` rounds if that is given."""
    e = saved_experiment(run_dir, saved)
    if e.refit and steps is not None:
        raise InputError(f"--steps {steps}: a run with --refit has its rounds chosen; start another")
    launch.resume(e, run_dir, steps, ready, rounds_begun)


def main(arguments: Sequence[str]) -> None:
    """Start a run in a folder of its own."""
    launch.start(FAMILY, parse(arguments), ready)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
