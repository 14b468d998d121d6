"""Text GANs: `python -m experiments.text_gan VARIANT [--flags]`; three phases, speak, judge, argue."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jaxtyping import Int
from torch import Tensor

from experiments import config, text_results
from experiments.text_data import load_corpus
from experiments.text_setup import (
    EVALUATION_SEED,
    MAY_BE_ZERO,
    SHARES,
    Cast,
    Experiment,
    check_fit,
    measurement,
    saved_experiment,
)
from rl.runtime import Engine, InputError, Keeper, Log, Stop, Stopped, checkpoints, closest, exit_codes, rundir
from seqgan.corpus import Corpus
from seqgan.evaluation import glance
from seqgan.likelihood import nll
from seqgan.variants import PRESETS, VARIANTS

FAMILY = "text_gan"


def train(e: Experiment, corpus: Corpus, cast: Cast, run_dir: Path, checkpoint: Path | None = None) -> None:
    """Run or continue: speak by maximum likelihood, learn to judge, argue; then measure at the last step."""
    n, at, meter, players, engine = e.numbers, cast.at, cast.meter, cast.players, cast.engine
    real = corpus.train.to(engine.device)
    mle_epochs = 0 if e.start_from else n.mle_epochs
    with Stop() as stop, Log(run_dir, total=mle_epochs + n.d_pretrain + n.steps) as log:
        keeper = Keeper(run_dir, cast.parts(log), stop, seconds=e.save_seconds)
        if checkpoint is not None:
            checkpoints.restore(checkpoint, cast.parts(log))
        else:
            log.load_state_dict({"offset": 0, "seconds": 0.0, "step": 0})  # rows of a run that died before it saved
            if engine.is_main:
                corpus.vocabulary.save(run_dir / "vocabulary.json")

        # 1. Speak: maximum likelihood.
        for epoch in at.loop("mle", mle_epochs):
            log.progress("maximum likelihood", epoch, mle_epochs)
            for _ in at.loop("batches", len(cast.sentences)):
                batch = real[engine.shard(next(cast.sentences)).to(engine.device)]
                meter.add(players.imitate(batch))
                keeper(epoch)
            measured = {}
            if len(corpus.valid):
                measured["mle/nll_valid"] = nll(players.generator, corpus.valid.to(engine.device))
            if n.mle_best:
                cast.best.offer(players.generator, measured["mle/nll_valid"])
            log.log(epoch + 1, engine.gather(meter.flush()) | measured)
        for _ in at.loop("start", 1):
            if e.start_from:
                checkpoints.restore(checkpoints.newest(e.start_from), {"start": players.generator}, partial=True)
            elif n.mle_best:
                players.generator.load_state_dict(cast.best.weights)
            players.begin()
            keeper.save(mle_epochs)

        # 2. Learn to judge.
        for resampling in at.loop("pretrain", n.d_pretrain):
            log.progress("discriminator", resampling, n.d_pretrain)
            learn_to_judge(e, cast, real, keeper, step=mle_epochs + resampling, epochs=n.d_pretrain_epochs)
            log.log(mle_epochs + resampling + 1, engine.gather(meter.flush()))

        # 3. Argue.
        begun = mle_epochs + n.d_pretrain
        for step in at.loop("adversarial", n.steps):
            log.progress("adversarial", step, n.steps)
            for _ in at.loop("improve", n.g_steps):
                meter.add(players.improve(step / n.steps))
                keeper(begun + step)
            for _ in at.loop("resample", n.d_rounds):
                learn_to_judge(e, cast, real, keeper, step=begun + step, epochs=n.d_epochs)
            measured = {}
            if (step + 1) % e.evaluate_every == 0 or step + 1 == n.steps:
                measured = glance(cast.speaker(), corpus, samples=e.evaluate_samples, seed=e.seed + EVALUATION_SEED)
                if engine.is_main:
                    text_results.write_samples(run_dir, begun + step + 1, cast.speaker(), corpus, e.seed)
            log.log(begun + step + 1, engine.gather(meter.flush()) | measured)
        keeper.save(begun + n.steps)
        log.progress("measuring", n.steps, n.steps)
        stop.at_once = True
        if stop.requested:  # it came after the last minibatch
            raise Stopped(stop.requested)
        if engine.is_main:
            text_results.finish(run_dir, players, corpus, measurement(e))


def learn_to_judge(
    e: Experiment, cast: Cast, real: Int[Tensor, "train time"], keeper: Keeper, *, step: int, epochs: int
) -> None:
    """Speak anew, and train the discriminator for some epochs over what was said; stops and resumes anywhere."""
    n, engine, players = e.numbers, cast.engine, cast.players
    for _ in cast.at.loop("speak", 1):
        said = players.say(n.d_sentences // engine.world)
        cast.fakes.sentences = engine.gather_rows(said).cpu()
        keeper(step)
    fakes = cast.fakes.sentences.to(real.device)
    for _ in cast.at.loop("judge", epochs * len(cast.fake_rows)):
        some_real, some_fake = (
            rows[engine.shard(next(batches)).to(real.device)]
            for rows, batches in ((real, cast.reals), (fakes, cast.fake_rows))
        )
        cast.meter.add(players.judge(some_real, some_fake))
        keeper(step)


def evaluate(run_dir: Path, saved: dict[str, object], folder: Path) -> dict[str, float]:
    """Recompute summary.json from a checkpoint."""
    e = saved_experiment(run_dir, saved)
    corpus, engine = load_corpus(e), Engine(e.runtime, e.seed)
    cast = Cast(e, corpus, engine)
    measured = {"origin": cast.origin} | cast.players.parts()  # who speaks may need more than the generator
    checkpoints.restore(folder, measured, partial=True)
    return text_results.summarise(run_dir, cast.players, corpus, measurement(e))


def parse(arguments: Sequence[str]) -> Experiment:
    """Return the experiment that the command line asks for; raise InputError in one line."""
    preset = config.peek(arguments, "--preset", default="default")
    if preset not in PRESETS:
        raise InputError(f"--preset {preset}: no such preset{closest(preset, PRESETS)}")
    rows = {
        name: (variant.summary, Experiment(name, variant.presets[preset], preset))  # type: ignore[arg-type]
        for name, variant in VARIANTS.items()
    }
    experiment = config.parse(rows, arguments, prog="python -m experiments.text_gan", description=__doc__ or "")
    config.check_numbers(experiment, may_be_zero=MAY_BE_ZERO, shares=SHARES)
    return experiment


def rounds_begun(checkpoint: Path) -> int:
    """Return the adversarial rounds that a checkpoint has made, one under way included."""
    outer = checkpoints.load(checkpoint)["at"]["path"][0]
    return int(outer["turn"] + 1 if outer["loop"] == "adversarial" else dict(outer["finished"]).get("adversarial", 0))


def resume(run_dir: Path, saved: dict[str, object], *, steps: int | None) -> None:
    """Continue a run from its newest good checkpoint, to `steps` adversarial rounds if that is given."""
    e = saved_experiment(run_dir, saved)
    if steps is not None:
        e = replace(e, numbers=replace(e.numbers, steps=steps))
    engine = Engine(e.runtime, e.seed)
    with rundir.lock(run_dir):
        checkpoint = checkpoints.newest(run_dir) if checkpoints.steps(run_dir) else None
        begun = rounds_begun(checkpoint) if checkpoint else 0
        if e.numbers.steps < begun:
            raise InputError(f"--steps {e.numbers.steps}: the run has begun round {begun} of {checkpoint}")
        corpus = load_corpus(e)
        check_fit(e, corpus, engine)
        cast = Cast(e, corpus, engine)
        if steps is not None and engine.is_main:
            rundir.write_json(run_dir / "config.json", rundir.read_config(run_dir) | {"config": config.to_json(e)})
        train(e, corpus, cast, run_dir, checkpoint)


def main(arguments: Sequence[str]) -> None:
    """Start a run in a folder of its own."""
    e = parse(arguments)
    engine = Engine(e.runtime, e.seed)  # first: from here on the ranks know each other
    corpus = load_corpus(e)
    check_fit(e, corpus, engine)  # bad input ends here, before a folder is made
    cast = Cast(e, corpus, engine)
    run_dir = rundir.create(e.run_dir, FAMILY, e.variant, config.to_json(e), e.seed)
    if engine.is_main:
        print(f"run: {run_dir}", flush=True)
    with rundir.lock(run_dir):
        train(e, corpus, cast, run_dir)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
