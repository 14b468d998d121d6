"""The table of methods that learn from demonstrations: a row is who learns, how it is paid, and numbers by preset."""

from dataclasses import dataclass, replace
from functools import partial

from rl.objectives import AIRL, SeqGAN
from seqgan.lm.earning import BradleyTerry, added, gated, ungated, verdict
from seqgan.lm.judging import TOKENS
from seqgan.lm.numbers import Numbers
from seqgan.lm.players import Imitator, Players, Start
from seqgan.lm.rewarded import RewardedPlayers
from seqgan.lm.self_play import SelfPlayer

DEFAULT = Numbers()
DEMO = replace(DEFAULT, steps=60, mle_epochs=8, d_warm=60)
# Captions on one core in minutes: a transformer of two layers, groups of eight answers to sixteen prompts, and the
# methods' usual beginning, a warm-up by demonstrations.
TEXT = replace(
    DEFAULT, steps=100, generator="transformer", hidden=128, layers=2, dropout=0.2, mle_epochs=10, mle_lr=1e-3,
    sft_lr=1e-4, g_lr=3e-5, spin_every=50, d_embedding=64, d_dropout=0.5, d_lr=5e-4, d_steps=2, d_warm=100,
    warm_sft=True, pick="best",
)  # fmt: skip
PRESETS = {"default": DEFAULT, "demo": DEMO, "text": TEXT}


@dataclass(frozen=True)
class Variant:
    """One method: what it is, who plays it, and its numbers by preset."""

    summary: str
    players: Players
    presets: dict[str, Numbers]
    verified: bool = False
    """whether a verifier has a part in what it earns"""


def changed(**changes: object) -> dict[str, Numbers]:
    """Return every preset with some numbers changed."""
    return {preset: replace(numbers, **changes) for preset, numbers in PRESETS.items()}


VARIANTS = {
    "gad": Variant(
        "GAD (Ye et al. 2025): demonstrations beat answers to the same prompts, GRPO climbs the logit",
        partial(RewardedPlayers, objective=BradleyTerry(), compose=ungated),
        PRESETS,
    ),
    "varl": Variant(
        "VARL (2607.01181): D of answers that pass, times the verifier's verdict",
        partial(RewardedPlayers, objective=SeqGAN(), compose=gated, passing_only=True),
        PRESETS,
        verified=True,
    ),
    "airl-token": Variant(
        "token-level AIRL: log D/(1-D) of every token, reward-to-go",
        partial(RewardedPlayers, objective=AIRL(), compose=ungated, judging=TOKENS),
        changed(advantage="token"),
    ),
    "adversarial": Variant(
        "D alone, of whole sentences",
        partial(RewardedPlayers, objective=SeqGAN(), compose=ungated),
        PRESETS,
    ),
    "additive": Variant(
        "control: the verifier's verdict plus D",
        partial(RewardedPlayers, objective=SeqGAN(), compose=added),
        PRESETS,
        verified=True,
    ),
    "rlvr": Variant(
        "control: the verifier's verdict alone",
        partial(RewardedPlayers, objective=SeqGAN(), compose=verdict, learns=False),
        PRESETS,
        verified=True,
    ),
    "rlvr-kl": Variant(
        "control: the verifier's verdict, held near the start",
        partial(RewardedPlayers, objective=SeqGAN(), compose=verdict, learns=False),
        changed(kl_weight=0.05),
        verified=True,
    ),
    "spin": Variant("SPIN (Chen et al. 2024): demonstrations beat what the policy said before", SelfPlayer, PRESETS),
    "sft": Variant("maximum likelihood on the demonstrations", Imitator, PRESETS),
    "mle": Variant("maximum likelihood on the text alone: the start", Start, changed(steps=0, d_warm=0)),
}
