"""The numbers that rows share: defaults by the kind of data, families of rows, schedules of released code."""

from collections.abc import Mapping
from typing import Any

Changes = dict[str, Any]

RATINGS: Changes = {"pretrain_decay": 0.08, "pretrain_candidates": 10}
LETOR: Changes = {
    "optimizer": "adam", "batch": 32, "width": 46, "d_width": 46, "pretraining": "mle", "pretrain_epochs": 60,
    "pretrain_lr": 3e-3, "pretrain_decay": 1e-2, "steps": 80, "d_epochs": 1, "g_epochs": 1,
    "temperature": 1.0, "lr_decay": 1.0, "d_lr": 3e-3, "d_decay": 0.0, "g_lr": 3e-3,
}  # fmt: skip
QA: Changes = {
    "optimizer": "adam", "batch": 32, "width": 128, "dropout": 0.5, "d_width": 64, "d_dropout": 0.3,
    "pretraining": "mle", "pretrain_epochs": 6, "pretrain_lr": 1e-3, "pretrain_decay": 1e-2, "steps": 6,
    "d_epochs": 1, "g_epochs": 1, "temperature": 1.0, "d_lr": 1e-3, "d_decay": 1e-2, "g_lr": 3e-4, "g_decay": 1e-2,
}  # fmt: skip
BY_KIND: Mapping[str, Changes] = {"ratings": RATINGS, "letor": LETOR, "qa": QA}

NO_GAME: Changes = {"steps": 0, "d_epochs": 0, "g_epochs": 0}
UNTRAINED: Changes = NO_GAME | {"pretrain_epochs": 0}
FROM_SCRATCH: Changes = {"pretrain_epochs": 0}

LIKELY_FACTORS: Changes = {"pretrain_epochs": 180, "pretrain_decay": 0.15}
PAIRED_FACTORS: Changes = {"pretrain_epochs": 120, "pretrain_decay": 0.01}
HARD_FACTORS: Changes = {"pretrain_epochs": 100, "pretrain_lr": 0.02, "pretrain_decay": 0.02}
"""better than what the game starts from, which is to be as good as IRGAN's own start"""
PLAYED_FACTORS: Changes = {
    "optimizer": "adam", "d_epochs": 20, "d_lr": 1e-2, "d_decay": 1e-2, "g_epochs": 10, "g_lr": 3e-4,
    "estimator": "exact",
}  # fmt: skip
"""by autograd, where an epoch over the factors takes ten times as long as by written derivatives"""

AR2: Changes = {"optimizer": "adam", "d_epochs": 1, "d_decay": 0.0, "adversarial": 0.15}
TAUGHT_FACTORS: Changes = {
    "pretraining": "mle", "pretrain_epochs": 10, "pretrain_lr": 0.08, "pretrain_decay": 0.0, "steps": 5, "g_epochs": 10,
    "batch": 94, "lr_decay": 0.5, "g_lr": 0.08, "d_width": 16, "d_lr": 5e-3, "list": 100,
    "likelihood": 0.3,
}  # fmt: skip
"""a fitted ranker teaches codes of 5 numbers, on lists that they retrieve"""

POINTWISE_CODE: Mapping[str, Changes] = {
    "ratings": {"pretrain_decay": 0.1, "pretrain_candidates": 5, "steps": 15, "g_lr": 1e-3},
    "letor": FROM_SCRATCH
    | {
        "optimizer": "sgd", "batch": 8, "steps": 30, "lr_decay": 0.0, "d_epochs": 100, "d_lr": 1e-3, "d_decay": 0.01,
        "temperature": 0.2, "g_epochs": 30, "g_lr": 1e-3, "g_decay": 0.01, "positive_share": 0.5,
        "draws": 5,
    },
}  # fmt: skip
"""IRGAN's released schedules of item recommendation and web search; the generator climbs at temperature 1"""
PAIRWISE_CODE: Mapping[str, Changes] = {
    "letor": {
        "pretraining": "dns", "pretrain_epochs": 60, "optimizer": "sgd", "batch": 8, "steps": 30, "lr_decay": 0.0,
        "d_epochs": 30, "d_lr": 1e-4, "d_decay": 0.01, "g_epochs": 50, "g_lr": 5e-4, "g_decay": 0.01,
        "estimator": "sampled", "positive_share": 0.0, "draws": 1,
    },
}  # fmt: skip
FROZEN_CODE: Mapping[str, Changes] = {kind: changes | {"d_epochs": 0} for kind, changes in POINTWISE_CODE.items()}
