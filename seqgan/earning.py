"""What sentences earn: the rewards that rows of the table choose from."""

from functools import partial

from torch import Tensor

from rl.discriminator import evaluating
from rl.objectives import Objective
from rl.rewards import Constant, MonteCarlo, Noise, Reward, Terminal
from rl.rollout import Rollout, returns_to_go
from rl.runtime import Engine
from seqgan.discriminators import ConvDiscriminator
from seqgan.generators import Generator
from seqgan.numbers import Numbers
from seqgan.sampling import complete
from seqgan.scoring import judge_completions


def monte_carlo(
    generator: Generator, discriminator: ConvDiscriminator, objective: Objective, numbers: Numbers, engine: Engine
) -> Reward[Tensor]:
    """Mean reward of the completions of each prefix, all made in one sweep by the generator as it is."""
    judge = partial(judge_completions, discriminator, autocast=engine.autocast)
    return MonteCarlo(partial(complete, generator), judge, objective, numbers.rollouts)


def whole_sentence(
    generator: Generator, discriminator: ConvDiscriminator, objective: Objective, numbers: Numbers, engine: Engine
) -> Reward[Tensor]:
    """Reward of the sentence as it was spoken, for every token of it: no rollouts, so that many more can be spoken."""
    judged = Terminal(engine.fast(discriminator), objective)

    def reward(rollout: Rollout[Tensor]) -> Tensor:
        with evaluating(discriminator):
            return returns_to_go(judged(rollout), rollout.mask)

    return reward


def constant(*_: object) -> Reward[Tensor]:
    """Pay one for every token, whatever was said."""
    return Constant(1.0)


def nothing(*_: object) -> Reward[Tensor]:
    """Pay nothing: what else the generator climbs stands alone."""
    return Constant(0.0)


def noise(*_: object) -> Reward[Tensor]:
    """Pay a draw from U[0, 1] for every token, whatever was said."""
    return Noise()
