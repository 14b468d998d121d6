"""The table of image methods: a row is players, objective, penalty and numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from image_gans import players
from image_gans.autoencoding import aae, vae_gan
from image_gans.big import attentive, big
from image_gans.classes import acgan
from image_gans.codes import infogan
from image_gans.coupled import cogan
from image_gans.dirac import dirac
from image_gans.energy import began, ebgan
from image_gans.growing import progressive
from image_gans.margins import LogitReward, by_margins
from image_gans.matching import feature_matching
from image_gans.numbers import Numbers
from image_gans.players import Build
from image_gans.pyramid import lapgan
from image_gans.semisupervised import ssgan
from image_gans.style import styled
from rl.objectives import (
    EnergyMargin,
    Equilibrium,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Objective,
    Relativistic,
    RelativisticAverage,
    Wasserstein,
)
from rl.penalties import DRAGAN, R1, R2, Every, GradientPenalty, NoPenalty, Penalty, Sum, WeightClipping


def nothing(n: Numbers) -> Penalty:
    """Add nothing."""
    return NoPenalty()


def clipping(n: Numbers) -> Penalty:
    """Bound every weight."""
    return WeightClipping(n.clip_weights)


def gradient_penalty(n: Numbers) -> Penalty:
    """Hold the gradient between real and fake at norm one."""
    return lazily(n, GradientPenalty(n.penalty_weight))


def r1(n: Numbers) -> Penalty:
    """Hold the gradient at reals near zero."""
    return lazily(n, R1(n.penalty_weight))


def r1_and_r2(n: Numbers) -> Penalty:
    """Hold the gradient at reals and at fakes near zero."""
    return lazily(n, Sum([R1(n.penalty_weight), R2(n.penalty_weight)]))


def dragan(n: Numbers) -> Penalty:
    """Hold the gradient around reals at norm one."""
    return lazily(n, DRAGAN(n.penalty_weight))


def lazily(n: Numbers, penalty: Penalty) -> Penalty:
    """Add the penalty in some steps only, and the more in these."""
    return penalty if n.penalty_every == 1 else Every(n.penalty_every, penalty)


def always(objective: Objective) -> Callable[[Numbers], Objective]:
    """Return an objective whatever the numbers."""
    return lambda n: objective


@dataclass(frozen=True)
class Variant:
    """One method."""

    summary: str
    build: Build = players.plain
    objective: Callable[[Numbers], Objective] = always(NonSaturating())  # noqa: RUF009
    penalty: Callable[[Numbers], Penalty] = nothing
    compares: bool = False
    """whether the generator's step looks at how reals are judged"""
    reward_weight: float = 1.0
    """of the reward in what the generator climbs; 0: it has its auxiliary losses alone"""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """what differs from the defaults, on pictures and points alike"""
    pictures: Mapping[str, Any] = field(default_factory=dict)
    """what differs on pictures alone"""
    points: Mapping[str, Any] = field(default_factory=dict)
    """what differs on points of a plane alone"""
    paper: Mapping[str, Any] = field(default_factory=dict)
    """what differs in the preset `paper` from PAPER and from the row's own"""
    needs: frozenset[str] = frozenset()
    """what the data must have: `labels`, `pictures`"""
    conditional: bool = False
    """whether it paints the class that it is asked for"""
    augments: bool = True
    """whether what is judged may be changed on its way: not where samples are compared one by one, or are codes"""


PRESETS = ("default", "demo", "paper")
LABELS, PICTURES = frozenset({"labels"}), frozenset({"pictures"})
WIDE = {"width": 256}
WGAN = {"optimizer": "rmsprop", "g_lr": 5e-5, "d_lr": 5e-5, "d_steps": 5, "d_norm": "none"}
WGAN_GP = {"beta1": 0.0, "beta2": 0.9, "d_steps": 5, "d_norm": "layer"}
RESIDUAL = {"net": "resnet", "beta1": 0.0, "beta2": 0.9, "d_norm": "spectral"}
SMALL_RESIDUAL = {"width": 12, "steps": 2_000, "average": 0.995, "g_lr": 5e-4, "d_lr": 1e-3}
ZERO_CENTRED = {"beta1": 0.0, "beta2": 0.99, "d_norm": "none", "penalty_weight": 0.1}
DIRAC = {
    "optimizer": "sgd",
    "g_lr": 0.1,
    "d_lr": 0.1,
    "penalty_weight": 1.0,
    "average": 0.0,
    "batch": 1,
    "latent": 1,
    "steps": 500,
}
SALIMANS = {
    "net": "mlp", "width": 250, "latent": 100, "batch": 100, "steps": 180_000, "g_lr": 3e-3, "d_lr": 3e-3,
    "term_weight": 2.0,
}  # fmt: skip

VARIANTS = {
    "gan": Variant(
        "GAN (Goodfellow et al. 2014), the non-saturating reward, perceptrons", numbers={"net": "mlp"}, pictures=WIDE
    ),
    "gan-minimax": Variant(
        "GAN (Goodfellow et al. 2014), the minimax reward, perceptrons",
        objective=always(Minimax()),
        numbers={"net": "mlp"},
        pictures=WIDE,
    ),
    "dcgan": Variant(
        "DCGAN (Radford et al. 2016): convolutions and batch norm", paper={"latent": 100, "batch": 128, "average": 0.0}
    ),
    "cgan": Variant(
        "CGAN (Mirza & Osindero 2014): both nets are told the class",
        players.conditional,
        needs=LABELS,
        conditional=True,
    ),
    "wgan": Variant(
        "WGAN (Arjovsky et al. 2017): clipped weights, RMSProp",
        objective=always(Wasserstein()),
        penalty=clipping,
        numbers=WGAN,
        points={"g_lr": 1e-3, "d_lr": 1e-3, "clip_weights": 0.1},
    ),
    "wgan-gp": Variant(
        "WGAN-GP (Gulrajani et al. 2017): gradients of norm one",
        objective=always(Wasserstein()),
        penalty=gradient_penalty,
        numbers=WGAN_GP,
        pictures={"g_lr": 1e-3, "d_lr": 1e-3, "width": 24, "steps": 1_000, "average": 0.995},
        points={"penalty_weight": 0.1, "steps": 4_000},
    ),
    "lsgan": Variant("LSGAN (Mao et al. 2017): least squares", objective=always(LeastSquares())),
    "hinge": Variant(
        "hinge losses with spectral norm (Lim & Ye 2017)",
        objective=always(Hinge()),
        numbers={"beta1": 0.0, "g_lr": 2e-4, "d_lr": 1e-3, "d_norm": "spectral"},
    ),
    "relativistic": Variant(
        "RSGAN (Jolicoeur-Martineau 2018): real against fake in pairs, with R1",
        objective=always(Relativistic()),
        penalty=r1,
        compares=True,
        numbers=ZERO_CENTRED,
    ),
    "relativistic-average": Variant(
        "RaSGAN (Jolicoeur-Martineau 2018): against the average of the other side",
        objective=always(RelativisticAverage()),
        compares=True,
    ),
    "r3gan": Variant(
        "R3GAN (Huang et al. 2024): pairs, R1 and R2, a modern net",
        objective=always(Relativistic()),
        penalty=r1_and_r2,
        compares=True,
        numbers=ZERO_CENTRED,
        pictures={"net": "r3"},
    ),
    "dragan": Variant(
        "DRAGAN (Kodali et al. 2017): gradients around reals",
        penalty=dragan,
        numbers={"d_norm": "none"},
        points={"penalty_weight": 0.1},
    ),
    "dirac": Variant(
        "Dirac-GAN (Mescheder et al. 2018): one parameter each, on `--data origin`, with R1",
        dirac,
        penalty=r1,
        numbers=DIRAC,
    ),
    "ebgan": Variant(
        "EBGAN (Zhao et al. 2016): the discriminator reconstructs, reals well and fakes badly; codes pulled apart",
        ebgan,
        objective=lambda n: EnergyMargin(n.margin),
        numbers={"term_weight": 0.1, "margin": 0.2},
        needs=PICTURES,
    ),
    "began": Variant(
        "BEGAN (Berthelot et al. 2017): errors of reconstruction in a fixed proportion",
        began,
        objective=lambda n: Equilibrium(n.diversity, n.balance_rate),
        pictures={"width": 16, "latent": 16, "diversity": 0.9, "balance_rate": 0.1, "steps": 1_500},
        paper={"batch": 16, "latent": 64, "g_lr": 1e-4, "d_lr": 1e-4},
        needs=PICTURES,
    ),
    "infogan": Variant(
        "InfoGAN (Chen et al. 2016): codes that find the classes without labels",
        infogan,
        pictures={"g_lr": 1e-3, "d_lr": 2e-4, "term_weight": 3.0},
        paper={"latent": 62, "batch": 128, "steps": 5_000, "g_lr": 1e-3},
    ),
    "acgan": Variant(
        "AC-GAN (Odena et al. 2017): the discriminator names the class", acgan, needs=LABELS, conditional=True
    ),
    "ssgan": Variant(
        "semi-supervised (Salimans et al. 2016): a classifier learns from few labels and from fakes",
        ssgan,
        compares=True,
        reward_weight=0.0,
        pictures={"g_lr": 1e-3, "d_lr": 1e-3},
        paper=SALIMANS,
        needs=LABELS,
    ),
    "feature-matching": Variant(
        "feature matching (Salimans et al. 2016): the reals' mean features",
        feature_matching,
        compares=True,
        reward_weight=0.0,
    ),
    "ls-gan": Variant(
        "LS-GAN (Qi 2017): margins that grow with the distance of samples",
        by_margins,
        objective=always(LogitReward()),
        augments=False,
    ),
    "gls-gan": Variant(
        "GLS-GAN (Qi 2017): the same, and margins that are kept still count",
        by_margins,
        objective=always(LogitReward()),
        numbers={"slope": 0.05},
        augments=False,
    ),
    "aae": Variant(
        "AAE (Makhzani et al. 2015): an autoencoder whose codes look like noise; here with R1",
        aae,
        penalty=r1,
        numbers={"g_lr": 2e-3, "d_lr": 2e-3, "term_weight": 30.0, "penalty_weight": 0.3},
        pictures={"latent": 8},
        augments=False,
    ),
    "vae-gan": Variant(
        "VAE/GAN (Larsen et al. 2016): reconstruction in the discriminator's features", vae_gan, augments=False
    ),
    "cogan": Variant(
        "CoGAN (Liu & Tuzel 2016): pictures and negatives paired by shared weights alone", cogan, needs=PICTURES
    ),
    "lapgan": Variant(
        "LAPGAN (Denton et al. 2015): a small picture, and details level by level", lapgan, needs=PICTURES
    ),
    "sngan": Variant(
        "SNGAN (Miyato et al. 2018): residual nets, spectral norm, hinge losses",
        objective=always(Hinge()),
        numbers=RESIDUAL,
        pictures=SMALL_RESIDUAL,
        paper={"d_steps": 5},
    ),
    "sagan": Variant(
        "SAGAN (Zhang et al. 2019): self-attention, spectral norm in both nets, the discriminator's rate the higher",
        attentive,
        objective=always(Hinge()),
        numbers=RESIDUAL | {"attention": True, "condition": "projection"},
        pictures=SMALL_RESIDUAL | {"d_lr": 2e-3},
        paper={"g_lr": 1e-4, "d_lr": 4e-4},
        needs=LABELS | PICTURES,
        conditional=True,
    ),
    "biggan": Variant(
        "BigGAN (Brock et al. 2019), small: noise in chunks, orthogonal layers, truncation",
        big,
        objective=always(Hinge()),
        numbers=RESIDUAL | {"attention": True, "term_weight": 1e-4},
        pictures=SMALL_RESIDUAL,
        paper={"g_lr": 5e-5, "d_lr": 2e-4, "d_steps": 2, "beta2": 0.999},
        needs=LABELS | PICTURES,
        conditional=True,
    ),
    "progan": Variant(
        "ProGAN (Karras et al. 2018): nets that grow from 4 x 4",
        progressive,
        objective=always(Wasserstein()),
        penalty=gradient_penalty,
        numbers={"g_lr": 1e-3, "d_lr": 1e-3, "beta1": 0.0, "beta2": 0.99, "term_weight": 1e-3},
        pictures={"width": 8, "batch": 32, "g_lr": 2e-3, "d_lr": 4e-3, "growing": 0.5, "average": 0.995},
        paper={"latent": 512, "batch": 16, "growing": 0.86},
        needs=PICTURES,
    ),
    "stylegan": Variant(
        "StyleGAN2 (Karras et al. 2020), small: styles for every level, mixed in training",
        styled,
        penalty=r1,
        numbers=ZERO_CENTRED | {"g_lr": 2e-3, "d_lr": 2e-3},
        pictures={"width": 8, "batch": 32, "g_lr": 1e-3, "d_lr": 1e-3, "penalty_weight": 1.0, "penalty_every": 8},
        paper={"latent": 512, "penalty_weight": 0.01, "penalty_every": 16},
        needs=PICTURES,
    ),
}


def numbers_for(variant: str, data: str, preset: str) -> Numbers:
    """Return the numbers of a row for a kind of data (`pictures` or `points`) and a preset."""
    row = VARIANTS[variant]
    if data == "points":
        n = Numbers(**{**POINTS, **row.numbers, **row.points, "net": "mlp"})
    elif preset == "paper":
        n = Numbers(**{**PAPER, **row.numbers, **row.paper})
    else:
        n = Numbers(**{**row.numbers, **row.pictures})
    return replace(n, steps=n.steps // 5) if preset == "demo" else n


PAPER: Mapping[str, Any] = {
    "steps": 100_000, "width": 64, "latent": 128, "g_lr": 2e-4, "d_lr": 2e-4, "lr_decay": 0.0,
}  # fmt: skip
"""the scale that most papers share: 64 pictures a step, 100,000 steps, on colour pictures of 32 or 64 pixels"""
POINTS: Mapping[str, Any] = {
    "steps": 5_000, "batch": 256, "width": 128, "latent": 2, "g_lr": 1e-3, "d_lr": 1e-3, "average": 0.998,
    "d_norm": "none",
}  # fmt: skip
"""for points of a plane, where a step costs a hundredth of a second"""
