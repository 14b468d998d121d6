from dataclasses import replace

import torch

from rl.estimators import batch_baseline
from rl.objectives import MaliGAN
from rl.rollout import Rollout
from seqgan.discriminators import ConvDiscriminator
from seqgan.generators import LSTMGenerator
from seqgan.likelihood import counted
from seqgan.maligan import weighed_rollouts
from tests.seqgan import toys


def test_weights_have_a_mean_of_one_at_every_place() -> None:
    """And at the last one, where nothing is left to complete, they are those of the sentences: B e^l / sum e^l."""
    engine = toys.engine()
    net, judge = LSTMGenerator(5, embedding=3, hidden=4, deviation=0.8), ConvDiscriminator(5, 4, filters=((1, 4),))
    reward = weighed_rollouts(net, judge, MaliGAN(), replace(toys.NUMBERS, batch=8, rollouts=2), engine)
    tokens = torch.randint(5, (8, 4))
    mask = counted(tokens, -1)
    weights = reward(Rollout.of(tokens, mask))
    torch.testing.assert_close(weights.mean(0), torch.ones(4))
    with torch.no_grad():
        odds = judge.eval()(tokens).exp()
    torch.testing.assert_close(weights[:, -1], 8 * odds / odds.sum())
    # with the baseline of the batch, the mean, a sentence is made likelier where its weight is above one
    torch.testing.assert_close(batch_baseline(weights, mask), weights - 1)
