import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from image_gans.metrics.feature_nets import RandomConv
from image_gans.metrics.inception_net import Beside, Inception
from rl.runtime import InputError


class Extractor(nn.Module):
    """As torch-fidelity's: wants bytes of three channels, gives a tuple in the order of the names."""

    def __init__(self, name, features_list, feature_extractor_weights_path):
        super().__init__()
        assert (name, features_list) == ("inception-v3-compat", ["2048", "logits_unbiased"])
        self.path, self.weight = feature_extractor_weights_path, nn.Parameter(torch.ones(1))

    def forward(self, x):
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        return x.float().mean((2, 3)), x.float().mean((1, 2, 3))[:, None].expand(-1, 1008)


@pytest.fixture
def installed(monkeypatch):
    package, module = ModuleType("torch_fidelity"), ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Extractor
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def test_it_sees_bytes_of_three_channels(installed, tmp_path):
    (tmp_path / "weights.pth").touch()
    net = Inception(tmp_path / "weights.pth")
    grey = torch.full((120, 1, 8, 8), 7, dtype=torch.uint8)
    assert net.extractor.path == str(tmp_path / "weights.pth")
    assert net.features(grey).tolist() == [[7, 7, 7]] * 120
    colours = torch.arange(3, dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    assert net.features(colours).tolist() == [[0, 1, 2]] * 2
    assert net.logits(colours).shape == (2, 1008)


def test_its_features_stand_beside_the_classes_of_another(installed, tmp_path):
    (tmp_path / "weights.pth").touch()
    own = RandomConv((1, 8, 8))
    both = Beside(Inception(tmp_path / "weights.pth"), own)
    seen = both.both(torch.zeros(5, 1, 8, 8, dtype=torch.uint8))
    assert (seen.features.shape, seen.logits.shape) == ((5, 3), (5, 0))
    assert (both.name, both.classes) == ("inception-v3-compat-2048", own.classes)


def test_what_is_missing_is_said(installed, tmp_path):
    with pytest.raises(InputError, match=r"weights\.pth: no such file"):
        Inception(tmp_path / "weights.pth")


def test_the_package_to_install_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(InputError, match="pip install torch-fidelity"):
        Inception(tmp_path)
