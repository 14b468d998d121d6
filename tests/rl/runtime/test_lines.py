"""Lines of text files with their places, and one line for what cannot be read."""

import gzip

import pytest

from rl.runtime.errors import InputError
from rl.runtime.lines import numbered_lines


def test_places_count_from_one(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\n\n three \n".encode())
    expected = [(f"{path}:1", "one"), (f"{path}:2", ""), (f"{path}:3", " three ")]
    assert numbered_lines(path) == expected
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    assert numbered_lines(packed) == [(place.replace("a.txt", "a.gz"), line) for place, line in expected]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", ": nothing in it"),
        ("a.txt", b"one\nt\xffo\n", ":2:2: not UTF-8 (byte 0xff)"),
        ("a.gz", b"plain", ": damaged gzip file (Not a gzipped file (b'pl'))"),
        ("a.gz", gzip.compress(b"one\n" * 99, mtime=0)[:-9], ": damaged gzip file (Compressed file ended before"),
    ],
)
def test_what_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        numbered_lines(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}{message}")


def test_what_is_no_file(tmp_path):
    with pytest.raises(InputError, match=r"missing: no such file$"):
        numbered_lines(tmp_path / "missing")
    with pytest.raises(InputError, match=r": Is a directory$"):
        numbered_lines(tmp_path)
