"""Numbers by preset, and what each method changes in them."""

from collections.abc import Callable
from dataclasses import replace

from seqgan.numbers import Numbers

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
    PAPER, steps=40, d_filters="small", d_lr=1e-3, d_pretrain=5, d_pretrain_epochs=1, d_rounds=1, d_epochs=1,
    d_sentences=2_560,
)  # fmt: skip
# The same for captions and news: a larger generator, stopped by validation.
TEXT = replace(
    PROTOCOL, valid=500, embedding=64, hidden=128, dropout=0.5, mle_epochs=30, mle_lr=2e-3, mle_best=True, steps=30,
    g_lr=1e-3, rollouts=2, d_dropout=0.5, d_lr=5e-4, d_pretrain=4, d_sentences=2_560,
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


def leaking(numbers: Numbers) -> Numbers:
    """Return numbers for LeakGAN; its head is `goal` times as wide as an LSTM's."""
    epochs = min(numbers.mle_epochs, 8)
    return replace(
        numbers,
        steps=numbers.steps // 2,
        goal=8,
        hidden=32,
        mle_epochs=epochs,
        mle_lr=min(numbers.mle_lr, 5e-3),
        g_lr=5e-4,
        d_pretrain=0,
        interleave=15,
        rollouts=min(numbers.rollouts, 4),
    )


def relational(numbers: Numbers) -> Numbers:
    """Return numbers for RelGAN: many steps of the discriminator, small ones of the generator."""
    return replace(
        numbers, mle_epochs=min(numbers.mle_epochs, 12), mle_lr=5e-3, steps=3 * numbers.steps, g_lr=3e-4, g_clip=5.0,
        d_lr=1e-4, d_batch=128, d_sentences=320, sharpest=10.0,
    )  # fmt: skip


def matching_features(numbers: Numbers) -> Numbers:
    """Return numbers for TextGAN."""
    return replace(
        numbers, steps=4 * numbers.steps, g_lr=1e-3, g_clip=5.0, d_lr=1e-3, d_batch=128, d_sentences=320, sharpest=1.0
    )


def from_noise(numbers: Numbers) -> Numbers:
    """Return numbers for the soft WGAN-GP, which has no likelihood to pretrain by."""
    return replace(
        numbers, mle_epochs=0, mle_best=False, d_pretrain=0, steps=4 * numbers.steps, g_lr=5e-4, g_clip=100.0,
        d_lr=2e-3, gp_weight=3.0, beta1=0.5, d_batch=128, d_sentences=320, hidden=64, d_embedding=64,
    )  # fmt: skip


def unpretrained(numbers: Numbers) -> Numbers:
    """Return numbers for ScratchGAN: no likelihood, large batches, one step of each player in turn."""
    return replace(
        numbers, mle_epochs=0, mle_best=False, d_pretrain=0, steps=8 * numbers.steps, batch=4 * numbers.batch,
        g_lr=5e-3, g_clip=10.0, d_lr=5e-3, d_l2=1e-6, d_dropout=0.1, beta1=0.5, d_sentences=256, d_batch=512,
        discount=0.23,
    )  # fmt: skip


def filling_in(numbers: Numbers) -> Numbers:
    """Return numbers for MaskGAN: many short rounds."""
    return replace(
        numbers, mle_epochs=min(numbers.mle_epochs, 12), steps=5 * numbers.steps, g_lr=7e-4, g_clip=10.0, d_lr=2e-3,
        d_dropout=0.1, d_hidden=64, d_sentences=320, value_lr=1e-2, discount=0.89,
    )  # fmt: skip


def labelled(numbers: Numbers) -> Numbers:
    """Return numbers for sentences of two kinds."""
    return replace(numbers, classes=2)


def continuing(numbers: Numbers) -> Numbers:
    """Return numbers for endings of prompts of five tokens."""
    return replace(numbers, prompt=5, batch=256, g_lr=min(numbers.g_lr, 1e-3), g_clip=5.0, teacher_weight=1.0)


def changed(change: Callable[[Numbers], Numbers]) -> dict[str, Numbers]:
    """Return every preset with a change."""
    return {preset: change(numbers) for preset, numbers in PRESETS.items()}
