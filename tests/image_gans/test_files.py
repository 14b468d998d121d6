import gzip
import re
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from image_gans.files import Columns, read_folder, read_hub, read_idx, read_npz, read_picture
from image_gans.shaping import Wanted
from rl.runtime import InputError


def refused(place: object, reason: str) -> pytest.RaisesExc[InputError]:
    return pytest.raises(InputError, match="^" + re.escape(f"{place}: {reason}"))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# ---------------------------------------------------------------------------------------------- idx


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", 0x800 + values.ndim, *values.shape) + values.tobytes()


def mnist(folder: Path, *, packed: bool, dot: str = "-", parts: tuple[str, ...] = ("train", "t10k")) -> None:
    for number, part in enumerate(parts):
        for what, values in (("images", noise(5, 6, 6, seed=number)), ("labels", np.arange(5, dtype=np.uint8))):
            path = folder / f"{part}-{what}{dot}idx{values.ndim}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(idx(values)) if packed else idx(values))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
def test_idx_files_of_train_and_test(packed: bool, dot: str, tmp_path: Path) -> None:
    mnist(tmp_path, packed=packed, dot=dot)
    train, test = read_folder(tmp_path, Wanted())
    for seed, part in enumerate((train, test)):
        assert part.images.shape == (5, 1, 8, 8)
        assert np.array_equal(part.images[:, 0, 1:7, 1:7], noise(5, 6, 6, seed=seed))
        assert part.labels == [0, 1, 2, 3, 4]


def test_idx_files_without_test_or_without_labels(tmp_path: Path) -> None:
    mnist(tmp_path, packed=False, parts=("train",))
    assert len(read_folder(tmp_path, Wanted())) == 1
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    assert read_folder(tmp_path, Wanted())[0].labels == []


@pytest.mark.parametrize("parts", [("t10k",), ()], ids=["test without train", "labels of train alone"])
def test_idx_pictures_of_train_are_needed(parts: tuple[str, ...], tmp_path: Path) -> None:
    mnist(tmp_path, packed=False, parts=parts or ("train",))
    path = tmp_path / "train-images-idx3-ubyte"
    path.unlink(missing_ok=True)
    with refused(path, "no such file"):
        read_folder(tmp_path, Wanted())


def test_idx_of_one_channel_where_three_are_asked(tmp_path: Path) -> None:
    mnist(tmp_path, packed=False)
    with refused(tmp_path / "train-images-idx3-ubyte", "one channel where three are asked for"):
        read_folder(tmp_path, Wanted(0, 3))


@pytest.mark.parametrize("count", [0, 4, 6])
def test_idx_labels_of_another_length(count: int, tmp_path: Path) -> None:
    mnist(tmp_path, packed=False)
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(idx(np.zeros(count, np.uint8)))
    with refused(path, f"{count} labels for 5 pictures"):
        read_folder(tmp_path, Wanted())


def test_one_picture_is_too_few(tmp_path: Path) -> None:
    mnist(tmp_path, packed=False)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx(noise(1, 6, 6)))
    with refused(path, "at least 2 pictures are needed, it has 1"):
        read_folder(tmp_path, Wanted())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "89 bytes, the header promises 10 x 3 x 3"),
        (lambda data: data + b"\0", "91 bytes, the header promises 10 x 3 x 3"),
        (lambda data: data[:9], "damaged idx file ("),
        (lambda data: b"", "damaged idx file ("),
        (lambda data: b"\0\0\x08\x01" + data[4:], "not an idx file of bytes in 3 dimensions (magic 0x00000801)"),
        (lambda data: b"\0\0\x0d\x03" + data[4:], "not an idx file of bytes in 3 dimensions (magic 0x00000d03)"),
        # 2^64 of them: none, if counted in 64 bits
        (lambda data: data[:4] + struct.pack(">3I", 2**31, 2**31, 4), "0 bytes, the header promises 2147483648 x"),
    ],
)
def test_a_malformed_idx(damage: Callable[[bytes], bytes], message: str, packed: bool, tmp_path: Path) -> None:
    path = tmp_path / ("a.gz" if packed else "a")
    data = damage(idx(noise(10, 3, 3)))
    path.write_bytes(gzip.compress(data) if packed else data)
    with refused(path, message):
        read_idx(path, 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-3],
        lambda data: data[:10] + b"\xff" + data[11:],  # a block of no known kind
        lambda data: data[:60] + bytes(40) + data[100:],
        lambda _: b"text",
    ],
)
def test_a_damaged_gzip(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(damage(gzip.compress(idx(noise(10, 9, 9)), mtime=0)))
    with refused(path, "damaged idx file ("):
        read_idx(path, 3)


# ---------------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    ("images", "place"),
    [
        (noise(4, 8, 8), lambda images: images[:, None]),
        (noise(4, 8, 8, 1), lambda images: images.transpose(0, 3, 1, 2)),
        (noise(4, 8, 8, 3), lambda images: images.transpose(0, 3, 1, 2)),
        (noise(4, 1, 8, 8), lambda images: images),
        (noise(4, 3, 8, 8), lambda images: images),
    ],
)
def test_pictures_of_an_array(images: np.ndarray, place: Callable[[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=images, labels=np.array([3, 0, 3, 7], np.uint8))
    read = read_npz(path, Wanted())
    assert np.array_equal(read.images, place(images))
    assert read.images.is_contiguous()
    assert read.labels == [3, 0, 3, 7]
    np.savez(path, images=images)
    assert read_npz(path, Wanted()).labels == []


@pytest.mark.parametrize(
    ("arrays", "place", "message"),
    [
        ({"x": noise(4, 8, 8)}, "", "no array `images` in it, but: x"),
        ({}, "", "no array `images` in it, but: nothing"),
        ({"images": noise(4, 8, 8) / 255}, ":images", "float64 (4, 8, 8), expected uint8"),
        ({"images": noise(4, 8, 8).astype(np.int64)}, ":images", "int64 (4, 8, 8), expected uint8"),
        ({"images": noise(4, 64)}, ":images", "uint8 (4, 64), expected uint8 [pictures, height, width(, 1 or 3)]"),
        ({"images": noise(4, 8, 8, 4)}, ":images", "uint8 (4, 8, 8, 4), expected"),
        ({"images": noise(1, 8, 8)}, ":images", "at least 2 pictures are needed, it has 1"),
        ({"images": noise(0, 8, 8)}, ":images", "at least 2 pictures are needed, it has 0"),
        ({"images": noise(4, 8, 9)}, ":images", "8 x 9 pixels, not square"),
        ({"images": noise(4, 0, 0)}, ":images", "0 x 0 pixels"),
        ({"images": noise(4, 8, 8), "labels": np.arange(3)}, ":labels", "3 labels for 4 pictures"),
        ({"images": noise(4, 8, 8), "labels": np.arange(0)}, ":labels", "0 labels for 4 pictures"),
        ({"images": noise(4, 8, 8), "labels": np.array([0, 1, -1, 2])}, ":labels[2]", "-1 is no class"),
        ({"images": noise(4, 8, 8), "labels": np.ones(4)}, ":labels", "float64 (4,), expected integers [pictures]"),
        ({"images": noise(4, 8, 8), "labels": np.eye(4, dtype=int)}, ":labels", "int64 (4, 4), expected integers"),
        ({"images": np.array([{}, {}])}, "", "not a readable array file ("),
        ({"images": noise(4, 8, 8), "labels": np.array([{}] * 4)}, "", "not a readable array file ("),
    ],
)
def test_malformed_arrays(arrays: dict[str, np.ndarray], place: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with refused(f"{path}{place}", message):
        read_npz(path, Wanted())


@pytest.mark.parametrize("damage", [lambda d: d[: len(d) // 2], lambda _: b"text", lambda _: b""])
def test_a_file_that_is_no_archive(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=noise(4, 8, 8))
    path.write_bytes(damage(path.read_bytes()))
    with refused(path, "not an .npz archive, or cut off"):
        read_npz(path, Wanted())


@pytest.mark.parametrize(
    ("find", "change", "message"),
    [
        (b"\x93NUMPY", b"\x93NUMPX", "not a readable array file ("),
        (b"(400, 8, 8)", b"(400, 8, 8 ", "not a readable array file ("),  # numpy reads its header with the tokenizer
        (b"(400, 8, 8)", b"(400, 9, 8)", "not a readable array file ("),
        (bytes(200), bytes(199) + b"1", "not a readable array file (Bad CRC-32"),
    ],
)
def test_a_damaged_member_of_an_archive(find: bytes, change: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((400, 8, 8), np.uint8))
    data = path.read_bytes()
    assert find in data
    path.write_bytes(data.replace(find, change, 1))
    with refused(path, message):
        read_npz(path, Wanted())


def test_an_archive_packed_in_an_unknown_way(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=noise(4, 8, 8))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 10] = 77  # method of compression, as the table of contents has it
    path.write_bytes(data)
    with refused(path, "not a readable array file (That compression method is not supported"):
        read_npz(path, Wanted())


# ---------------------------------------------------------------------------------------------- folders


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    for number, name in enumerate(["dog/b.png", "cat/2.png", "dog/a.PNG", "cat/1.bmp", "ant/x.png"]):
        save(tmp_path / name, np.full((8, 8), number, np.uint8))
    for ignored in ("cat/notes.txt", "cat/._1.png", "LICENSE"):
        (tmp_path / ignored).write_text("no picture")
    (tmp_path / ".cache").mkdir()
    (read,) = read_folder(tmp_path, Wanted())
    assert read.images[:, 0, 0, 0].tolist() == [4, 3, 1, 2, 0]
    assert read.labels == ["ant", "cat", "cat", "dog", "dog"]


def test_a_folder_without_classes(tmp_path: Path) -> None:
    for name in "hbdfaecg":
        save(tmp_path / f"{name}.png", np.full((8, 8, 3), ord(name), np.uint8))
    (read,) = read_folder(tmp_path, Wanted())
    assert bytes(read.images[:, 2, 0, 0].tolist()) == b"abcdefgh"
    assert read.labels == []


def test_folders_that_hold_too_little(tmp_path: Path) -> None:
    with refused(tmp_path, "no picture in it (.bmp, .gif, "):
        read_folder(tmp_path, Wanted())
    save(tmp_path / "cat/a.png", noise(8, 8))
    with refused(tmp_path, "at least 2 pictures are needed, it has 1"):
        read_folder(tmp_path, Wanted())
    save(tmp_path / "cat/b.png", noise(8, 8))
    (tmp_path / "dog").mkdir()
    with refused(tmp_path / "dog", "no picture in it"):
        read_folder(tmp_path, Wanted())


def test_a_picture_beside_the_classes(tmp_path: Path) -> None:
    save(tmp_path / "cat/a.png", noise(8, 8))
    loose = save(tmp_path / "b.png", noise(8, 8))
    with refused(loose, "a picture without a class"):
        read_folder(tmp_path, Wanted())


def test_mixed_pictures_are_named_and_mended(tmp_path: Path) -> None:
    first = save(tmp_path / "a.png", noise(8, 8, 3))
    save(tmp_path / "b.png", noise(8, 8, 3))
    odd = save(tmp_path / "c.png", noise(9, 9, 3))
    with refused(odd, f"3 x 9 x 9, not like {first}"):
        read_folder(tmp_path, Wanted())
    assert read_folder(tmp_path, Wanted(16))[0].images.shape == (3, 3, 16, 16)
    save(odd, noise(8, 8))
    with refused(odd, f"1 x 8 x 8, not like {first}"):
        read_folder(tmp_path, Wanted())
    with refused(odd, "one channel where three are asked for"):
        read_folder(tmp_path, Wanted(0, 3))
    assert read_folder(tmp_path, Wanted(0, 1))[0].images.shape == (3, 1, 8, 8)


# ---------------------------------------------------------------------------------------------- pictures


def test_colours_stay_in_their_places(tmp_path: Path) -> None:
    values = noise(8, 12, 3)
    assert np.array_equal(read_picture(save(tmp_path / "a.png", values)).permute(1, 2, 0), values)
    assert np.array_equal(read_picture(save(tmp_path / "b.png", values[..., 0]))[0], values[..., 0])


def test_transparent_is_black(tmp_path: Path) -> None:
    values = np.full((2, 2, 4), 200, np.uint8)
    values[0, :, 3], values[1, :, 3] = 0, 255
    assert read_picture(save(tmp_path / "a.png", values))[:, :, 0].tolist() == [[0, 200]] * 3
    grey = Image.fromarray(np.full((2, 2), 200, np.uint8))
    grey.putalpha(Image.fromarray(values[..., 3]))
    grey.save(tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png").tolist() == [[[0, 0], [200, 200]]]


def test_palettes_and_bits(tmp_path: Path) -> None:
    values = np.kron(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8), np.ones((4, 4, 1), np.uint8))
    Image.fromarray(values).convert("P").save(tmp_path / "a.gif")
    assert np.array_equal(read_picture(tmp_path / "a.gif").permute(1, 2, 0), values)
    Image.fromarray(values[..., 0] > 0).save(tmp_path / "b.png")
    assert np.array_equal(read_picture(tmp_path / "b.png")[0], values[..., 0])


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn clockwise by a right angle
    values = np.zeros((8, 16), np.uint8)
    values[:, :8] = 255
    Image.fromarray(values).save(tmp_path / "a.jpg", exif=exif, quality=100)
    upright = read_picture(tmp_path / "a.jpg")
    assert upright.shape == (1, 16, 8)
    assert upright[0, :8].min() > 250
    assert upright[0, 8:].max() < 5


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.bmp"])
@pytest.mark.parametrize("damage", [lambda d: d[: len(d) // 2], lambda _: b"text", lambda _: b""])
def test_a_damaged_picture(damage: Callable[[bytes], bytes], name: str, tmp_path: Path) -> None:
    path = save(tmp_path / name, noise(40, 40, 3))
    path.write_bytes(damage(path.read_bytes()))
    with refused(path, "not a readable picture ("):
        read_picture(path)


@pytest.mark.parametrize("place", [36, 1000])  # the length of a chunk, its data
def test_a_picture_with_a_flipped_byte(place: int, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", noise(40, 40, 3))
    data = bytearray(path.read_bytes())
    data[place] ^= 255
    path.write_bytes(data)
    with refused(path, "not a readable picture ("):
        read_picture(path)


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", noise(8, 8).astype(np.uint16) * 256)
    with refused(path, "more than 8 bits a channel (mode I;16)"):
        read_picture(path)


# ---------------------------------------------------------------------------------------------- Hugging Face


class ClassLabel(types.SimpleNamespace):
    """As in the package: an id's name."""


class Rows:
    """As in the package: rows by number, columns by name; pictures are decoded when their row is asked for."""

    def __init__(self, names: tuple[str, ...] = (), **columns: list[object]) -> None:
        self.columns, self.column_names = columns, list(columns)
        self.features = {name: object() for name in columns} | ({"label": ClassLabel(names=names)} if names else {})

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: int | str) -> object:
        if isinstance(key, str):
            return self.columns[key]
        row = {name: values[key] for name, values in self.columns.items()}
        for value in row.values():
            if isinstance(value, Exception):
                raise value
        return row


def hub(monkeypatch: pytest.MonkeyPatch, load_dataset: object) -> None:
    module = types.SimpleNamespace(load_dataset=load_dataset, ClassLabel=ClassLabel) if load_dataset else None
    monkeypatch.setitem(sys.modules, "datasets", module)  # type: ignore[arg-type]


def drawn(*sides: int) -> list[object]:
    return [Image.fromarray(np.full((side, side, 3), number, np.uint8)) for number, side in enumerate(sides, 1)]


def test_the_hub_without_its_package_or_network(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, None)
    with refused("hf:owner/name", "needs the package datasets"):
        read_hub("owner/name", Columns(), Wanted())

    def load_dataset(*_: object, **__: object) -> object:
        raise ConnectionError("offline")

    hub(monkeypatch, load_dataset)
    with refused("hf:owner/name:train", "offline"):
        read_hub("owner/name", Columns(), Wanted())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("o/n", ("o/n", "valid")), ("o/n:test", ("o/n", "test")), ("n:train[:9]", ("n", "train[:9]"))],
)
def test_a_split_of_the_hub(name: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, split: str) -> Rows:
        asked.append((name, split))
        return Rows(image=drawn(8, 8), label=[1, 0])

    hub(monkeypatch, load_dataset)
    read = read_hub(name, Columns("valid"), Wanted())
    assert asked == [expected]
    assert read.place == f"hf:{expected[0]}:{expected[1]}"
    assert read.images[:, 0, 0, 0].tolist() == [1, 2]
    assert read.labels == [1, 0]


def test_classes_of_the_hub_by_name_and_other_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(
        monkeypatch, lambda name, split: Rows(("cat", "dog"), image=drawn(8, 8, 8), label=[1, 0, 1], img=drawn(9, 9, 9))
    )
    assert read_hub("x", Columns(), Wanted()).labels == ["dog", "cat", "dog"]
    other = read_hub("x", Columns(image="img", label=""), Wanted(8))
    assert other.labels == []
    assert other.images.shape == (3, 3, 8, 8)


@pytest.mark.parametrize(
    ("rows", "place", "message"),
    [
        (Rows(img=drawn(8, 8), label=[0, 1]), "", "no column 'image', but: img, label (--hub-image, --hub-label)"),
        (Rows(image=drawn(8, 8), fine=[0, 1]), "", "no column 'label', but: image, fine"),
        (Rows(image=[], label=[]), "", "at least 2 pictures are needed, it has 0"),
        (Rows(image=drawn(8, 8), label=[0, None]), ".label[1]", "None is no class"),
        (Rows(("a", "b"), image=drawn(8, 8), label=[-1, 0]), ".label[0]", "-1 is no class"),
        (Rows(image=drawn(8, 8), label=[0.5, 1]), ".label[0]", "0.5 is no class"),
        (Rows(image=drawn(8, 9), label=[0, 1]), "[1].image", "3 x 9 x 9, not like hf:x:train[0].image"),
        (Rows(image=[*drawn(8), "a.png"], label=[0, 1]), "[1].image", "no picture (str)"),
        (Rows(image=[*drawn(8), OSError("cut off")], label=[0, 1]), "[1].image", "cut off"),
    ],
)
def test_malformed_data_of_the_hub(rows: Rows, place: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, lambda name, split: rows)
    with refused(f"hf:x:train{place}", message):
        read_hub("x", Columns(), Wanted())
