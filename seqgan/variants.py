"""The table of text methods: a row is who plays, with which objective, reward and baseline, and numbers by preset."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from rl.discriminator import evaluating
from rl.estimators import batch_baseline, leave_one_out, no_baseline
from rl.objectives import AIRL, MaliGAN, Objective, SeqGAN
from rl.rewards import Constant, MonteCarlo, Noise, Reward, Terminal
from rl.rollout import Rollout, returns_to_go
from rl.runtime import Engine
from seqgan.corpus import Corpus
from seqgan.discriminators import ConvDiscriminator
from seqgan.generators import Generator
from seqgan.maligan import weighed_rollouts
from seqgan.numbers import Numbers
from seqgan.players import Players, PolicyPlayers
from seqgan.rankgan import RankPlayers
from seqgan.residual import ResidualPlayers
from seqgan.sampling import complete
from seqgan.scoring import judge_completions


@dataclass(frozen=True)
class Variant:
    """One method: what it is, who plays it, and its numbers by preset."""

    summary: str
    players: Callable[[Numbers, Corpus, Engine], Players]
    presets: dict[str, Numbers]


def monte_carlo(
    generator: Generator, discriminator: ConvDiscriminator, objective: Objective, numbers: Numbers, engine: Engine
) -> Reward[Tensor]:
    """Mean reward of the completions of each prefix, all made in one sweep by the generator as it is."""
    judge = partial(judge_completions, discriminator, autocast=engine.autocast)
    return MonteCarlo(partial(complete, generator), judge, objective, numbers.rollouts)


def whole_sentence(
    generator: Generator, discriminator: ConvDiscriminator, objective: Objective, numbers: Numbers, engine: Engine
) -> Reward[Tensor]:
    """Reward of the sentence as it was spoken, for every token of it: no rollouts, so that many more can be spoken."""
    judged = Terminal(engine.fast(discriminator), objective)

    def reward(rollout: Rollout[Tensor]) -> Tensor:
        with evaluating(discriminator):
            return returns_to_go(judged(rollout), rollout.mask)

    return reward


def constant(*_: object) -> Reward[Tensor]:
    """Pay one for every token, whatever was said."""
    return Constant(1.0)


def nothing(*_: object) -> Reward[Tensor]:
    """Pay nothing: what else the generator climbs stands alone."""
    return Constant(0.0)


def noise(*_: object) -> Reward[Tensor]:
    """Pay a draw from U[0, 1] for every token, whatever was said."""
    return Noise()


# The paper's scale, 10,000 sentences of 20 tokens out of 5,000, and its code's schedules; for --oracle-params FILE.
PAPER = Numbers(
    steps=200,
    vocabulary=5_000,
    sentences=10_000,
    valid=0,
    mle_epochs=120,
    d_filters="paper",
    d_pretrain=50,
    d_pretrain_epochs=3,
    d_rounds=5,
    d_epochs=3,
)
# The same with a discriminator schedule that a CPU finishes in an hour: stated wherever a result is quoted.
PAPER_CPU = replace(PAPER, d_pretrain=40, d_pretrain_epochs=3, d_rounds=1, d_epochs=1, d_sentences=1_280)
DEFAULT = Numbers(
    steps=100,
    mle_epochs=20,
    g_lr=2e-3,
    d_lr=1e-3,
    d_pretrain=5,
    d_pretrain_epochs=1,
    d_rounds=1,
    d_epochs=1,
    d_sentences=1_000,
)
DEMO = replace(DEFAULT, vocabulary=200, sentences=2_000, length=12)
# The paper's data and start, and an adversary that all methods can afford on one core in minutes: the common protocol.
PROTOCOL = replace(
    PAPER, steps=60, d_filters="small", d_lr=1e-3, d_pretrain=5, d_pretrain_epochs=1, d_rounds=1, d_epochs=1,
    d_sentences=2_560,
)  # fmt: skip
# The same for captions and news: a larger generator, stopped by validation.
TEXT = replace(
    PROTOCOL, valid=500, embedding=64, hidden=128, dropout=0.5, mle_epochs=30, mle_lr=2e-3, mle_best=True, steps=40,
    g_lr=1e-3, rollouts=4, d_dropout=0.5, d_lr=5e-4, d_pretrain=4, d_sentences=5_120,
)  # fmt: skip
PRESETS = {
    "default": DEFAULT, "demo": DEMO, "paper": PAPER, "paper-cpu": PAPER_CPU, "protocol": PROTOCOL, "text": TEXT
}  # fmt: skip


def without_discriminator(numbers: Numbers) -> Numbers:
    """Return numbers that never train the discriminator, for rewards that do not ask it."""
    return replace(numbers, d_pretrain=0, d_rounds=0)


def without_adversary(numbers: Numbers) -> Numbers:
    """Return numbers that make no adversarial update at all."""
    return replace(without_discriminator(numbers), g_steps=0)


def trusting(numbers: Numbers) -> Numbers:
    """Return numbers for a regularised start and small steps towards the sentences that it trusts."""
    return replace(
        numbers,
        valid=500,
        steps=60,
        embedding=64,
        hidden=64,
        dropout=0.5,
        mle_epochs=100,
        mle_lr=2e-3,
        mle_best=True,
        batch=256,
        g_lr=3e-4,
        g_clip=5.0,
        kl_weight=1.0,
        sharpness=1.8,
        d_filters="small",
        d_sentences=2_000,
        d_pretrain=10,
        d_pretrain_epochs=1,
        d_rounds=1,
        d_epochs=1,
    )


def choosing(numbers: Numbers) -> Numbers:
    """Return numbers for a generator that only speaks, and a discriminator that learns from its sentences."""
    return replace(numbers, steps=8, g_steps=0, sharpness=1.2, d_sentences=10_000, d_pretrain=0, d_rounds=1, d_epochs=1)


def rows(change: Callable[[Numbers], Numbers]) -> dict[str, Numbers]:
    """Return every preset with a change."""
    return {preset: change(numbers) for preset, numbers in PRESETS.items()}


VARIANTS = {
    "seqgan": Variant(
        "SeqGAN (Yu et al. 2017): rollout rewards D(x), no baseline",
        partial(PolicyPlayers, objective=SeqGAN(), reward=monte_carlo, baseline=no_baseline),
        PRESETS,
    ),
    "seqgan-loo": Variant(
        "SeqGAN with a leave-one-out baseline",
        partial(PolicyPlayers, objective=SeqGAN(), reward=monte_carlo, baseline=leave_one_out),
        PRESETS,
    ),
    "seqgan-trust": Variant(
        "ours: log D/(1-D) and the likelihood of whole sentences under a regularised start, leave-one-out baseline",
        partial(PolicyPlayers, objective=AIRL(), reward=whole_sentence, baseline=leave_one_out),
        rows(trusting),
    ),
    "trust": Variant(
        "control: the same without a discriminator",
        partial(PolicyPlayers, objective=AIRL(), reward=nothing, baseline=leave_one_out),
        rows(lambda numbers: without_discriminator(trusting(numbers))),
    ),
    "seqgan-constant": Variant(
        "control: SeqGAN paid 1 for everything",
        partial(PolicyPlayers, objective=SeqGAN(), reward=constant, baseline=no_baseline),
        rows(without_discriminator),
    ),
    "seqgan-noise": Variant(
        "control: SeqGAN paid U[0, 1] for everything",
        partial(PolicyPlayers, objective=SeqGAN(), reward=noise, baseline=no_baseline),
        rows(without_discriminator),
    ),
    "maligan": Variant(
        "MaliGAN (Che et al. 2017): rollout rewards e^l normalised over the batch, less their mean",
        partial(PolicyPlayers, objective=MaliGAN(), reward=weighed_rollouts, baseline=batch_baseline),
        PRESETS,
    ),
    "rankgan": Variant(
        "RankGAN (Lin et al. 2017): rollout rewards by rank among real sentences",
        partial(RankPlayers, objective=SeqGAN(), baseline=no_baseline),
        PRESETS,
    ),
    "residual": Variant(
        "residual model (Deng et al. 2020): the start says, a discriminator chooses",
        ResidualPlayers,
        rows(choosing),
    ),
    "mle": Variant(
        "maximum likelihood alone, the plain baseline",
        partial(PolicyPlayers, objective=SeqGAN(), reward=constant, baseline=no_baseline),
        rows(without_adversary),
    ),
}
