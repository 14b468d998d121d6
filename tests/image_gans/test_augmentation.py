import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, tensor

from image_gans.augmentation import (
    ADA,
    Augmentation,
    DiffAugment,
    Unchanged,
    brightened,
    contrasted,
    of,
    resampled,
    saturated,
    shifted,
    transformed,
)
from image_gans.numbers import Numbers
from image_gans.samples import Pair


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def ada(strength: float = 1.0, **numbers: float) -> ADA:
    made = ADA(**numbers)
    made.strength.fill_(strength)
    return made


CHANGING = [DiffAugment(), ada(), ada(mirror=True)]


def pictures(rows: int = 4, channels: int = 3, side: int = 8) -> Tensor:
    return torch.randn(rows, channels, side, side).clamp(-1, 1)


def place(x: Tensor, **moves: float) -> Tensor:
    """Transform every picture alike."""
    neutral = {"zoom": 1.0, "angle": 0.0, "down": 0.0, "right": 0.0, "mirror": 1.0}
    return transformed(x, **{name: torch.full((len(x),), value) for name, value in (neutral | moves).items()})


# ---- colours, by hand


def test_colours_by_hand() -> None:
    x = tensor([[[[0.0, 1.0]], [[0.5, -0.5]]], [[[0.0, 1.0]], [[0.5, -0.5]]]])  # two pictures, 2 channels, 1 x 2
    by = tensor([2.0, 0.5])
    assert brightened(x, by)[0].tolist() == [[[2, 3]], [[2.5, 1.5]]]
    assert contrasted(x, by)[0].tolist() == [[[-0.25, 1.75]], [[0.75, -1.25]]]  # mean 0.25
    assert contrasted(x, by)[1].tolist() == [[[0.125, 0.625]], [[0.375, -0.125]]]
    assert saturated(x, by)[0].tolist() == [[[-0.25, 1.75]], [[0.75, -1.25]]]  # means 0.25 and 0.25 of the pixels
    grey = pictures(channels=1)
    assert torch.equal(saturated(grey, torch.rand(4) * 9), grey)


def test_saturation_keeps_each_pixels_mean_and_contrast_each_pictures() -> None:
    x, factor = pictures(), torch.rand(4) * 3
    torch.testing.assert_close(saturated(x, factor).mean(1), x.mean(1))
    torch.testing.assert_close(contrasted(x, factor).mean((1, 2, 3)), x.mean((1, 2, 3)))
    torch.testing.assert_close(contrasted(x, factor).std((1, 2, 3)), x.std((1, 2, 3)) * factor)
    assert not torch.allclose(saturated(x, factor).std(1), x.std(1))


# ---- places, by hand


def test_shifts_by_hand() -> None:
    x = torch.arange(1.0, 10).view(1, 1, 3, 3).repeat(2, 2, 1, 1)
    moved = shifted(x, tensor([1, 0]), tensor([0, -2]))
    assert moved[0, 1].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert moved[1, 0].tolist() == [[3, 0, 0], [6, 0, 0], [9, 0, 0]]
    assert not shifted(x, tensor([3, -3]), tensor([0, 0])).any()


def test_places_between_pixels_by_hand() -> None:
    x = tensor([[[[0.0, 1, 2], [10, 11, 12], [20, 21, 22]]]])
    rows = tensor([0.0, 0.5, 1.25, 2, 2.5, -1, 5])  # mirrored: 2.5 -> 1.5, -1 -> 1, 5 -> 1
    columns = tensor([0.0, 1.5, 0.5, 2, 0, -0.5, -4])  # -0.5 -> 0.5, -4 -> 0
    wanted = tensor([0.0, 6.5, 13, 22, 15, 10.5, 10])
    found = [resampled(x, r.expand(1, 3, 3), c.expand(1, 3, 3))[0, 0, 0, 0] for r, c in zip(rows, columns, strict=True)]
    torch.testing.assert_close(torch.stack(found), wanted)


@pytest.mark.parametrize("side", [8, 28, 32, 33])
def test_quarter_turns_mirrors_and_whole_shifts_are_exact(side: int) -> None:
    x = pictures(side=side)
    assert torch.equal(place(x), x)
    assert torch.equal(place(x, mirror=-1), x.flip(3))
    torch.testing.assert_close(place(x, angle=math.pi / 2), x.rot90(-1, (2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(place(x, angle=-math.pi / 2), x.rot90(1, (2, 3)), atol=1e-4, rtol=0)
    moved = place(x, down=1 / side, right=-2 / side)
    torch.testing.assert_close(moved[:, :, :-1, 2:], x[:, :, 1:, :-2], atol=1e-4, rtol=0)


def test_zoom_two_sees_twice_as_far() -> None:
    ramp = torch.linspace(-1, 1, 9).view(1, 1, 9, 1).expand(1, 1, 9, 9)
    torch.testing.assert_close(place(ramp, zoom=0.5), ramp / 2)  # half as far: the slope is halved
    torch.testing.assert_close(place(ramp, zoom=2)[:, :, 2:7], 2 * ramp[:, :, 2:7])


def test_transforms_stay_inside_the_picture() -> None:
    """A mirrored edge adds no colour that is not in the picture."""
    x = pictures() + 5
    for _ in range(20):
        n = torch.randn(5, 4)
        y = transformed(x, zoom=n[0].exp2(), angle=n[1], down=n[2], right=n[3], mirror=n[4].sign())
        low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        assert ((y >= low - 1e-5) & (y <= high + 1e-5)).all()


# ---- what any augmentation does


def test_the_numbers_name_it() -> None:
    kinds = {"none": Unchanged, "diffaugment": DiffAugment, "ada": ADA}
    for name, kind in kinds.items():
        made = of(Numbers(augmentation=name))  # type: ignore[arg-type]
        assert type(made) is kind
        assert isinstance(made, Augmentation)


class Nested(NamedTuple):
    pair: Pair
    two: tuple[Tensor, Tensor]


@pytest.mark.parametrize("augment", CHANGING)
def test_pictures_change_wherever_they_stand_and_nothing_else(augment: Augmentation) -> None:
    x, label, points = pictures(), torch.arange(4), torch.randn(4, 2)
    sample = Nested(Pair(x, label), (points, pictures(side=16)))
    changed = augment(sample)
    assert type(changed) is Nested
    assert type(changed.pair) is Pair
    assert type(changed.two) is tuple
    assert changed.pair.label is label
    assert changed.two[0] is points
    assert not torch.allclose(changed.pair.x, x)
    assert not torch.allclose(changed.two[1], sample.two[1])
    assert changed.two[1].shape == (4, 3, 16, 16)
    assert torch.equal(augment(x.mul(99).byte()), x.mul(99).byte())


@pytest.mark.parametrize("augment", CHANGING)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_picture_is_changed_in_its_own_way(augment: Augmentation, channels: int) -> None:
    same = pictures(1, channels).expand(64, channels, 8, 8)
    changed = augment(same)
    assert changed.shape == same.shape
    assert len(changed.flatten(1).unique(dim=0)) == 64
    torch.manual_seed(0)
    first = augment(same)
    torch.manual_seed(0)
    assert torch.equal(augment(same), first)  # torch's own generator draws it all


@pytest.mark.parametrize("augment", CHANGING)
def test_layout_and_precision_change_nothing(augment: Augmentation) -> None:
    x = pictures().bfloat16().float()

    def changed(x: Tensor) -> Tensor:
        torch.manual_seed(1)
        return augment(x)

    torch.testing.assert_close(changed(x.to(memory_format=torch.channels_last)), changed(x))
    assert torch.equal(changed(x.bfloat16()), changed(x))
    assert changed(x.bfloat16()).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(changed(x), changed(x))


@pytest.mark.parametrize("augment", CHANGING)
def test_first_and_second_derivatives(augment: Augmentation) -> None:
    x = torch.rand(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)

    def curved(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return augment(x.tanh()).tanh()

    assert torch.autograd.gradcheck(curved, x)
    assert torch.autograd.gradgradcheck(curved, x)


@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 3), st.integers(0, 10**6))
def test_any_size_of_picture(height: int, width: int, channels: int, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.rand(3, channels, height, width) - 0.5
    for augment in CHANGING:
        changed = augment(x)
        assert changed.shape == x.shape
        assert changed.isfinite().all()


# ---- DiffAugment


def test_diffaugment_draws_its_colours_uniformly() -> None:
    rows = 4000
    changed = DiffAugment(shift=0, cut=0)(torch.zeros(rows, 1, 2, 2))[:, 0, 0, 0]  # brightness alone
    assert (changed.min() > -0.5, changed.max() < 0.5) == (True, True)
    assert abs(changed.mean()) < 5 * math.sqrt(1 / 12 / rows)
    assert abs(changed.var() - 1 / 12) < 5 * math.sqrt(1 / 180 / rows)
    two = tensor([1.0, -1]).view(1, 1, 1, 2).expand(rows, 1, 1, 2)
    contrast = (-DiffAugment(shift=0, cut=0)(two)[..., 0, :].diff(dim=-1) / 2).flatten()
    assert abs(contrast.mean() - 1) < 5 * math.sqrt(1 / 12 / rows)
    assert abs(contrast.var() - 1 / 12) < 5 * math.sqrt(1 / 180 / rows)
    colours = tensor([1.0, -1]).view(1, 2, 1, 1).expand(rows, 2, 1, 1)
    both = (-DiffAugment(shift=0, cut=0)(colours)[:, :, 0, 0].diff(dim=1) / 2).flatten()
    # saturation times contrast, independent: mean 1, E square = (1 + 1/3) (1 + 1/12)
    assert abs(both.mean() - 1) < 5 * math.sqrt((4 / 3 * 13 / 12 - 1) / rows)
    assert both.var().item() == pytest.approx(4 / 3 * 13 / 12 - 1, rel=0.1)


def test_diffaugment_moves_by_every_shift_up_to_an_eighth() -> None:
    x = torch.zeros(3000, 1, 16, 16)
    x[:, :, 8, 8] = 100.0
    peaks = DiffAugment(cut=0)(x).flatten(1).argmax(1)
    rows, columns = peaks // 16 - 8, peaks % 16 - 8
    for moves in (rows, columns):
        values, counts = moves.unique(return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        assert (counts - 600).abs().max() < 5 * math.sqrt(3000 * 0.2 * 0.8)
    assert len(peaks.unique()) == 25  # down and right are drawn apart


@pytest.mark.parametrize("side", [8, 9, 32])
def test_diffaugment_cuts_one_square(side: int) -> None:
    kept = DiffAugment(shift=0)(torch.full((2000, 2, side, side), 50.0)) != 0
    assert torch.equal(kept[:, 0], kept[:, 1])  # all channels alike
    cut = ~kept[:, 0]
    rows, columns = cut.any(2), cut.any(1)
    assert torch.equal(cut, rows[:, :, None] & columns[:, None, :])  # a rectangle
    square = round(side / 2)
    for along in (rows, columns):
        assert along.sum(1).unique().tolist() == list(range(square // 2, square + 1))  # it may hang over the edge
        assert (along.diff(dim=1).sum(1) <= 2).all()  # in one piece
        first, last = along.float().mean(0)[[0, -1]]
        assert abs(first - last) < 5 * math.sqrt(2 * 0.25 / 2000)  # both edges alike


# ---- ADA


def test_ada_without_strength_changes_no_bit() -> None:
    for side, channels in ((8, 1), (28, 3), (32, 1)):
        x = pictures(channels=channels, side=side)
        for augment in (ADA(), ADA(mirror=True)):
            assert torch.equal(augment(x), x)


def test_the_strength_is_the_share_that_changes() -> None:
    """With probability s of each of six changes a picture is left alone with (1 - s)^6, plus mirror 1 - s / 2."""
    rows = 4000
    x = torch.rand(1, 3, 8, 8).expand(rows, 3, 8, 8)
    for augment, alone in ((ada(0.2), 0.8**7), (ada(0.2, mirror=True), 0.8**7 * 0.9), (ada(0.8), 0.2**7)):
        same = (augment(x) == x).flatten(1).all(1).float().mean().item()
        assert abs(same - alone) < 5 * math.sqrt(alone * (1 - alone) / rows)


def test_ada_amounts_are_gaussian_among_those_chosen() -> None:
    augment, rows = ada(0.5), 20_000
    drawn = augment.amount(torch.empty(rows, 1, 1, 1), 0.3)
    chosen = drawn[drawn != 0]
    assert abs(len(chosen) / rows - 0.5) < 5 * 0.5 / math.sqrt(rows)
    assert abs(chosen.mean()) < 5 * 0.3 / math.sqrt(len(chosen))
    assert chosen.std().item() == pytest.approx(0.3, rel=5 / math.sqrt(2 * len(chosen)))
    assert (chosen.abs() < 0.3).float().mean().item() == pytest.approx(0.6827, abs=0.025)


@pytest.mark.parametrize(
    ("logits", "moves"),
    [([1.0, 2, 3, 4], 1), ([-1.0, 5, -2, 3], -1), ([9.0, 9, 9, -9], -1), ([0.1] * 9 + [-8.0], 1)],
)
def test_the_strength_follows_the_signs(logits: list[float], moves: int) -> None:
    """E sign is 1, 0, 0.5 and 0.8, the target 0.6: only the sign of logits counts, not their size."""
    augment = ADA(speed=1000)
    augment.strength.fill_(0.5)
    augment.observe(tensor(logits)[:, None].expand(-1, 3))  # three places of each picture
    assert augment.strength.item() == pytest.approx(0.5 + moves * len(logits) / 1000)


def test_one_strange_batch_turns_nothing_round() -> None:
    augment = ADA(speed=1000)
    steps = [1.0, 1, 1, -0.1, 1, 1]  # signs: 0.7, .775, .831, then 0.373: one step down, and up again
    seen = []
    for step in steps:
        augment.observe(torch.full((10,), step))
        seen.append(round(augment.strength.item(), 3))
    assert seen == [0.01, 0.02, 0.03, 0.02, 0.01, 0.02]


def test_the_strength_keeps_its_bounds_and_comes_back() -> None:
    augment = ADA(speed=100)
    for _ in range(9):
        augment.observe(torch.ones(10, 3, requires_grad=True))  # three places of ten pictures
        assert not augment.strength.requires_grad
        assert augment.strength <= 0.8
    assert augment.strength.item() == pytest.approx(0.8)
    again = ADA(speed=100)
    again.load_state_dict(augment.state_dict())
    for one in (augment, again):
        one.observe(torch.zeros(10))  # what was seen before still outweighs it
        assert one.strength.item() == pytest.approx(0.8)
        one.observe(-torch.ones(10))
    assert again.strength.item() == augment.strength.item() == pytest.approx(0.7)
    for _ in range(20):
        augment.observe(-torch.ones(10))
    assert augment.strength.item() == 0


def test_what_changes_still_tells_distributions_apart() -> None:
    """Mean brightness after changes: phi(k) = (1 - s) + s exp(-k^2 / 50), never zero, so it can be divided out."""
    rows, strength, k = 40_000, 0.8, 4.0
    x = torch.where(torch.rand(rows) < 0.3, 0.5, -0.5)
    changed = brightened(x.view(-1, 1, 1, 1), ada(strength).amount(x, 0.2)).flatten()
    phi = (1 - strength) + strength * math.exp(-(k**2) * 0.2**2 / 2)
    found = torch.exp(1j * k * changed).mean() / phi
    exact = 0.3 * torch.exp(tensor(0.5j * k)) + 0.7 * torch.exp(tensor(-0.5j * k))
    assert abs(found - exact) < 5 / phi / math.sqrt(rows)


@pytest.mark.parametrize("augment", CHANGING)
def test_a_generator_learns_through_it(augment: Augmentation) -> None:
    """The gradient of a picture is not zero at almost all pixels, and points where the loss falls."""
    x = pictures(16).requires_grad_()
    torch.manual_seed(5)
    before = augment(x).square().mean()
    (slope,) = torch.autograd.grad(before, x)
    assert (slope != 0).float().mean() > 0.5
    torch.manual_seed(5)
    assert augment((x - slope).detach()).square().mean() < before
