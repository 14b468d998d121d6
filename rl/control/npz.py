"""Arrays in a .npz file: read with one line for whatever is wrong, written with the same bytes every time."""

import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from rl.runtime.errors import InputError, one_line


def read(path: Path, required: Iterable[str]) -> dict[str, np.ndarray]:
    """Read every array; raise InputError naming the file for what is no .npz, holds pickles, or lacks a key."""
    try:
        with path.open("rb") as handle:  # numpy leaves a file open that it cannot read
            file = np.load(handle, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: one array, not a .npz of several")
            arrays = dict(file)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError) as error:
        raise InputError(f"{path}: no readable .npz file ({one_line(error)})") from None
    if missing := sorted(set(required) - set(arrays)):
        raise InputError(f"{path}: {', '.join(missing)}: missing (there: {', '.join(sorted(arrays)) or 'nothing'})")
    return arrays


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write beside the file and rename: equal arrays give equal bytes, and no half a file is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(beside, "w") as file:
            for name, array in arrays.items():
                entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                with file.open(entry, "w", force_zip64=True) as handle:
                    np.lib.format.write_array(handle, np.asarray(array), allow_pickle=False)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
