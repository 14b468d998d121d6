"""Encoders: shapes, independence of the batch, and what they refuse."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from image_gans.nets.autoencoder import PictureEncoder, VectorEncoder, encoder_of
from image_gans.numbers import Numbers


@settings(deadline=None, max_examples=10)
@given(side=st.sampled_from([4, 8, 32]), channels=st.integers(1, 4), outputs=st.integers(1, 9))
def test_pictures_of_every_side_become_rows(side, channels, outputs):
    net = PictureEncoder((channels, side, side), outputs, 4)
    assert net(torch.randn(2, channels, side, side)).shape == (2, outputs)


def test_width_doubles_with_each_halving_up_to_eight_times():
    net = PictureEncoder((1, 128, 128), 3, 2)
    widths = [layer.out_channels for layer in net.body if isinstance(layer, torch.nn.Conv2d)]
    assert widths == [2, 4, 8, 16, 16, 16]


@pytest.mark.parametrize("side", [2, 7, 12, 28])
def test_other_sides_are_refused(side):
    with pytest.raises(ValueError, match=f"power of two from 4 up, got {side}"):
        PictureEncoder((1, side, side), 3, 4)


@pytest.mark.parametrize(("net", "shape"), [("mlp", (2,)), ("mlp", (1, 8, 8)), ("dcgan", (1, 8, 8))])
def test_a_code_does_not_depend_on_the_rest_of_the_batch(net, shape):
    encoder = encoder_of(Numbers(net=net, width=8), shape, 5).train()
    samples = torch.randn(6, *shape)
    assert torch.allclose(encoder(samples)[:2], encoder(samples[:2]), atol=1e-5)
    assert not torch.allclose(encoder(samples)[0], encoder(samples)[1])
    assert not list(encoder.buffers())


def test_perceptrons_for_points_and_beside_perceptrons_convolutions_elsewhere():
    assert isinstance(encoder_of(Numbers(net="mlp"), (1, 8, 8), 2), VectorEncoder)
    assert isinstance(encoder_of(Numbers(net="dcgan"), (2,), 2), VectorEncoder)
    assert all(
        isinstance(encoder_of(Numbers(net=net), (1, 8, 8), 2), PictureEncoder) for net in ("dcgan", "resnet", "r3")
    )


def test_codes_are_twice_differentiable():
    net = PictureEncoder((1, 8, 8), 2, 3).double()
    pictures = torch.randn(2, 1, 8, 8, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(net, (pictures,))
