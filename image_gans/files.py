"""Pictures from files, as bytes of one square size: idx, folders, arrays, Hugging Face data sets."""

import gzip
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate, pad

from rl.runtime import InputError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"))
SMALLEST = 8  # side of a picture that the networks can still halve
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow has it
DAMAGED = (OSError, EOFError, ValueError, struct.error, zlib.error, zipfile.BadZipFile)
Bytes = UInt8[Tensor, "pictures channels height width"]


@dataclass(frozen=True)
class Reading:
    """How pictures are read."""

    size: int = 0
    """their side; 0: their own, padded with black to a power of two"""
    channels: int = 0
    """1 or 3; 0: their own"""
    split: str = "train"
    """of a Hugging Face data set"""
    image: str = "image"
    """its column of pictures"""
    label: str = "label"
    """its column of classes; empty: none"""


class Read(NamedTuple):
    """What a source holds."""

    images: Bytes
    labels: Sequence[int] | Sequence[str]
    """a number or a name for each picture; empty: no labels"""
    place: str
    """for messages"""


# ---------------------------------------------------------------------------------------------- one size for all


def fit(pictures: Bytes, reading: Reading, place: str) -> Bytes:
    """Return square pictures with the channels and the side that are asked for; raise InputError naming the place."""
    own, height, width = pictures.shape[1:]
    if reading.channels > own:
        raise InputError(f"{place}: one channel where three are asked for (--channels)")
    if not reading.size and height != width:
        raise InputError(f"{place}: {height} x {width} pixels, not square (--size crops and resizes)")
    # in parts, as numbers take four times the memory of bytes
    return torch.cat([shaped(part, reading) for part in pictures.split(1024)])


def shaped(pictures: Bytes, reading: Reading) -> Bytes:
    """Convert channels, then crop and resize, or pad."""
    if 0 < reading.channels < pictures.shape[1]:
        pictures = to_bytes(torch.einsum("nchw,c->nhw", pictures.float(), torch.tensor(LUMA)).unsqueeze(1))
    return resized(pictures, reading.size) if reading.size else padded(pictures)


def padded(pictures: Bytes) -> Bytes:
    """Surround square pictures with black up to the next power of two."""
    side = pictures.shape[-1]
    missing = max(SMALLEST, 1 << (side - 1).bit_length()) - side
    before, after = missing // 2, missing - missing // 2
    return pad(pictures, (before, after, before, after))


def resized(pictures: Bytes, size: int) -> Bytes:
    """Crop the middle square and resize it, bicubic with antialiasing (arXiv:2104.11222 on why)."""
    height, width = pictures.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = pictures[..., top : top + side, left : left + side]
    return middle if side == size else to_bytes(interpolate(middle.float(), size, mode="bicubic", antialias=True))


def to_bytes(values: Tensor) -> Tensor:
    """Round numbers of 0..255."""
    return values.round().clamp(0, 255).to(torch.uint8)


def gather(found: Iterable[tuple[str, UInt8[Tensor, "channels height width"]]], reading: Reading) -> Bytes:
    """Bring pictures, each with its place, to one shape as they come; raise InputError naming the first misfit."""
    fitted, first = [], ("", ())
    for place, picture in found:
        fixed = (0 if reading.channels else picture.shape[0], *(() if reading.size else picture.shape[1:]))
        first = first if fitted else (place, fixed)
        if fixed != first[1]:
            raise InputError(
                f"{place}: {shape_of(picture)}, not the shape of {first[0]} (--size and --channels bring all to one)"
            )
        fitted.append(fit(picture.unsqueeze(0), reading, place))
    return torch.cat(fitted)


def shape_of(picture: Tensor) -> str:
    """Write a shape as people do."""
    return " x ".join(map(str, picture.shape[-3:]))


# ---------------------------------------------------------------------------------------------- idx, as MNIST has it


def idx_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Return the files of pictures and labels of train, and of test where it is there; none where train is not."""

    def named(part: str, what: str, dimensions: int) -> Path:
        names = [f"{part}-{what}{dot}idx{dimensions}-ubyte{end}" for end in ("", ".gz") for dot in "-."]
        return next((folder / name for name in names if (folder / name).is_file()), folder / names[0])

    pairs = [(named(part, "images", 3), named(part, "labels", 1)) for part in ("train", "t10k")]
    return [pair for pair in pairs if pair[0].is_file() or pair[1].is_file()]


def read_idx_pair(images: Path, labels: Path, reading: Reading) -> Read:
    """Read pictures, and labels where there is a file of them."""
    pictures = torch.from_numpy(read_idx(images, 3)).unsqueeze(1)
    numbers = read_idx(labels, 1).tolist() if labels.is_file() else []
    checked(len(pictures), len(numbers), str(labels))
    return Read(fit(pictures, reading, str(images)), numbers, str(images))


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Return the bytes of an idx file, packed or not; raise InputError naming what is wrong with it."""
    try:
        data = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
        magic, *shape = struct.unpack(f">{1 + dimensions}I", data[: 4 + 4 * dimensions])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except DAMAGED as error:
        raise InputError(f"{path}: damaged idx file ({error})") from None
    if magic != 0x800 + dimensions:
        raise InputError(f"{path}: not an idx file of bytes in {dimensions} dimensions (magic {magic:#010x})")
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions)
    if len(values) != np.prod(shape):
        raise InputError(f"{path}: {len(values)} bytes after the header, which promises {shape}")
    return values.reshape(shape)


def checked(pictures: int, labels: int, place: str) -> None:
    """Raise InputError unless each picture has a label, or none."""
    if pictures < 2:
        raise InputError(f"{place}: {pictures} pictures, at least 2 are needed")
    if labels not in (0, pictures):
        raise InputError(f"{place}: {labels} labels for {pictures} pictures")


# ---------------------------------------------------------------------------------------------- arrays


def read_npz(path: Path, reading: Reading) -> Read:
    """Read `images` (bytes, pictures x height x width, channels before or behind these) and, if there, `labels`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays.files
            images = arrays["images"] if "images" in names else None
            labels = arrays["labels"] if "labels" in names else np.zeros(0, np.int64)
    except DAMAGED as error:
        raise InputError(f"{path}: not a readable array file ({error})") from None
    if images is None:
        raise InputError(f"{path}: no array `images` in it; there are: {', '.join(names) or 'none'}")
    if images.dtype != np.uint8:
        raise InputError(f"{path}:images: {images.dtype}, expected uint8")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{path}:labels: {labels.dtype} {labels.shape}, expected integers [pictures]")
    checked(len(images), len(labels), f"{path}:labels")
    return Read(fit(channels_first(images, f"{path}:images"), reading, str(path)), labels.tolist(), str(path))


def channels_first(images: np.ndarray, place: str) -> Bytes:
    """Find the channels: none, behind, or before; raise InputError where there is neither."""
    if images.ndim == 3:
        return torch.from_numpy(images).unsqueeze(1)
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return torch.from_numpy(images)
    raise InputError(f"{place}: {images.shape}, expected [pictures, height, width] with 1 or 3 channels")


# ---------------------------------------------------------------------------------------------- folders of pictures


def read_folder(folder: Path, reading: Reading) -> list[Read]:
    """Read idx files (train, then test), else a folder for each class, else all pictures without labels."""
    if pairs := idx_pairs(folder):
        return [read_idx_pair(*pair, reading) for pair in pairs]
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    loose = pictures_in(folder)
    if classes and loose:
        raise InputError(f"{loose[0]}: a picture without a class, beside folders of classes")
    paths = [path for part in classes for path in some_pictures_in(part)] if classes else some_pictures_in(folder)
    checked(len(paths), 0, str(folder))
    images = gather(((str(path), read_picture(path)) for path in paths), reading)
    return [Read(images, [path.parent.name for path in paths] if classes else [], str(folder))]


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures that lie in a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def some_pictures_in(folder: Path) -> list[Path]:
    """Return at least one picture; raise InputError where there is none."""
    if paths := pictures_in(folder):
        return paths
    raise InputError(f"{folder}: no picture in it ({', '.join(sorted(SUFFIXES))})")


def read_picture(path: Path) -> UInt8[Tensor, "channels height width"]:
    """Read one picture of one or three channels; raise InputError where it is damaged."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return channels_of(opened, str(path))
    except (*DAMAGED, SyntaxError, IndexError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable picture ({error})") from None


def channels_of(picture: "Image.Image", place: str) -> UInt8[Tensor, "channels height width"]:
    """Return the bytes of a picture, upright, on black where it is transparent; raise InputError beyond 8 bits."""
    from PIL import Image, ImageOps

    if picture.mode.startswith(("I", "F")):
        raise InputError(f"{place}: more than 8 bits a channel (mode {picture.mode})")
    grey = picture.mode in ("1", "L", "LA")
    upright = ImageOps.exif_transpose(picture)
    if upright.has_transparency_data:
        visible = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", visible.size, "black"), visible)
    array = np.array(upright.convert("L" if grey else "RGB"))
    return torch.from_numpy(array).reshape(*array.shape[:2], -1).permute(2, 0, 1)


# ---------------------------------------------------------------------------------------------- Hugging Face


def read_hub(name: str, reading: Reading) -> Read:
    """Read a split of a Hugging Face data set, `owner/name` or `owner/name:split` (the package datasets, a network)."""
    try:
        import datasets
    except ImportError:
        raise InputError(f"hf:{name}: needs the package datasets (pip install datasets)") from None
    base, _, split = name.partition(":")
    split = split or reading.split
    place = f"hf:{base}:{split}"
    try:
        rows = datasets.load_dataset(base, split=split)
    except Exception as error:  # the library raises dozens of types, none of its own
        raise InputError(f"{place}: {error}") from None
    for column in filter(None, (reading.image, reading.label)):
        if column not in rows.column_names:
            raise InputError(f"{place}: no column {column!r} (--hub-image, --hub-label); it has {rows.column_names}")
    labels = list(rows[reading.label]) if reading.label else []
    for number, label in enumerate(labels):
        if not isinstance(label, int | str):
            raise InputError(f"{place}[{number}].{reading.label}: no label ({label!r})")
    checked(len(rows), len(labels), place)
    feature = rows.features.get(reading.label)
    if isinstance(feature, datasets.ClassLabel):
        labels = [feature.names[label] for label in labels]
    return Read(gather(hub_pictures(rows, reading.image, place), reading), labels, place)


def hub_pictures(rows: Sequence[dict[str, object]], column: str, place: str) -> Iterator[tuple[str, Tensor]]:
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
