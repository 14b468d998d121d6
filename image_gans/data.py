"""What is learned from: pictures or points, train and test, by the name of a set, a folder or a file."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from image_gans.files import Columns, Read, read_folder, read_hub, read_npz
from image_gans.points import MIXTURES, Mixture
from image_gans.samples import Labels
from image_gans.shaping import SMALLEST, Wanted, fit, to_bytes, written
from rl.runtime import InputError, closest

TRAIN_POINTS, TEST_POINTS = 100_000, 10_000


class Set(NamedTuple):
    """Samples as they are stored, and their classes."""

    images: Tensor
    """uint8 [pictures, channels, height, width], or float32 [points, numbers]"""
    labels: Labels
    """0 up to classes - 1; all 0 where there are no labels"""


@dataclass(frozen=True)
class Data:
    """A data set."""

    name: str
    train: Set
    test: Set
    classes: int
    """0: no labels"""
    class_names: tuple[str, ...]
    kind: Literal["pictures", "points"]
    stacked: bool = False
    """whether the channels are pictures of their own, each with its class"""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a picture (channels, height, width), or of a point (numbers,)."""
        return tuple(self.train.images.shape[1:])


def load(
    source: str,
    *,
    test: str = "",
    size: int = 0,
    channels: int = 0,
    stack: int = 1,
    held_out: float = 0.1,
    hub_split: str = "train",
    hub_image: str = "image",
    hub_label: str = "label",
    seed: int = 0,
) -> Data:
    """Load a data set; raise InputError naming the file and what is wrong with it.

    `source` is `digits` (scikit-learn's, 8 x 8), `ring`, `grid`, `origin` (points), a folder (MNIST's idx files, or a
    folder of pictures for each class, or pictures alone), a file `.npz` (`images` and, if wanted, `labels`), `hf:NAME`
    or `hf:NAME:SPLIT`. `test` is another such source; without it, and where the source has no test set of its own, a
    share `held_out` is held out, evenly over the classes. Pictures are padded with black to a power of two or, if a
    `size` is given, cropped to a square and resized. `channels` 1 takes the luma of colours. `stack` 3 makes pictures
    of three channels, each of them one of the set's (stacked MNIST: Metz et al. 2017, arXiv:1611.02163). `seed` is that
    of all draws.
    """
    generator = torch.Generator().manual_seed(seed)
    if source in MIXTURES:
        if test or size or channels or stack != 1:
            raise InputError(f"{source}: points know no --test, --size, --channels or --stack")
        return points(source, MIXTURES[source](), generator)
    check_numbers(size, channels, stack, held_out)
    wanted, columns = Wanted(size, channels), Columns(hub_split, hub_image, hub_label)
    parts = read(source, wanted, columns)
    if test:
        parts = [parts[0], read(test, wanted, columns)[-1]]
    names = class_names(parts)
    sets = [Set(part.images, numbered(part, names)) for part in parts]
    train, tested = sets if len(sets) > 1 else hold_out(sets[0], held_out, generator)
    name = Path(source).resolve().name
    data = Data(name, train, tested, len(names), tuple(map(str, names)), "pictures")
    return data if stack == 1 else stacked(data, stack, generator)


def check_numbers(size: int, channels: int, stack: int, held_out: float) -> None:
    """Raise InputError for numbers that make no sense."""
    if size and (size < SMALLEST or size & (size - 1)):
        raise InputError(f"--size {size}: not a power of two from {SMALLEST} up")
    if channels not in (0, 1, 3):
        raise InputError(f"--channels {channels}: not 1, 3, or 0 for the pictures' own")
    if stack < 1:
        raise InputError(f"--stack {stack}: not 1 or more")
    if not 0 < held_out < 1:
        raise InputError(f"--held-out {held_out}: not between 0 and 1")


def read(source: str, wanted: Wanted, columns: Columns) -> list[Read]:
    """Read a source of pictures: train, and test if it has one."""
    path = Path(source)
    if source == "digits":
        return digits(wanted)
    if source in MIXTURES:
        raise InputError(f"{source}: points, where pictures are asked for")
    if source.startswith("hf:"):
        return [read_hub(source.removeprefix("hf:"), columns, wanted)]
    if path.is_dir():
        return read_folder(path, wanted)
    if path.suffix == ".npz" and path.is_file():
        return [read_npz(path, wanted)]
    known = ("digits", *MIXTURES, "hf:NAME", "a folder", "a file .npz")
    raise InputError(
        f"{source}: {'neither a folder nor .npz' if path.exists() else 'no such data'}{closest(source, known)}"
    )


def digits(wanted: Wanted) -> list[Read]:
    """Return scikit-learn's 1,797 digits; the fifth of them that tests is always the same."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = fit(to_bytes(torch.from_numpy(bunch.images).unsqueeze(1) * (255 / 16)), wanted, "digits")
    both = hold_out(Set(images, torch.from_numpy(bunch.target)), 0.2, torch.Generator().manual_seed(0))
    return [Read(part.images, part.labels.tolist(), "digits") for part in both]


def points(name: str, mixture: Mixture, generator: torch.Generator) -> Data:
    """Draw points; their classes are the modes, if there are several."""
    classes = len(mixture.centres) if len(mixture.centres) > 1 else 0
    train, test = (Set(*mixture.draw(rows, generator)) for rows in (TRAIN_POINTS, TEST_POINTS))
    return Data(name, train, test, classes, tuple(map(str, range(classes))), "points")


def hold_out(everything: Set, share: float, generator: torch.Generator) -> tuple[Set, Set]:
    """Part a share of the pictures, drawn at random, from the others: of each class as large a share as of all."""
    images, labels = everything
    order = torch.randperm(len(images), generator=generator)
    order = order[labels[order].argsort(stable=True)]
    held = min(max(1, round(share * len(images))), len(images) - 1)
    chosen = torch.zeros(len(images), dtype=torch.bool)
    # evenly spaced in the order of the classes: each gives its share, rounded up or down
    chosen[order[(2 * torch.arange(held) + 1) * len(images) // (2 * held)]] = True
    return Set(images[~chosen], labels[~chosen]), Set(images[chosen], labels[chosen])


def class_names(parts: Sequence[Read]) -> list[int] | list[str]:
    """Return the classes of train in order, none where there is but one; raise InputError where test is not alike."""
    train, test = parts[0], parts[-1]
    if test.images.shape[1:] != train.images.shape[1:]:
        raise InputError(f"{test.place}: {written(test.images)}, while {train.place} has {written(train.images)}")
    if bool(train.labels) != bool(test.labels):
        some, none = (train, test) if train.labels else (test, train)
        raise InputError(f"{none.place}: no labels, while {some.place} has them")
    names = sorted(set(train.labels))
    if strangers := set(test.labels) - set(names):
        raise InputError(f"{test.place}: class {min(strangers)!r} is not in {train.place}")
    return names if len(names) > 1 else []


def numbered(part: Read, names: Sequence[int | str]) -> Labels:
    """Return the places of the labels among the names; all 0 where there are no names."""
    if not names:
        return torch.zeros(len(part.images), dtype=torch.long)
    places = {name: place for place, name in enumerate(names)}
    return torch.tensor([places[label] for label in part.labels])


def stacked(data: Data, stack: int, generator: torch.Generator) -> Data:
    """Make every channel a picture of its own; the classes are those of the channels in turn, the first counts most."""
    if data.shape[0] != 1:
        raise InputError(f"--stack {stack}: {data.name} has {data.shape[0]} channels (--channels 1 makes it one)")
    train, test = (stack_set(part, data.classes, stack, generator) for part in (data.train, data.test))
    combined = itertools.product(data.class_names, repeat=stack) if data.classes else ()
    names = tuple("-".join(parts) for parts in combined)
    return Data(f"stacked {data.name}", train, test, len(names), names, "pictures", stacked=True)


def stack_set(part: Set, classes: int, stack: int, generator: torch.Generator) -> Set:
    """Draw as many stacks as the set has pictures."""
    count = len(part.images)
    rows: Int[Tensor, "pictures stack"] = torch.randint(count, (count, stack), generator=generator)
    weights = classes ** torch.arange(stack - 1, -1, -1)
    return Set(part.images[rows].squeeze(2), (part.labels[rows] * weights).sum(1))
