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
    """what differs from the defaults, on all data"""
    ratings: Mapping[str, Any] = field(default_factory=dict)
    """what differs where users rate items"""
    letor: Mapping[str, Any] = field(default_factory=dict)
    """what differs where documents have features"""
    qa: Mapping[str, Any] = field(default_factory=dict)
    """what differs where questions have answers"""
    paper: Mapping[str, Any] = field(default_factory=dict)
    """what differs in the preset `paper` besides"""
    kinds: tuple[str, ...] = KINDS
    """the data that it can learn from"""
    plays: tuple[str, ...] = ("steps", "d_epochs", "g_epochs")
    """which of a game's numbers may be above zero: those of the parts that it has"""


RATINGS = ("ratings",)
NO_GAME: dict[str, Any] = {"steps": 0, "d_epochs": 0, "g_epochs": 0}
AR2: dict[str, Any] = {
    "optimizer": "adam", "pretrain_epochs": 0, "d_decay": 0.0, "deal_every": 1, "d_epochs": 1, "g_epochs": 10,
    "steps": 6, "lr_decay": 0.5, "adversarial": 0.15,
}  # fmt: skip
BY_EASE: dict[str, Any] = {
    "batch": 94, "g_lr": 0.08, "d_lr": 0.02, "lesson": "others", "likelihood": 0.3, "ridge": 300.0,
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
    "irgan": Variant("IRGAN (Wang et al. 2017), pointwise: the generator climbs sigmoid(l)"),
    "irgan-pairwise": Variant(
        "IRGAN (Wang et al. 2017), pairwise: relevant against drawn",
        irgan(Relativistic()),
        numbers={"spare_relevant": True, "baseline": "none", "reward_scale": 1.0},
    ),
    "irgan-bias": Variant("control: IRGAN whose discriminator sees no query", numbers={"d_width": 0}, kinds=RATINGS),
    "irgan-frozen": Variant(
        "control: IRGAN whose discriminator never learns", numbers={"d_epochs": 0}, plays=("steps", "g_epochs")
    ),
    "irgan-uniform": Variant("control: IRGAN whose discriminator sees even draws", numbers={"negatives": "uniform"}),
    "ar2": Variant(
        "AR2 (Zhang et al. 2021): a listwise ranker; a retriever that finds what fools it, and copies it",
        ar2,
        numbers=AR2,
        ratings=BY_EASE,
    ),
    "distilled": Variant(
        "control: AR2 without the adversarial term",
        ar2,
        numbers=AR2 | {"adversarial": 0.0},
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
        found |= {**PAPER[kind], **row.paper}
    n = Numbers(**found)
    return replace(n, steps=-(-n.steps // 5), pretrain_epochs=-(-n.pretrain_epochs // 5)) if preset == "demo" else n


BY_KIND: Mapping[str, Mapping[str, Any]] = {
    "ratings": {},
    "letor": {"width": 46, "d_width": 46},
    "qa": {"width": 64, "d_width": 64},
}
PAPER: Mapping[str, Mapping[str, Any]] = {
    "ratings": {"steps": 15, "g_lr": 1e-3},
    "letor": {},
    "qa": {},
}
"""schedules of the released code"""
