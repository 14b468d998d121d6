"""Text GANs: `python -m experiments.text_gan VARIANT [--flags]`; three phases, speak, judge, argue."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jaxtyping import Int
from torch import Tensor

from experiments import config, launch, text_results
from experiments.origin import check_start
from experiments.text_data import load_corpus
from experiments.text_setup import (
    EVALUATION_SEED,
    Cast,
    Experiment,
    check,
    check_fit,
    measurement,
    saved_experiment,
)
from rl.runtime import Engine, Keeper, Log, Stop, Stopped, checkpoints, exit_codes, turns_begun
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
            log.begin()
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
    return config.of_command_line(arguments, FAMILY, PRESETS, rows, check, __doc__)


def rows(preset: str) -> dict[str, tuple[str, Experiment]]:
    """Return each variant's summary and experiment."""
    return {name: (row.summary, Experiment(name, row.presets[preset], preset)) for name, row in VARIANTS.items()}  # type: ignore[arg-type]


def rounds_begun(e: Experiment, checkpoint: Path) -> int:
    """Return the adversarial rounds that a checkpoint has made, one under way included."""
    return turns_begun(checkpoints.load(checkpoint)["at"], "adversarial")


def ready(e: Experiment, engine: Engine, checkpoint: Path | None = None) -> launch.Train:
    """Return how to train, with all that it needs; raise InputError for what does not fit."""
    corpus = load_corpus(e)
    check_fit(e, corpus, engine)
    cast = Cast(e, corpus, engine)
    check_start(e.start_from, cast.origin)
    return partial(train, e, corpus, cast)


def resume(run_dir: Path, saved: dict[str, object], *, steps: int | None) -> None:
    """Continue a run from its newest good checkpoint, to `steps` adversarial rounds if that is given."""
    launch.resume(saved_experiment(run_dir, saved), run_dir, steps, ready, rounds_begun)


def main(arguments: Sequence[str]) -> None:
    """Start a run in a folder of its own."""
    launch.start(FAMILY, parse(arguments), ready)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
