"""The table of retrieval methods: a row is players and numbers, for each kind of data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rl.objectives import Relativistic, SeqGAN
from rl.retrieval.casting import Build, alone, alternating, ar2, irgan, linear, popular
from rl.retrieval.list_game import telling_apart
from rl.retrieval.numbers import Numbers

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
    """what differs besides in the preset `paper`, by the kind of data"""
    kinds: tuple[str, ...] = KINDS
    """the data that it can learn from"""
    plays: tuple[str, ...] = ("steps", "d_epochs", "g_epochs")
    """which of a game's numbers may be above zero: those of the parts that it has"""


RATINGS = ("ratings",)
PAIRS = {"optimizer": "adam", "d_epochs": 20, "d_lr": 1e-2, "d_decay": 1e-2, "g_epochs": 10, "g_lr": 3e-3}
"""where derivatives are not written out an epoch takes half a second"""
NO_GAME: dict[str, Any] = {"steps": 0, "d_epochs": 0, "g_epochs": 0}
AR2: dict[str, Any] = {
    "optimizer": "adam", "pretrain_epochs": 0, "d_decay": 0.0, "d_epochs": 1, "deal_every": 1, "g_epochs": 10,
    "steps": 6, "lr_decay": 0.5,
}  # fmt: skip
BY_EASE: dict[str, Any] = {
    "batch": 94, "g_lr": 0.08, "d_lr": 0.02, "lesson": "others", "likelihood": 0.3, "ridge": 300.0,
}  # fmt: skip
POINTWISE_CODE: dict[str, dict[str, Any]] = {
    "ratings": {"steps": 15, "g_lr": 1e-3},
    "letor": {
        "optimizer": "sgd", "batch": 8, "pretrain_epochs": 0, "steps": 30, "d_epochs": 100, "deal_every": 30,
        "g_epochs": 30, "d_lr": 1e-3, "g_lr": 1e-3, "d_decay": 0.01, "g_decay": 0.01, "positive_share": 0.5, "draws": 5,
    },
}  # fmt: skip
"""schedules of the released code, item recommendation and web search"""
FROZEN_CODE = {kind: {**numbers, "d_epochs": 0} for kind, numbers in POINTWISE_CODE.items()}
PAIRWISE_CODE: dict[str, dict[str, Any]] = {
    "letor": {
        "optimizer": "sgd", "batch": 8, "pretraining": "dns", "steps": 30, "d_epochs": 30, "deal_every": 30,
        "g_epochs": 50, "d_lr": 1e-4, "g_lr": 5e-4, "d_decay": 0.01, "g_decay": 0.01, "temperature": 1.0,
        "positive_share": 0.0, "draws": 1,
    },
}  # fmt: skip

VARIANTS = {
    "popularity": Variant(
        "how often a document was relevant, whoever asks",
        popular,
        numbers=NO_GAME | {"pretrain_epochs": 0},
        plays=(),
        kinds=RATINGS,
    ),
    "bpr": Variant(
        "BPR (Rendle et al. 2009): pairs, any other document", numbers=NO_GAME | {"pretraining": "bpr"}, plays=()
    ),
    "dns": Variant("dynamic negatives (Zhang et al. 2013): pairs, the hardest of a few", numbers=NO_GAME, plays=()),
    "mle": Variant(
        "maximum likelihood: the softmax over all documents", numbers=NO_GAME | {"pretraining": "mle"}, plays=()
    ),
    "ease": Variant(
        "EASE (Steck 2019): each item regressed on the others",
        linear,
        numbers=NO_GAME | {"pretrain_epochs": 0},
        kinds=RATINGS,
        plays=(),
    ),
    "ials": Variant(
        "iALS (Hu, Koren & Volinsky 2008): alternating least squares",
        alternating,
        numbers=NO_GAME | {"pretrain_epochs": 15, "width": 16, "pretrain_decay": 10.0},
        kinds=RATINGS,
        plays=(),
    ),
    "irgan": Variant("IRGAN (Wang et al. 2017), pointwise: the generator climbs sigmoid(l)", paper=POINTWISE_CODE),
    "irgan-pairwise": Variant(
        "IRGAN (Wang et al. 2017), pairwise: relevant against drawn",
        irgan(Relativistic()),
        numbers={"spare_relevant": True, "baseline": "none", "reward_scale": 1.0},
        ratings=PAIRS,
        paper=PAIRWISE_CODE,
    ),
    "irgan-bias": Variant(
        "control: IRGAN whose discriminator sees no query", numbers={"d_width": 0}, kinds=RATINGS, paper=POINTWISE_CODE
    ),
    "irgan-frozen": Variant(
        "control: IRGAN whose discriminator never learns",
        numbers={"d_epochs": 0},
        plays=("steps", "g_epochs"),
        paper=FROZEN_CODE,
    ),
    "irgan-uniform": Variant(
        "control: IRGAN whose discriminator sees even draws", numbers={"negatives": "uniform"}, paper=POINTWISE_CODE
    ),
    "ar2": Variant(
        "AR2 (Zhang et al. 2021): a listwise ranker; a retriever that finds what fools it, and copies it",
        ar2,
        numbers=AR2 | {"adversarial": 0.15},
        ratings=BY_EASE,
    ),
    "distilled": Variant(
        "control: AR2 without the adversarial term",
        ar2,
        numbers=AR2 | {"adversarial": 0.0},
        ratings=BY_EASE,
    ),
    "self-contrastive": Variant(
        "self-contrast (Deshpande & Khapra 2020): a discriminator draws its own negatives, and is measured",
        alone(telling_apart(SeqGAN())),
        numbers={"negatives": "discriminator", "g_epochs": 0},
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


LETOR = {
    "optimizer": "adam", "batch": 32, "width": 46, "d_width": 46, "pretraining": "mle", "pretrain_epochs": 100,
    "pretrain_lr": 1e-3, "pretrain_decay": 1e-2, "steps": 10, "d_epochs": 10, "deal_every": 10, "d_lr": 1e-3,
    "d_decay": 1e-2, "g_epochs": 5, "g_lr": 1e-4, "g_decay": 1e-2, "draws": 5, "positive_share": 0.5,
}  # fmt: skip
QA = {
    "optimizer": "adam", "batch": 32, "width": 64, "d_width": 64, "pretraining": "mle", "pretrain_epochs": 10,
    "pretrain_lr": 1e-3, "pretrain_decay": 1e-2, "steps": 4, "d_epochs": 2, "deal_every": 2, "d_lr": 1e-3,
    "d_decay": 1e-2, "g_epochs": 2, "g_lr": 3e-4, "g_decay": 1e-2,
}  # fmt: skip
BY_KIND: Mapping[str, Mapping[str, Any]] = {"ratings": {}, "letor": LETOR, "qa": QA}
