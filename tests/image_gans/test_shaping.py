import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from image_gans.shaping import CHUNK, Wanted, fit, gather, luma, padded, resized, to_bytes, written
from rl.runtime import InputError


def pictures(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed)).byte()


@given(side=st.integers(1, 70), channels=st.sampled_from((1, 3)))
def test_padding_is_black_even_and_up_to_a_power_of_two(side: int, channels: int) -> None:
    before = pictures(2, channels, side, side) | 1  # nothing is black
    after = padded(before)
    size = after.shape[-1]
    assert size == after.shape[-2] == max(8, 2 ** int(np.ceil(np.log2(side))))
    top = (size - side) // 2
    assert after[..., top : top + side, top : top + side].equal(before)
    assert (after > 0).sum() == before.numel()
    assert size - side - top - top in (0, 1)


def test_mnist_gets_two_black_lines_on_each_side() -> None:
    rows = padded(torch.full((1, 1, 28, 28), 9, dtype=torch.uint8))[0, 0].sum(1)
    assert rows.tolist() == [0, 0, *[9 * 28] * 28, 0, 0]


def test_the_crop_is_the_middle() -> None:
    wide = torch.arange(14).repeat(8, 1).byte().reshape(1, 1, 8, 14)
    assert resized(wide, 8)[0, 0, 0].tolist() == list(range(3, 11))
    assert resized(wide.mT, 8)[0, 0, :, 0].tolist() == list(range(3, 11))


@pytest.mark.parametrize(("side", "size"), [(64, 16), (50, 8), (16, 64), (28, 32)])
def test_resizing_is_pillows_antialiased_bicubic(side: int, size: int) -> None:
    picture = pictures(1, 1, side, side)
    as_numbers = Image.fromarray(picture[0, 0].float().numpy())  # of bytes Pillow rounds between the two directions
    reference = np.array(as_numbers.resize((size, size), Image.Resampling.BICUBIC)).clip(0, 255)
    torch.testing.assert_close(resized(picture, size)[0, 0].float(), torch.from_numpy(reference), atol=0.501, rtol=0)


def test_resizing_cuts_off_what_overshoots() -> None:
    edge = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    edge[..., 8:] = 255
    after = resized(edge, 32)[0, 0, 0].int()
    assert after.diff().min() >= 0  # a byte that wraps around would fall


def test_luma_by_hand() -> None:
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 20, 30]])
    bright = luma(colours.byte().reshape(5, 3, 1, 1)).flatten()
    assert bright.tolist() == [76, 150, 29, 255, 18]  # 76.2, 149.7, 29.1, 255, 18.2


def test_luma_is_pillows() -> None:
    picture = pictures(1, 3, 20, 20)
    reference = np.array(Image.fromarray(picture[0].permute(1, 2, 0).numpy()).convert("L"))
    assert (luma(picture)[0, 0].int() - torch.from_numpy(reference).int()).abs().max() <= 1


def test_to_bytes_rounds_and_cuts_off() -> None:
    assert to_bytes(torch.tensor([-3.0, 0.4, 0.6, 254.6, 300.0])).tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(8), Wanted(16, 1), Wanted(0, 1), Wanted(32, 3)])
def test_chunks_do_not_matter(wanted: Wanted) -> None:
    many = pictures(CHUNK + 3, 3, 9, 9)
    together = fit(many, wanted, "here")
    assert together.shape == (CHUNK + 3, wanted.channels or 3, wanted.size or 16, wanted.size or 16)
    assert together.dtype == torch.uint8
    assert together[-5:].equal(fit(many[-5:], wanted, "here"))


def test_what_is_as_wanted_stays_as_it_is() -> None:
    before = pictures(4, 3, 16, 16)
    for wanted in (Wanted(), Wanted(16), Wanted(0, 3), Wanted(16, 3)):
        assert fit(before, wanted, "here").equal(before)


@pytest.mark.parametrize(
    ("shape", "wanted", "message"),
    [
        ((2, 1, 8, 8), Wanted(0, 3), "here: one channel where three are asked for (--channels)"),
        ((2, 1, 8, 9), Wanted(), "here: 8 x 9 pixels, not square (--size crops and resizes)"),
        ((2, 1, 0, 0), Wanted(), "here: 0 x 0 pixels"),
        ((2, 1, 0, 5), Wanted(8), "here: 0 x 5 pixels"),
    ],
)
def test_what_cannot_be_made_fit(shape: tuple[int, ...], wanted: Wanted, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message) + "$"):
        fit(pictures(*shape), wanted, "here")


def test_gathering_keeps_the_order() -> None:
    parts = [pictures(1, 8, 8, seed=seed) for seed in range(3)]
    assert gather(((str(n), part) for n, part in enumerate(parts)), Wanted()).equal(torch.stack(parts))


@pytest.mark.parametrize(
    ("shapes", "fails", "mended"),
    [
        # 28 and 30 are both padded to 32: this must not hide that they differ
        ([(1, 28, 28), (1, 28, 28), (1, 30, 30)], Wanted(), Wanted(32)),
        ([(3, 8, 8), (1, 8, 8)], Wanted(), Wanted(0, 1)),
        ([(1, 8, 8), (3, 8, 8)], Wanted(16), Wanted(16, 1)),
        ([(3, 8, 8), (3, 16, 16)], Wanted(0, 1), Wanted(8, 1)),
    ],
)
def test_pictures_of_two_shapes(shapes: list[tuple[int, ...]], fails: Wanted, mended: Wanted) -> None:
    found = [(f"file{number}", pictures(*shape)) for number, shape in enumerate(shapes)]
    place, odd = found[-1]
    with pytest.raises(InputError, match=f"^{place}: {written(odd)}, not like file0 "):
        gather(found, fails)
    assert len(gather(found, mended)) == len(shapes)


def test_oblong_pictures_need_a_size() -> None:
    found = [("file0", pictures(3, 9, 12)), ("file1", pictures(3, 12, 9))]
    with pytest.raises(InputError, match=r"^file0: 9 x 12 pixels, not square"):
        gather(found, Wanted())
    assert gather(found, Wanted(8)).shape == (2, 3, 8, 8)


def test_a_shape_in_words() -> None:
    assert written(torch.zeros(7, 3, 8, 9)) == "3 x 8 x 9"
