import pytest
import torch
from torch import nn

from rl.discriminator import evaluating


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_switches_dropout_off_and_back_even_after_an_error(training: bool) -> None:
    net = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5)).train(training)
    x = torch.ones(1, 4)
    with evaluating(net):
        assert net(x).equal(net(x))
    assert net.training is training
    assert net[1].training is training
    with pytest.raises(RuntimeError), evaluating(net):
        raise RuntimeError
    assert net.training is training
