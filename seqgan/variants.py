"""The table of text methods: a row is a choice of objective, reward, baseline and numbers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from torch import Tensor

from rl.discriminator import evaluating
from rl.estimators import leave_one_out, no_baseline
from rl.objectives import AIRL, Objective, SeqGAN
from rl.rewards import Constant, MonteCarlo, Noise, Reward, Terminal
from rl.rollout import Rollout, returns_to_go
from rl.runtime import Engine
from seqgan.adversarial import Baseline
from seqgan.discriminators import PAPER_FILTERS, SMALL_FILTERS, ConvDiscriminator
from seqgan.generators import Generator
from seqgan.sampling import complete
from seqgan.scoring import judge_completions

FILTERS = {"paper": PAPER_FILTERS, "small": SMALL_FILTERS}


@dataclass(frozen=True)
class Numbers:
    """The numbers of a text run; each is a flag."""

    steps: int = 60
    """adversarial rounds"""
    vocabulary: int = 500
    """tokens of an oracle that is drawn from the seed"""
    length: int = 0
    """tokens in a sentence; 0: 20 for an oracle, the longest sentence's for a text"""
    sentences: int = 4_000
    """sentences drawn from an oracle to learn from"""
    valid: int = 200
    """sentences held out of them for validation"""
    test_sentences: int = 10_000
    """other sentences drawn from an oracle, for nll_test"""
    generator: Literal["lstm", "transformer"] = "lstm"
    """which net speaks"""
    embedding: int = 32
    """size of the LSTM's token embeddings"""
    hidden: int = 32
    """size of the generator's state (of a transformer: its width)"""
    layers: int = 1
    """layers of the generator"""
    dropout: float = 0.0
    """dropout of the generator while it is pretrained; never on while it speaks or is rewarded"""
    mle_epochs: int = 60
    """epochs of maximum-likelihood pretraining"""
    mle_batch: int = 64
    """sentences in a pretraining batch"""
    mle_lr: float = 0.01
    """Adam's rate in pretraining"""
    mle_decay: float = 0.0
    """decoupled weight decay in pretraining"""
    mle_best: bool = False
    """start from the pretraining epoch with the lowest validation loss instead of the last"""
    batch: int = 64
    """sentences in a generator step"""
    g_steps: int = 1
    """generator steps in an adversarial round"""
    g_lr: float = 0.01
    """Adam's rate for the generator in the adversarial rounds"""
    g_clip: float = 5 / 64
    """bound of the generator's gradient norm; the loss is a mean over sentences, the paper's 5 is on the sum over 64"""
    rollouts: int = 16
    """completions of each prefix"""
    kl_weight: float = 0.0
    """weight of the distance to the pretrained generator, nats per sentence"""
    sharpness: float = 1.0
    """power of the pretrained generator that the distance is to; above 1 likely sentences are preferred"""
    entropy_weight: float = 0.0
    """weight of the generator's entropy, nats per sentence"""
    d_embedding: int = 64
    """size of the discriminator's token embeddings"""
    d_filters: Literal["paper", "small"] = "small"
    """filter widths and counts: the paper's 1,720 filters, or 256"""
    d_dropout: float = 0.25
    """dropout of the discriminator while it learns"""
    d_l2: float = 0.2
    """weight of the L2 penalty on the discriminator's output layer"""
    d_lr: float = 1e-4
    """Adam's rate for the discriminator"""
    d_batch: int = 64
    """sentences in a discriminator batch, half of them real"""
    d_sentences: int = 10_000
    """fake sentences spoken anew for each resampling"""
    d_pretrain: int = 10
    """resamplings before the adversarial rounds"""
    d_pretrain_epochs: int = 3
    """epochs over each of them"""
    d_rounds: int = 5
    """resamplings in an adversarial round"""
    d_epochs: int = 3
    """epochs over each of them"""


@dataclass(frozen=True)
class Variant:
    """One method: what it is, what is earned, what is subtracted, and its numbers by preset."""

    summary: str
    objective: Objective
    reward: Callable[[Generator, ConvDiscriminator, Objective, Numbers, Engine], Reward[Tensor]]
    baseline: Baseline
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
PRESETS = {"default": DEFAULT, "demo": DEMO, "paper": PAPER, "paper-cpu": PAPER_CPU}  # fmt: skip


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


def rows(change: Callable[[Numbers], Numbers]) -> dict[str, Numbers]:
    """Return every preset with a change."""
    return {preset: change(numbers) for preset, numbers in PRESETS.items()}


VARIANTS = {
    "seqgan": Variant(
        "SeqGAN (Yu et al. 2017): rollout rewards D(x), no baseline", SeqGAN(), monte_carlo, no_baseline, PRESETS
    ),
    "seqgan-loo": Variant("SeqGAN with a leave-one-out baseline", SeqGAN(), monte_carlo, leave_one_out, PRESETS),
    "seqgan-trust": Variant(
        "ours: log D/(1-D) and the likelihood of whole sentences under a regularised start, leave-one-out baseline",
        AIRL(),
        whole_sentence,
        leave_one_out,
        rows(trusting),
    ),
    "trust": Variant(
        "control: the same without a discriminator",
        AIRL(),
        nothing,
        leave_one_out,
        rows(lambda numbers: without_discriminator(trusting(numbers))),
    ),
    "seqgan-constant": Variant(
        "control: SeqGAN paid 1 for everything", SeqGAN(), constant, no_baseline, rows(without_discriminator)
    ),
    "seqgan-noise": Variant(
        "control: SeqGAN paid U[0, 1] for everything", SeqGAN(), noise, no_baseline, rows(without_discriminator)
    ),
    "mle": Variant(
        "maximum likelihood alone, the plain baseline", SeqGAN(), constant, no_baseline, rows(without_adversary)
    ),
}
