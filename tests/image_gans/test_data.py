import re
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from image_gans.data import TEST_POINTS, TRAIN_POINTS, Data, Set, hold_out, load
from image_gans.points import MIXTURES
from rl.runtime import InputError

SHARED = Path(__file__).parents[3] / "shared/data/images"


def refused(message: str) -> pytest.RaisesExc[InputError]:
    return pytest.raises(InputError, match="^" + re.escape(message))


def archive(path: Path, labels: list[int] | None, *, side: int = 8, seed: int = 0, channels: int = 1) -> str:
    """Pictures that all differ; the first byte of each is its number."""
    count = len(labels or range(10))
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    np.savez(path, images=images, **({} if labels is None else {"labels": np.array(labels)}))
    return str(path)


def same(a: Data, b: Data) -> bool:
    pairs = zip((*a.train, *a.test), (*b.train, *b.test), strict=True)
    return all(x.shape == y.shape and x.equal(y) for x, y in pairs)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_importing_pulls_nothing_heavy() -> None:
    heavy = ("sklearn", "PIL", "scipy", "matplotlib", "datasets", "torchmetrics", "torchvision", "gymnasium")
    code = f"import sys, image_gans.data; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# ---------------------------------------------------------------------------------------------- what is built in


def test_digits() -> None:
    data = load("digits")
    assert (data.name, data.kind, data.shape, data.classes) == ("digits", "pictures", (1, 8, 8), 10)
    assert data.class_names == tuple("0123456789")
    assert (len(data.train.images), len(data.test.images)) == (1438, 359)
    assert data.train.images.dtype == torch.uint8
    assert (int(data.train.images.min()), int(data.train.images.max())) == (0, 255)
    assert set(data.test.labels.bincount().tolist()) <= {35, 36, 37}


def test_digits_are_scikit_learns_with_their_labels() -> None:
    from sklearn.datasets import load_digits

    bunch, data = load_digits(), load("digits")
    given = Counter(zip(map(bytes, bunch.images.astype(np.uint8)), bunch.target.tolist(), strict=True))
    parts = [(image, label) for part in (data.train, data.test) for image, label in zip(*part, strict=True)]
    found = Counter((bytes((image.float() * 16 / 255).round().byte().numpy()), int(label)) for image, label in parts)
    assert found == given


def test_digits_are_parted_in_one_way_whatever_the_seed() -> None:
    assert same(load("digits", seed=0), load("digits", seed=5, held_out=0.5))


@pytest.mark.parametrize("name", ["ring", "grid", "origin"])
def test_points(name: str) -> None:
    data, mixture = load(name, seed=3), MIXTURES[name]()
    modes, numbers = mixture.centres.shape
    assert (data.name, data.kind, data.shape, data.stacked) == (name, "points", (numbers,), False)
    assert (len(data.train.images), len(data.test.images)) == (TRAIN_POINTS, TEST_POINTS)
    assert data.classes == (modes if modes > 1 else 0) == len(data.class_names)
    assert (data.train.images.dtype, data.train.labels.dtype) == (torch.float32, torch.int64)
    distance = (data.test.images - mixture.centres[data.test.labels]).norm(dim=1)
    assert distance.max() <= 6 * mixture.sd
    assert same(data, load(name, seed=3))
    assert name == "origin" or not same(data, load(name, seed=4))
    assert name == "origin" or not data.test.images.equal(data.train.images[:TEST_POINTS])


@pytest.mark.parametrize("numbers", [{"test": "digits"}, {"size": 8}, {"channels": 1}, {"stack": 3}])
def test_points_are_no_pictures(numbers: dict[str, Any]) -> None:
    with refused("ring: points know no"):
        load("ring", **numbers)
    with refused("grid: points, where pictures are asked for"):
        load("digits", test="grid")


# ---------------------------------------------------------------------------------------------- train and test


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=60), share=st.floats(0.01, 0.99), seed=st.integers(0, 99)
)
def test_a_share_of_each_class_is_held_out(labels: list[int], share: float, seed: int) -> None:
    everything = Set(torch.arange(len(labels)), torch.tensor(labels))
    train, test = hold_out(everything, share, generator(seed))
    assert sorted([*train.images.tolist(), *test.images.tolist()]) == list(range(len(labels)))
    for part in (train, test):
        assert part.labels.equal(everything.labels[part.images])
    held = len(test.images)
    assert held == min(max(1, round(share * len(labels))), len(labels) - 1)
    for name, count in Counter(labels).items():
        assert abs((test.labels == name).sum() - count * held / len(labels)) < 1


def test_which_are_held_out_depends_on_the_seed_alone(tmp_path: Path) -> None:
    source, before = archive(tmp_path / "a.npz", [0, 1] * 50), torch.get_rng_state()
    assert same(load(source, seed=1), load(source, seed=1))
    assert torch.get_rng_state().equal(before)
    drawn = [load(source, seed=seed).test.images[:, 0, 0, 0].tolist() for seed in range(50)]
    assert len({tuple(rows) for rows in drawn}) == 50
    # of 100 pictures, 100 * 0.9^50 = 0.5 are never among the held out
    assert len({row for rows in drawn for row in rows}) > 95
    assert len(load(source, held_out=0.3).test.images) == 30


def test_a_test_set_of_its_own(tmp_path: Path) -> None:
    train, test = archive(tmp_path / "a.npz", [5, 3, 5, 9]), archive(tmp_path / "b.npz", [9, 3], seed=1)
    data = load(train, test=test)
    assert data.class_names == ("3", "5", "9")
    assert data.train.labels.tolist() == [1, 0, 1, 2]
    assert data.test.labels.tolist() == [2, 0]
    assert data.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert (data.name, data.stacked) == ("a.npz", False)


def test_another_set_tests_with_its_test_part(tmp_path: Path) -> None:
    for part, count in (("train", 5), ("t10k", 3)):
        path = tmp_path / f"{part}-images-idx3-ubyte"
        path.write_bytes(struct.pack(">4I", 0x803, count, 8, 8) + bytes(count * 64))
    train = archive(tmp_path / "a.npz", None)
    assert len(load(train, test=str(tmp_path)).test.images) == 3
    other = load(str(tmp_path), test=train)
    assert (len(other.train.images), len(other.test.images)) == (5, 10)


def test_no_labels_or_but_one_class(tmp_path: Path) -> None:
    for labels in (None, [4] * 10):
        data = load(archive(tmp_path / "a.npz", labels))
        assert (data.classes, data.class_names) == (0, ())
        assert data.train.labels.tolist() == [0] * 9
        assert data.test.labels.tolist() == [0]
        assert data.train.labels.dtype == torch.int64


def test_train_and_test_must_be_alike(tmp_path: Path) -> None:
    train, test = archive(tmp_path / "a.npz", [0, 1]), tmp_path / "b.npz"
    with refused(f"{test}: class 7 is not in {train}"):
        load(train, test=archive(test, [1, 8, 7]))
    with refused(f"{test}: 1 x 16 x 16, while {train} has 1 x 8 x 8"):
        load(train, test=archive(test, [0, 1], side=16))
    with refused(f"{test}: 3 x 8 x 8, while {train} has 1 x 8 x 8"):
        load(train, test=archive(test, [0, 1], channels=3))
    with refused(f"{test}: no labels, while {train} has them"):
        load(train, test=archive(test, None))
    with refused(f"{test}: no labels, while {train} has them"):
        load(str(test), test=train)


def test_folders_of_classes_for_train_and_test(tmp_path: Path) -> None:
    for name in ("train/cat/1", "train/cat/2", "train/ant/1", "test/cat/1", "test/cat/2"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((10, 10), len(name), np.uint8)).save(path)
    data = load(str(tmp_path / "train"), test=f"{tmp_path}/test/")
    assert (data.name, data.class_names, data.shape) == ("train", ("ant", "cat"), (1, 16, 16))
    assert data.train.labels.tolist() == [0, 1, 1]
    assert data.test.labels.tolist() == [1, 1]
    with refused(f"{tmp_path}/train: class 'ant' is not in {tmp_path}/test"):
        load(str(tmp_path / "test"), test=str(tmp_path / "train"))


# ---------------------------------------------------------------------------------------------- sizes, channels, stacks


def test_size_and_channels_reach_both_parts(tmp_path: Path) -> None:
    train, test = archive(tmp_path / "a.npz", [0, 1], channels=3), archive(tmp_path / "b.npz", [0, 1], channels=3)
    assert load(train, test=test, size=32, channels=1).test.images.shape == (2, 1, 32, 32)
    assert load("digits", size=16).shape == (1, 16, 16)
    with refused("digits: one channel where three are asked for (--channels)"):
        load("digits", channels=3)


def test_stacks_hold_the_pictures_that_their_labels_say() -> None:
    plain, data = load("digits"), load("digits", stack=3)
    assert (data.name, data.stacked, data.shape, data.classes) == ("stacked digits", True, (3, 8, 8), 1000)
    assert (data.class_names[0], data.class_names[123], data.class_names[-1]) == ("0-0-0", "1-2-3", "9-9-9")
    for part, own in ((data.train, plain.train), (data.test, plain.test)):
        assert len(part.images) == len(own.images)
        known = {(bytes(image.numpy()), int(label)) for image, label in zip(*own, strict=True)}
        places = [(part.labels // weight) % 10 for weight in (100, 10, 1)]
        for channel, digit in enumerate(places):
            pairs = zip(part.images[:, channel], digit, strict=True)
            assert {(bytes(image.numpy()), int(n)) for image, n in pairs} <= known


def test_channels_of_a_stack_are_drawn_independently() -> None:
    data = load("digits", stack=2)
    first, second = data.train.labels // 10, data.train.labels % 10
    together = torch.zeros(10, 10).index_put((first, second), torch.ones(len(first)), accumulate=True)
    expected = together.sum(1, keepdim=True) * together.sum(0) / len(first)
    # chi squared with 81 degrees of freedom: mean 81, deviation 12.7
    assert ((together - expected) ** 2 / expected).sum() < 81 + 5 * 12.7
    assert same(data, load("digits", stack=2))
    assert not same(data, load("digits", stack=2, seed=1))


def test_stacks_without_labels_and_of_colours(tmp_path: Path) -> None:
    data = load(archive(tmp_path / "a.npz", None), stack=3)
    assert (data.classes, data.class_names, data.stacked) == (0, (), True)
    assert data.train.labels.tolist() == [0] * 9
    colours = archive(tmp_path / "b.npz", [0, 1], channels=3)
    with refused("--stack 3: b.npz has 3 channels (--channels 1 makes it one)"):
        load(colours, stack=3)
    assert load(colours, stack=3, channels=1).shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"size": 28}, "--size 28: not a power of two from 8 up"),
        ({"size": 4}, "--size 4: not a power of two from 8 up"),
        ({"size": -8}, "--size -8: not a power of two"),
        ({"channels": 2}, "--channels 2: not 1, 3"),
        ({"channels": -1}, "--channels -1: not 1, 3"),
        ({"stack": 0}, "--stack 0: not 1 or more"),
        ({"held_out": 0.0}, "--held-out 0.0: not between 0 and 1"),
        ({"held_out": 1.0}, "--held-out 1.0: not between 0 and 1"),
        ({"held_out": float("nan")}, "--held-out nan: not between 0 and 1"),
    ],
)
def test_numbers_that_make_no_sense(numbers: dict[str, Any], message: str) -> None:
    with refused(message):
        load("digits", **numbers)


def test_unknown_sources(tmp_path: Path) -> None:
    with refused("digit: no such data; did you mean 'digits'?"):
        load("digit")
    with refused(
        f"{tmp_path}/a.npz: no such data; allowed: a file .npz, a folder, digits, grid, hf:NAME, origin, ring"
    ):
        load(f"{tmp_path}/a.npz")
    (tmp_path / "a.txt").touch()
    with refused(f"{tmp_path}/a.txt: neither a folder nor .npz"):
        load(f"{tmp_path}/a.txt")
    with refused("rng: no such data; did you mean 'ring'?"):
        load("digits", test="rng")


# ---------------------------------------------------------------------------------------------- real files


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="MNIST is not here")
def test_mnist() -> None:
    data = load(str(SHARED / "mnist"))
    assert (data.name, data.shape, data.classes) == ("mnist", (1, 32, 32), 10)
    assert data.train.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # the usual mean of the 28 x 28 pixels of train
    assert data.train.images.sum(dtype=torch.int64) / (60_000 * 28 * 28 * 255) == pytest.approx(0.1307, abs=5e-5)


@pytest.mark.skipif(not (SHARED / "cifar10").is_dir(), reason="CIFAR-10 is not here")
def test_cifar() -> None:
    train, test = (str(SHARED / f"cifar10/cifar10_{name}.npz") for name in ("train_batch1", "test_1k"))
    data = load(train, test=test)
    assert (data.shape, data.classes) == ((3, 32, 32), 10)
    assert (len(data.train.images), len(data.test.images)) == (10_000, 1_000)
    assert data.train.labels.bincount().tolist() == [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]
