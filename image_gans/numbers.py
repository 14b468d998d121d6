"""The numbers of an image run; each is a flag."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class Numbers:
    """The numbers of an image run; each is a flag."""

    steps: int = 3_000
    """steps of the generator"""
    batch: int = 64
    """real pictures in a step of either player"""
    d_steps: int = 1
    """steps of the discriminator for each of the generator"""
    net: Literal["mlp", "dcgan", "resnet", "r3"] = "dcgan"
    """which networks play, where the method does not say"""
    width: int = 32
    """channels of the convolutional nets at their widest resolution; of a perceptron: its hidden layers"""
    latent: int = 64
    """numbers of noise that a picture is painted from"""
    d_norm: Literal["none", "batch", "layer", "spectral"] = "batch"
    """what normalises the discriminator: nothing, its batch, each sample, or its weights by their spectral norm"""
    condition: Literal["concat", "hadamard", "projection"] = "concat"
    """how a conditional method tells its nets the class"""
    attention: bool = False
    """self-attention in the residual nets, at half of the picture's side"""
    optimizer: Literal["adam", "rmsprop", "sgd"] = "adam"
    """of both players"""
    g_lr: float = 5e-4
    """rate of the generator"""
    d_lr: float = 5e-4
    """rate of the discriminator"""
    beta1: float = 0.5
    """Adam's memory of gradients"""
    beta2: float = 0.999
    """Adam's memory of their squares"""
    lr_decay: float = 0.5
    """share of the run, at its end, over which the rates fall to zero"""
    average: float = 0.999
    """decay of the averaged generator, which is the one that is shown and measured; 0: the generator itself"""
    augmentation: Literal["none", "diffaugment", "ada"] = "none"
    """what the discriminator sees of pictures: as they are, DiffAugment's changes, or ADA's adaptive ones, whose
    strength follows the sign of the logits of reals: for objectives to which that sign means something"""
    penalty_weight: float = 10.0
    """of the method's penalty"""
    penalty_every: int = 1
    """steps of the discriminator from one penalty to the next, each then so many times as heavy"""
    clip_weights: float = 0.01
    """WGAN: bound of every weight of the discriminator"""
    margin: float = 1.0
    """EBGAN, LS-GAN: how much worse a fake must look"""
    slope: float = 0.0
    """GLS-GAN: what a fake that looks worse by more than the margin still counts; 0 is LS-GAN, 1 is WGAN"""
    diversity: float = 0.5
    """BEGAN: error of fakes over error of reals that the equilibrium seeks"""
    balance_rate: float = 0.001
    """BEGAN: how fast the weight of the fakes follows"""
    term_weight: float = 1.0
    """of the method's auxiliary loss"""
    continuous_weight: float = 0.1
    """InfoGAN: of the continuous codes' auxiliary loss"""
    continuous: int = 2
    """InfoGAN: continuous codes"""
    categories: int = 10
    """InfoGAN: values of the categorical code"""
    labels: int = 100
    """semi-supervised: labels that are used, evenly over the classes"""
    labels_seed: int = 0
    """semi-supervised: chooses which pictures are the labelled ones"""
    mixing: float = 0.9
    """StyleGAN: share of the pictures painted with the styles of two latents"""
    truncation: float = 1.0
    """StyleGAN: shown styles lie this share of their way from the average one; less is likelier and more alike"""
    bound: float = 10.0
    """BigGAN: largest number in the noise of what is shown, drawn again beyond; none of them ever reaches 10"""
    growing: float = 0.6
    """ProGAN: share of the run over which the nets grow"""


class Facts(NamedTuple):
    """What the players must know of the data."""

    shape: tuple[int, ...]
    """of a picture (channels, height, width) or of a point (numbers,)"""
    classes: int
    """0: no labels"""
    images: Tensor
    """of train, as stored: bytes, or numbers for points"""
    labels: Tensor
    """of train"""
