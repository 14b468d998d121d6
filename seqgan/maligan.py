"""MaliGAN: completions weighed by D / (1 - D), normalised over the batch; Che et al. 2017 (1702.07983), algorithm 1."""

from functools import partial

from torch import Tensor

from rl.objectives import Objective
from rl.rewards import MonteCarlo, Reward, Scaled
from rl.runtime import Engine
from seqgan.discriminators import ConvDiscriminator
from seqgan.generators import Generator
from seqgan.numbers import Numbers
from seqgan.sampling import complete
from seqgan.scoring import judge_completions


def weighed_rollouts(
    generator: Generator, discriminator: ConvDiscriminator, objective: Objective, n: Numbers, engine: Engine
) -> Reward[Tensor]:
    """Pay each prefix the mean weight of its completions; at each place the mean over the batch is one.

    The objective's weights sum to one over the batch and the estimator averages over it: times the batch it is the
    paper's weighted sum.
    """
    judge = partial(judge_completions, discriminator, autocast=engine.autocast)
    rollouts = MonteCarlo(partial(complete, generator), judge, objective, n.rollouts)
    return Scaled(rollouts, n.batch // engine.world)
