"""The table of text methods: a row is who plays, with which objective, reward and baseline, and numbers by preset."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from rl.estimators import batch_baseline, leave_one_out, no_baseline
from rl.objectives import AIRL, MaliGAN, SeqGAN
from rl.runtime import Engine
from seqgan.corpus import Corpus
from seqgan.earning import constant, monte_carlo, noise, nothing, whole_sentence
from seqgan.leakgan import LeakPlayers
from seqgan.maligan import weighed_rollouts
from seqgan.maskgan import MaskPlayers
from seqgan.numbers import Numbers
from seqgan.players import Players, PolicyPlayers
from seqgan.presets import (
    PRESETS,
    changed,
    choosing,
    continuing,
    filling_in,
    from_noise,
    labelled,
    leaking,
    matching_features,
    relational,
    trusting,
    unpretrained,
    without_adversary,
    without_discriminator,
)
from seqgan.rankgan import RankPlayers
from seqgan.relgan import relgan
from seqgan.residual import ResidualPlayers
from seqgan.scratchgan import ScratchPlayers
from seqgan.sentigan import sentigan
from seqgan.seq2seq import Seq2SeqPlayers
from seqgan.textgan import textgan
from seqgan.wgan_text import wgan_text


@dataclass(frozen=True)
class Variant:
    """One method: what it is, who plays it, and its numbers by preset."""

    summary: str
    players: Callable[[Numbers, Corpus, Engine], Players]
    presets: dict[str, Numbers]
    own_net: bool = False
    """whether its generator is another net than those that `Numbers.generator` names"""


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
        changed(trusting),
    ),
    "trust": Variant(
        "control: the same without a discriminator",
        partial(PolicyPlayers, objective=AIRL(), reward=nothing, baseline=leave_one_out),
        changed(lambda numbers: without_discriminator(trusting(numbers))),
    ),
    "seqgan-constant": Variant(
        "control: SeqGAN paid 1 for everything",
        partial(PolicyPlayers, objective=SeqGAN(), reward=constant, baseline=no_baseline),
        changed(without_discriminator),
    ),
    "seqgan-noise": Variant(
        "control: SeqGAN paid U[0, 1] for everything",
        partial(PolicyPlayers, objective=SeqGAN(), reward=noise, baseline=no_baseline),
        changed(without_discriminator),
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
    "leakgan": Variant(
        "LeakGAN (Guo et al. 2018): a Manager sets goals among the discriminator's features, a Worker says words",
        partial(LeakPlayers, objective=SeqGAN(), baseline=leave_one_out),
        changed(leaking),
        own_net=True,
    ),
    "sentigan": Variant(
        "SentiGAN (Wang & Wan 2018): a generator for each kind of sentences, penalised by 1 - D",
        sentigan,
        PRESETS | {preset: labelled(PRESETS[preset]) for preset in ("default", "demo")},
    ),
    "maskgan": Variant(
        "MaskGAN (Fedus et al. 2018): fills in what is missing, log D for every token, actor-critic",
        MaskPlayers,
        changed(filling_in),
        own_net=True,
    ),
    "relgan": Variant(
        "RelGAN (Nie et al. 2019): relational memory, Gumbel-softmax, relativistic",
        relgan,
        changed(relational),
        own_net=True,
    ),
    "textgan": Variant(
        "TextGAN (Zhang et al. 2017): soft sentences whose features match", textgan, changed(matching_features)
    ),
    "wgan-gp": Variant(
        "WGAN-GP on soft one-hot sentences (Rajeswar et al. 2017)", wgan_text, changed(from_noise), own_net=True
    ),
    "scratchgan": Variant(
        "ScratchGAN (de Masson d'Autume et al. 2019): no pretraining, a reward for every token",
        ScratchPlayers,
        changed(unpretrained),
    ),
    "seqgan-conditional": Variant(
        "SeqGAN on sentences with labels",
        partial(PolicyPlayers, objective=SeqGAN(), reward=monte_carlo, baseline=no_baseline),
        changed(labelled),
    ),
    "seq2seq": Variant(
        "Seq2Seq with a discriminator of endings (Li, Ding & Liu 2018)",
        partial(Seq2SeqPlayers, objective=SeqGAN(), reward=whole_sentence, baseline=leave_one_out),
        changed(continuing),
        own_net=True,
    ),
    "residual": Variant(
        "residual model (Deng et al. 2020): the start says, a discriminator chooses",
        ResidualPlayers,
        changed(choosing),
    ),
    "mle": Variant(
        "maximum likelihood alone, the plain baseline",
        partial(PolicyPlayers, objective=SeqGAN(), reward=constant, baseline=no_baseline),
        changed(without_adversary),
    ),
}
