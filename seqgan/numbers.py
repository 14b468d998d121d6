"""The numbers of a text run: what each is, and its flag."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Numbers:
    """The numbers of a text run; each is a flag."""

    steps: int = 60
    """adversarial rounds"""
    vocabulary: int = 500
    """tokens of an oracle that is drawn from the seed"""
    length: int = 0
    """tokens in a sentence; 0: 20 for an oracle, the longest sentence's for a text"""
    classes: int = 0
    """kinds of sentences, each from an oracle of its own and labelled; 0: one oracle, no labels"""
    prompt: int = 0
    """leading tokens of every sentence that are given, not said"""
    sentences: int = 4_000
    """sentences drawn from an oracle to learn from"""
    valid: int = 200
    """sentences held out of them for validation"""
    test_sentences: int = 10_000
    """other sentences drawn from an oracle, for nll_test"""
    generator: Literal["lstm", "transformer"] = "lstm"
    """which net speaks, where the method has none of its own"""
    embedding: int = 32
    """size of the LSTM's token embeddings"""
    hidden: int = 32
    """size of the generator's state (of a transformer: its width)"""
    layers: int = 1
    """layers of the generator (not of RelGAN's, LeakGAN's or WGAN-GP's)"""
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
    """weight of the distance to the pretrained generator, nats per sentence (SeqGAN and those that share its step)"""
    sharpness: float = 1.0
    """power of the pretrained generator that the distance is to; above 1 likely sentences are preferred"""
    entropy_weight: float = 0.0
    """weight of the generator's entropy, nats per sentence (SeqGAN and those that share its step)"""
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
    discount: float = 1.0
    """of later rewards, where every token is paid by itself (MaskGAN, ScratchGAN)"""
    value_lr: float = 1e-3
    """Adam's rate for the value head (MaskGAN)"""
    mask: Literal["contiguous", "random"] = "contiguous"
    """which tokens are missing: a span, or places at random (MaskGAN)"""
    mask_share: float = 0.5
    """share of missing tokens; 1: whole sentences (MaskGAN)"""
    curriculum: float = 0.0
    """share of the rounds in which sentences grow to their whole length (MaskGAN)"""
    teacher_weight: float = 0.0
    """weight of maximum likelihood beside the reward (Seq2Seq)"""
    interleave: int = 0
    """the generator's steps between two epochs of maximum likelihood; 0: none (LeakGAN)"""
    goal: int = 16
    """size of a goal (LeakGAN)"""
    goal_steps: int = 4
    """tokens that a goal is meant for (LeakGAN)"""
    rank_scale: float = 12.0
    """slope of the reward over ranks (LeakGAN)"""
    references: int = 16
    """real sentences that a ranker compares with (RankGAN)"""
    gamma: float = 5.0
    """inverse temperature of the ranks (RankGAN)"""
    slots: int = 1
    """slots of the relational memory (RelGAN)"""
    heads: int = 2
    """heads of its attention (RelGAN)"""
    head_size: int = 32
    """size of each of them (RelGAN)"""
    representations: int = 16
    """embeddings that the discriminator judges a sentence by (RelGAN)"""
    sharpest: float = 100.0
    """inverse temperature that soft sentences grow towards from 1 (RelGAN, TextGAN)"""
    matching: Literal["mean", "kernel"] = "kernel"
    """which moments of the features are matched (TextGAN)"""
    matching_weight: float = 1.0
    """weight of their distance (TextGAN)"""
    latent: int = 64
    """size of the noise that a sentence is made from (WGAN-GP)"""
    gp_weight: float = 10.0
    """weight of the gradient penalty (WGAN-GP)"""
    baseline_decay: float = 0.08
    """share of the old average in the moving baseline (ScratchGAN)"""
    candidates: int = 8
    """sentences that are said for each that is chosen (residual)"""
    beta1: float = 0.9
    """Adam's memory of gradients in the adversarial rounds"""
    d_hidden: int = 64
    """size of a recurrent discriminator's state (MaskGAN)"""
    mask_whole: float = 0.5
    """share of the rows that are missing as a whole, so that free speech is learned too (MaskGAN)"""
    advantage_clip: float = 5.0
    """largest advantage of a token (MaskGAN)"""
    relaxation: Literal["hard", "soft"] = "hard"
    """whether the discriminator reads tokens, with the gradient of soft ones, or the soft ones (RelGAN, TextGAN)"""
