"""Pictures and their classes from files: idx, arrays, folders; from Hugging Face data sets."""

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from image_gans.shaping import Bytes, Wanted, fit, gather
from rl.runtime import InputError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"))
# what the standard library, numpy and Pillow raise for files that are cut off, damaged, or packed in an unknown way
DAMAGED = (
    *(OSError, EOFError, ValueError, RuntimeError, SyntaxError, TokenError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)


class Read(NamedTuple):
    """What a source holds."""

    images: Bytes
    labels: Sequence[int] | Sequence[str]
    """the class of each picture, by number or by name; empty: no labels"""
    place: str
    """for messages"""


def checked_labels(labels: list[Any], pictures: int, place: str) -> list[Any]:
    """Return the labels; raise InputError unless each picture has one: -1 is a usual way to say that it has none."""
    if len(labels) != pictures:
        raise InputError(f"{place}: {len(labels)} labels for {pictures} pictures")
    for number, label in enumerate(labels):
        if not isinstance(label, int | str) or label in (-1, ""):
            raise InputError(f"{place}[{number}]: {label!r} is no class")
    return labels


def check_count(pictures: int, place: str) -> None:
    """Raise InputError where there are too few pictures for train and test."""
    if pictures < 2:
        raise InputError(f"{place}: at least 2 pictures are needed, it has {pictures}")


# ---------------------------------------------------------------------------------------------- idx, as of MNIST


def idx_files(folder: Path) -> list[tuple[Path, Path]]:
    """Return the files of pictures and of labels: of train, then of test; none at all where the folder has no idx."""

    def find(part: str, what: str, dimensions: int) -> Path:
        names = [f"{part}-{what}{dot}idx{dimensions}-ubyte{packed}" for dot in "-." for packed in ("", ".gz")]
        return next((folder / name for name in names if (folder / name).is_file()), folder / names[0])

    train, test = ((find(part, "images", 3), find(part, "labels", 1)) for part in ("train", "t10k"))
    if any(path.is_file() for path in test):
        return [train, test]
    return [train] if any(path.is_file() for path in train) else []


def read_idx_pair(images: Path, labels: Path, wanted: Wanted) -> Read:
    """Read pictures, and labels where there is a file of them."""
    pictures = torch.from_numpy(read_idx(images, 3)).unsqueeze(1)
    check_count(len(pictures), str(images))
    found = labels.is_file()
    numbers = checked_labels(read_idx(labels, 1).tolist(), len(pictures), str(labels)) if found else []
    return Read(fit(pictures, wanted, str(images)), numbers, str(images))


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Return the bytes of an idx file, packed or not; raise InputError naming what is wrong with it."""
    try:
        data = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        magic, *shape = struct.unpack_from(f">{1 + dimensions}I", data)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except DAMAGED as error:
        raise InputError(f"{path}: damaged idx file ({error})") from None
    if magic != 0x800 + dimensions:
        raise InputError(f"{path}: not an idx file of bytes in {dimensions} dimensions (magic {magic:#010x})")
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions)
    if len(values) != math.prod(shape):
        raise InputError(f"{path}: {len(values)} bytes, the header promises {' x '.join(map(str, shape))}")
    return values.reshape(shape)


# ---------------------------------------------------------------------------------------------- arrays


def read_npz(path: Path, wanted: Wanted) -> Read:
    """Read `images`, uint8 [pictures, height, width] with channels behind or before these, and `labels` if there."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not an .npz archive, or cut off")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: np.asarray(arrays[name]) for name in ("images", "labels") if name in arrays.files}
            names = ", ".join(arrays.files)
    except DAMAGED as error:
        raise InputError(f"{path}: not a readable array file ({error})") from None
    if "images" not in found:
        raise InputError(f"{path}: no array `images` in it, but: {names or 'nothing'}")
    pictures = channels_first(found["images"], f"{path}:images")
    check_count(len(pictures), f"{path}:images")
    labels = npz_labels(found["labels"], len(pictures), f"{path}:labels") if "labels" in found else []
    return Read(fit(pictures, wanted, f"{path}:images"), labels, str(path))


def npz_labels(labels: np.ndarray, pictures: int, place: str) -> list[int]:
    """Return classes as numbers; raise InputError where they are none."""
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{place}: {labels.dtype} {labels.shape}, expected integers [pictures]")
    return checked_labels(labels.tolist(), pictures, place)


def channels_first(images: np.ndarray, place: str) -> Bytes:
    """Find the channels: none, behind, or before; raise InputError where there are no pictures."""
    if images.dtype == np.uint8 and images.ndim == 3:
        return torch.from_numpy(images).unsqueeze(1)
    if images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] in (1, 3):
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    if images.dtype == np.uint8 and images.ndim == 4 and images.shape[1] in (1, 3):
        return torch.from_numpy(images)
    raise InputError(f"{place}: {images.dtype} {images.shape}, expected uint8 [pictures, height, width(, 1 or 3)]")


# ---------------------------------------------------------------------------------------------- folders


def read_folder(folder: Path, wanted: Wanted) -> list[Read]:
    """Read idx files (train, then test), else a folder for each class, else pictures without classes."""
    if pairs := idx_files(folder):
        return [read_idx_pair(images, labels, wanted) for images, labels in pairs]
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if classes and (loose := pictures_in(folder)):
        raise InputError(f"{loose[0]}: a picture without a class, beside folders of classes")
    paths = [path for part in classes or [folder] for path in some_pictures_in(part)]
    check_count(len(paths), str(folder))
    images = gather(((str(path), read_picture(path)) for path in paths), wanted)
    return [Read(images, [path.parent.name for path in paths] if classes else [], str(folder))]


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures that lie in a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def some_pictures_in(folder: Path) -> list[Path]:
    """Return the pictures that lie in a folder; raise InputError where there is none."""
    if paths := pictures_in(folder):
        return paths
    raise InputError(f"{folder}: no picture in it ({', '.join(sorted(SUFFIXES))})")


def read_picture(path: Path) -> UInt8[Tensor, "channels height width"]:
    """Read a picture of one or three channels; raise InputError where it is damaged."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return channels_of(opened, str(path))
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable picture ({error})") from None


def channels_of(picture: "Image.Image", place: str) -> UInt8[Tensor, "channels height width"]:
    """Return a picture upright, on black where it is transparent; raise InputError beyond 8 bits a channel."""
    from PIL import Image, ImageOps

    if picture.mode.startswith(("I", "F")):
        raise InputError(f"{place}: more than 8 bits a channel (mode {picture.mode})")
    target = "L" if picture.mode in ("1", "L", "LA") else "RGB"
    upright = ImageOps.exif_transpose(picture)
    if upright.has_transparency_data:
        visible = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", visible.size, "black"), visible)
    values = np.array(upright.convert(target))
    return torch.from_numpy(values).reshape(*values.shape[:2], -1).permute(2, 0, 1)


# ---------------------------------------------------------------------------------------------- Hugging Face


class Columns(NamedTuple):
    """What is read of a Hugging Face data set."""

    split: str = "train"
    image: str = "image"
    label: str = "label"
    """empty: none"""


def read_hub(name: str, columns: Columns, wanted: Wanted) -> Read:
    """Read `owner/name` or `owner/name:split` (needs the package datasets and a network)."""
    try:
        import datasets
    except ImportError:
        raise InputError(f"hf:{name}: needs the package datasets (pip install 'sparring[text]')") from None
    name, _, split = name.partition(":")
    split = split or columns.split
    place = f"hf:{name}:{split}"
    try:
        rows = datasets.load_dataset(name, split=split)
    except Exception as error:  # the library raises dozens of types, none of its own
        raise InputError(f"{place}: {error}") from None
    if missing := {columns.image, columns.label} - {*rows.column_names, ""}:
        there = ", ".join(rows.column_names)
        raise InputError(f"{place}: no column {min(missing)!r}, but: {there} (--hub-image, --hub-label)")
    check_count(len(rows), place)
    column = columns.label
    labels = checked_labels(list(rows[column]), len(rows), f"{place}.{column}") if column else []
    if isinstance(feature := rows.features.get(column), datasets.ClassLabel):
        labels = [feature.names[label] for label in labels]
    return Read(gather(hub_pictures(rows, columns.image, place), wanted), labels, place)


def hub_pictures(rows: Any, column: str, place: str) -> Iterator[tuple[str, UInt8[Tensor, "channels height width"]]]:
    """Decode pictures one at a time, each with its place; raise InputError where one cannot be."""
    from PIL import Image

    for number in range(len(rows)):
        here = f"{place}[{number}].{column}"
        try:
            picture = rows[number][column]
        except Exception as error:  # as above
            raise InputError(f"{here}: {error}") from None
        if not isinstance(picture, Image.Image):
            raise InputError(f"{here}: no picture ({type(picture).__name__})")
        yield here, channels_of(picture, here)
