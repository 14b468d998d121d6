"""The numbers of a retrieval run; each is a flag."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Numbers:
    """The numbers of a retrieval run; each is a flag."""

    steps: int = 5
    """rounds of the game"""
    batch: int = 64
    """queries in an update; all of them at once where derivatives are written out"""
    lr_decay: float = 0.0
    """share of the game, at its end, over which the rates fall to zero"""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """of both players, where derivatives are not written out"""

    width: int = 5
    """numbers in a code: of a user or an item, of a document's hidden layer, of a word"""
    layers: int = 1
    """hidden layers of a perceptron, or of an encoder"""
    dropout: float = 0.0
    """share of a text's words that an encoder leaves out in training"""
    scale: float = 0.05
    """bound of the uniform numbers that codes of users and items begin with"""

    pretraining: Literal["dns", "bpr", "mle"] = "dns"
    """how the generator begins: the hardest of a few negatives in pairs, any negative in pairs, or the softmax"""
    pretrain_epochs: int = 80
    """most epochs of it; the best on validation is kept"""
    pretrain_lr: float = 0.05
    """rate of it: of one pair or of Adam where derivatives are written out, else the optimizer's"""
    pretrain_decay: float = 0.1
    """weight decay of it: of the codes that a pair touches where derivatives are written out, else the optimizer's"""
    pretrain_candidates: int = 5
    """negatives of which the hardest is taken"""

    d_epochs: int = 100
    """epochs of the discriminator in a round"""
    d_lr: float = 1e-3
    """its rate"""
    d_decay: float = 0.2
    """its weight decay, for each sample"""
    d_width: int = 5
    """its width; 0: it sees which document it is and nothing of the query"""
    d_layers: int = 1
    """its hidden layers"""
    d_dropout: float = 0.0
    """share of a word's numbers that it leaves out in training, where it reads"""
    d_scale: float = 0.05
    """bound of the uniform numbers that its codes begin with"""
    negatives: Literal["generator", "uniform", "discriminator"] = "generator"
    """who draws what the discriminator learns to tell from the relevant"""
    temperature: float = 0.2
    """at which they are drawn; the generator's own draws have 1"""
    spare_relevant: bool = False
    """whether those that are known to be relevant are not drawn"""
    deal_every: int = 5
    """epochs of the discriminator from one drawing, or retrieving, to the next; where derivatives are not written out
    and no lists retrieved, every update draws its own"""

    g_epochs: int = 50
    """epochs of the generator in a round"""
    g_lr: float = 1e-2
    """its rate"""
    g_decay: float = 0.0
    """its weight decay"""
    estimator: Literal["sampled", "exact"] = "sampled"
    """whether the expected reward's gradient is estimated from draws or summed over all candidates"""
    draws: int = 2
    """documents that the generator draws for each relevant one"""
    reward_scale: float = 2.0
    """what the reward, less its baseline, is multiplied by"""
    positive_share: float = 0.2
    """share of its draws that are taken from the relevant documents, and weighed back"""
    baseline: Literal["none", "constant", "batch", "leave-one-out"] = "constant"
    """what is taken off the reward: nothing, one half, the mean over a query's draws, or over its other draws"""

    list: int = 0
    """documents that are retrieved for each query's list; 0: all there are, or those that were judged"""
    adversarial: float = 0.5
    """AR2: weight of the adversarial term; the rest is distillation"""
    lesson_temperature: float = 1.0
    """AR2: at which the ranker teaches"""
    likelihood: float = 0.0
    """AR2: weight of the likelihood of the relevant among all there are, beside what the ranker teaches"""

    ridge: float = 400.0
    """EASE: weight of the penalty"""
    confidence: float = 2.0
    """iALS: how much more a positive counts than a blank"""
    als_decay: float = 20.0
    """iALS: weight of the penalty"""
    ranker: Literal["ials", "ease"] = "ials"
    """AR2 where users rate items: the fitted model that teaches; iALS has the discriminator's width"""
    sharpness: float = 6.0
    """what its scores are multiplied by, at first"""
