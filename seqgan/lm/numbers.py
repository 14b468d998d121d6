"""The numbers of a run with demonstrations: what each is, and its flag."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Numbers:
    """The numbers of a run with demonstrations; each is a flag."""

    steps: int = 500
    """rounds; of SFT and SPIN, updates"""
    generator: Literal["lstm", "transformer"] = "lstm"
    """which net speaks"""
    embedding: int = 32
    """size of the LSTM's token embeddings"""
    hidden: int = 64
    """size of the policy's state (of a transformer: its width)"""
    layers: int = 1
    """layers of the policy"""
    dropout: float = 0.0
    """dropout of the policy while it is pretrained; never on while it speaks or is rewarded"""
    lora: int = 0
    """rank of the adapters that learn instead of the weights of --model; 0: the weights learn"""
    mle_epochs: int = 20
    """epochs of maximum likelihood on the text, before anything else"""
    mle_batch: int = 64
    """sentences in a batch of maximum likelihood, on the text or (SFT) on demonstrations"""
    mle_lr: float = 5e-3
    """Adam's rate for it on the text"""
    mle_decay: float = 0.0
    """decoupled weight decay in it"""
    mle_best: bool = True
    """start from the epoch with the lowest loss on held-out text instead of the last"""
    batch: int = 128
    """completions in a round"""
    group: int = 8
    """completions of one prompt among them"""
    advantage: Literal["group", "rloo", "token", "gae", "rollout"] = "group"
    """how a reward is shared among tokens: GRPO, leave-one-out, reward-to-go, a value head's GAE, SeqGAN's rollouts"""
    rollouts: int = 4
    """completions of each prefix (rollout)"""
    lam: float = 0.95
    """lambda (gae)"""
    value_lr: float = 1e-2
    """Adam's rate for the value head (gae)"""
    sft_lr: float = 5e-4
    """Adam's rate for maximum likelihood on the demonstrations"""
    g_lr: float = 5e-4
    """Adam's rate for the policy in the rounds, also in SPIN"""
    g_clip: float = 1.0
    """bound of the policy's gradient norm"""
    epochs: int = 1
    """passes over a round's completions"""
    minibatch: int = 128
    """completions in each of their updates"""
    clip: float = 0.2
    """PPO's bound on the ratio to the policy that spoke"""
    kl_weight: float = 0.0
    """weight of the divergence from the start, nats per completion"""
    beta1: float = 0.9
    """Adam's memory of gradients after maximum likelihood"""
    d_embedding: int = 32
    """size of the discriminator's token embeddings"""
    d_dropout: float = 0.25
    """dropout of the discriminator while it learns"""
    d_lr: float = 1e-3
    """Adam's rate for the discriminator"""
    d_steps: int = 3
    """its updates in a round"""
    d_batch: int = 256
    """completions in each of them, half of them demonstrations"""
    d_warm: int = 200
    """its updates before the first round"""
    warm_sft: bool = False
    """with each of them the policy makes a step of maximum likelihood on the demonstrations, as GAD's does"""
    d_old: float = 0.5
    """share of a batch's completions that are drawn from the latest, this update's among them"""
    d_memory: int = 2_560
    """latest completions that are kept for it"""
    spin_beta: float = 0.5
    """weight of the log-ratio to the opponent (SPIN)"""
    spin_every: int = 100
    """updates until the opponent is the policy again (SPIN)"""
    pick: Literal["best", "last"] = "last"
    """the round that is measured: the one with the lowest `outside` on held-out demonstrations, or the last"""
    patience: int = 0
    """evaluations without a lower `outside` after which a run ends; 0: never"""
