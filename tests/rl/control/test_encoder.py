import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete

from rl.control import spaces
from rl.control.encoder import Encoder, random_shift


def layout_of(space):
    return spaces.observations(space, where="E")


def test_numbers_alone_are_only_standardised():
    encoder = Encoder(layout_of(Box(-1, 1, (2,))))
    rows = torch.tensor([[1.0, 2.0], [3.0, 8.0]])
    assert encoder.features == 2
    assert torch.equal(encoder(rows), rows)
    encoder.add(rows)
    assert encoder(rows).tolist() == [[-1, -1], [1, 1]]
    assert not list(encoder.parameters())


@pytest.mark.parametrize(
    ("shape", "convolutions"), [((84, 84, 4), 3), ((3, 36, 40), 3), ((35, 64, 3), 2), ((5, 5, 1), 2)]
)
def test_images_give_hidden_features(shape, convolutions):
    layout = layout_of(Box(0, 255, shape, np.uint8))
    encoder = Encoder(layout, hidden=7)
    rows = torch.randint(0, 256, (3, layout.width), dtype=torch.uint8)
    encoder.add(rows)
    features = encoder(rows)
    assert features.shape == (3, 7)
    assert encoder.features == 7
    assert features.dtype == torch.float32
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in encoder.modules()) == convolutions
    features.sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())


def test_parts_side_by_side():
    space = Dict({"a": Discrete(2), "b": Box(0, 255, (6, 6, 3), np.uint8), "c": Box(-1, 1, (1,))})
    layout = layout_of(space)
    encoder = Encoder(layout, hidden=5)
    rows = torch.rand(4, layout.width)
    rows[:, layout.parts[1].place] = torch.randint(0, 256, (4, 108)).float()
    encoder.add(rows)
    features = encoder(rows)
    assert features.shape == (4, 8)
    numbers = rows[:, [0, 1, 110]]
    standard = (numbers - numbers.mean(0)) / numbers.std(0, correction=0)
    assert torch.allclose(features[:, :3], standard, atol=1e-4)
    (net,) = encoder.convolutions
    images = rows[:, 2:110].reshape(4, 3, 6, 6)
    assert torch.allclose(features[:, 3:], net(images / 255))
    assert features[:, 3:].std() > 0


def test_a_shift_is_a_crop_of_the_image_with_its_edges_repeated():
    layout = layout_of(Box(0, 255, (2, 5, 6), np.uint8))
    rows = torch.randint(0, 256, (200, layout.width), dtype=torch.uint8)
    before = rows.clone()
    shifted = random_shift(rows, layout, pad=2).reshape(-1, 2, 5, 6)
    assert torch.equal(rows, before)
    padded = torch.nn.functional.pad(rows.reshape(-1, 2, 5, 6).float(), (2, 2, 2, 2), mode="replicate").byte()
    found = {}
    for row, image in enumerate(shifted):
        crops = [(y, x) for y in range(5) for x in range(5) if torch.equal(image, padded[row, :, y : y + 5, x : x + 6])]
        assert len(crops) == 1, row
        found[crops[0]] = found.get(crops[0], 0) + 1
    assert len(found) == 25  # every shift occurs, also the ones that differ down and to the right
    assert max(found.values()) < 30


def test_numbers_are_not_shifted():
    layout = layout_of(Dict({"a": Box(0, 255, (4, 4, 1), np.uint8), "b": Box(-1, 1, (20,))}))
    rows = torch.rand(8, layout.width)
    shifted = random_shift(rows, layout, pad=1)
    assert torch.equal(shifted[:, 16:], rows[:, 16:])
    assert not torch.equal(shifted[:, :16], rows[:, :16])
    assert torch.equal(random_shift(rows, layout, pad=0), rows)
