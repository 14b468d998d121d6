import pytest
import torch
from torch import nn

from rl.runtime.average import Average


def test_the_average_by_hand() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 1.0)
    average = Average(net, decay=0.75)
    nn.init.constant_(net.weight, 5.0)
    average.update(net)
    assert average.net.weight.item() == 2.0  # 3/4 * 1 + 1/4 * 5
    average.update(net)
    assert average.net.weight.item() == 2.75
    assert net.weight.item() == 5.0


def test_buffers_are_copied_and_the_average_takes_no_gradient() -> None:
    net = nn.BatchNorm1d(2)
    average = Average(net)
    net(torch.randn(8, 2) + 3)
    average.update(net)
    assert torch.equal(average.net.running_mean, net.running_mean)
    assert average.net.num_batches_tracked == 1
    assert not average.net.training
    assert net.training
    assert not any(weight.requires_grad for weight in average.net.parameters())
    assert all(weight.requires_grad for weight in net.parameters())


def test_its_state_comes_back() -> None:
    average, other = Average(nn.Linear(2, 2)), Average(nn.Linear(2, 2))
    other.load_state_dict(average.state_dict())
    assert torch.equal(other.net.weight, average.net.weight)
    with pytest.raises(ValueError, match="decay"):
        Average(nn.Linear(1, 1), decay=1.5)
