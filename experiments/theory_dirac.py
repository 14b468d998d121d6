"""Dirac-GAN: who comes to rest and who goes round; Mescheder et al. 2018 (1801.04406)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.plots import Line, Mark, over_steps, trade_off
from experiments.theory_parts import Effort, Optimizers, Shown, begin, play
from image_gans.augmentation import Unchanged
from image_gans.dirac import InstanceNoise, Point, Slope, eigenvalues, field, radius
from image_gans.latent import Rules
from rl.objectives import Minimax, NonSaturating, Objective, Relativistic, Wasserstein
from rl.penalties import R1, R2, GradientPenalty, NoPenalty, Penalty, Sum, WeightClipping
