"""The table of retrieval methods: a row is players and numbers, for each kind of data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rl.objectives import Relativistic, SeqGAN
from rl.retrieval.casting import Build, alone, alternating, ar2, irgan, linear, popular
from rl.retrieval.list_game import telling_apart
from rl.retrieval.numbers import Numbers
from rl.retrieval.presets import (
    AR2,
    BY_KIND,
    FROM_SCRATCH,
    FROZEN_CODE,
    HARD_FACTORS,
    LIKELY_FACTORS,
    NO_GAME,
    PAIRED_FACTORS,
    PAIRWISE_CODE,
    PLAYED_FACTORS,
    POINTWISE_CODE,
    TAUGHT_FACTORS,
    UNTRAINED,
)

PRESETS = ("default", "demo", "paper")
KINDS = ("ratings", "letor", "qa")


@dataclass(frozen=True)
class Variant:
    """One method."""

    summary: str
    build: Build = irgan(SeqGAN())  # noqa: RUF009
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """what differs from the defaults of each kind of data, on all of them"""
    ratings: Mapping[str, Any] = field(default_factory=dict)
    """what differs besides where users rate items"""
    letor: Mapping[str, Any] = field(default_factory=dict)
    """where documents have features"""
    qa: Mapping[str, Any] = field(default_factory=dict)
    """where questions have answers"""
    paper: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """what differs besides in the preset `paper`, by the kinds of data that have one"""
    kinds: tuple[str, ...] = KINDS
    """the data that it can learn from"""
    plays: tuple[str, ...] = ("steps", "d_epochs", "g_epochs")
    """which of a game's numbers may be above zero: those of the parts that it has"""


ONLY_RATINGS = ("ratings",)

VARIANTS = {
    "popularity": Variant(
        "how often a document was relevant, whoever asks", popular, numbers=UNTRAINED, kinds=ONLY_RATINGS, plays=()
    ),
    "bpr": Variant(
        "BPR (Rendle et al. 2009): pairs, any other document",
        numbers=NO_GAME | {"pretraining": "bpr"},
        ratings=PAIRED_FACTORS,
        plays=(),
    ),
    "dns": Variant(
        "dynamic negatives (Zhang et al. 2013): pairs, the hardest of a few",
        numbers=NO_GAME | {"pretraining": "dns"},
        ratings=HARD_FACTORS,
        plays=(),
    ),
    "mle": Variant(
        "maximum likelihood: the softmax over all documents",
        numbers=NO_GAME | {"pretraining": "mle"},
        ratings=LIKELY_FACTORS,
        plays=(),
    ),
    "ease": Variant(
        "EASE (Steck 2019): each item regressed on the others", linear, numbers=UNTRAINED, kinds=ONLY_RATINGS, plays=()
    ),
    "ials": Variant(
        "iALS (Hu, Koren & Volinsky 2008): alternating least squares",
        alternating,
        numbers=NO_GAME | {"pretrain_epochs": 15, "width": 16},
        kinds=ONLY_RATINGS,
        plays=(),
    ),
    "irgan": Variant(
        "IRGAN (Wang et al. 2017), pointwise: the generator climbs sigmoid(l)", letor=FROM_SCRATCH, paper=POINTWISE_CODE
    ),
    "irgan-pairwise": Variant(
        "IRGAN (Wang et al. 2017), pairwise: relevant against drawn",
        irgan(Relativistic()),
        numbers={"spare_relevant": True, "baseline": "none", "reward_scale": 1.0},
        ratings=PLAYED_FACTORS,
        letor=FROM_SCRATCH | {"estimator": "exact"},
        paper=PAIRWISE_CODE,
    ),
    "irgan-bias": Variant(
        "control: IRGAN whose discriminator sees no query",
        numbers={"d_width": 0},
        kinds=ONLY_RATINGS,
        paper=POINTWISE_CODE,
    ),
    "irgan-frozen": Variant(
        "control: IRGAN whose discriminator never learns",
        numbers={"d_epochs": 0},
        letor=FROM_SCRATCH,
        plays=("steps", "g_epochs"),
        paper=FROZEN_CODE,
    ),
    "irgan-uniform": Variant(
        "control: IRGAN whose discriminator sees even draws",
        numbers={"negatives": "uniform"},
        letor=FROM_SCRATCH,
        paper=POINTWISE_CODE,
    ),
    "ar2": Variant(
        "AR2 (Zhang et al. 2021): a listwise ranker; a retriever that finds what fools it, and copies it",
        ar2,
        numbers=AR2,
        ratings=TAUGHT_FACTORS,
        letor=FROM_SCRATCH,
    ),
    "distilled": Variant(
        "control: AR2 without the adversarial term",
        ar2,
        numbers=AR2 | {"adversarial": 0.0},
        ratings=TAUGHT_FACTORS,
        letor=FROM_SCRATCH,
    ),
    "self-contrastive": Variant(
        "self-contrast (Deshpande & Khapra 2020): a discriminator draws its own negatives, and is measured",
        alone(telling_apart(SeqGAN())),
        numbers={"negatives": "discriminator", "g_epochs": 0},
        ratings={"optimizer": "adam", "d_epochs": 10, "d_lr": 1e-3, "d_decay": 1e-2, "temperature": 1.0},
        plays=("steps", "d_epochs"),
    ),
}


def numbers_for(variant: str, kind: str, preset: str) -> Numbers:
    """Return the numbers of a row for a kind of data and a preset."""
    row = VARIANTS[variant]
    of_kind = {"ratings": row.ratings, "letor": row.letor, "qa": row.qa}[kind]
    found = {**BY_KIND[kind], **row.numbers, **of_kind}
    if preset == "paper":
        found |= row.paper.get(kind, {})
    n = Numbers(**found)
    return replace(n, steps=-(-n.steps // 5), pretrain_epochs=-(-n.pretrain_epochs // 5)) if preset == "demo" else n
