"""The oracle: a generator with fixed weights that stands for the truth, so that likelihoods can be measured."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from rl.runtime import InputError
from seqgan.generators import LSTMGenerator

GATES = ("i", "f", "c", "o")  # torch's order
# What numpy raises for a file that is cut short, damaged, of another kind, or packed in an unknown way.
UNREADABLE = (
    OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


def reason(error: BaseException) -> str:
    """Return why a file could not be read; where numpy would advise to unpickle it, without that advice."""
    if "pickle" in str(error):
        return "objects instead of numbers, or no array file at all"
    return str(getattr(error, "strerror", None) or error)


def draw_oracle(vocabulary: int, *, embedding: int = 32, hidden: int = 32, seed: int = 0) -> LSTMGenerator:
    """Return an oracle whose weights are drawn from N(0, 1), as the SeqGAN paper's were (section 5.1)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        oracle = LSTMGenerator(vocabulary, embedding=embedding, hidden=hidden, deviation=1.0)
    with torch.no_grad():
        oracle.lstm.bias_hh_l0.zero_()  # one bias a gate, as in the paper's cell
    return oracle.requires_grad_(False).eval()


def load_oracle(path: Path) -> LSTMGenerator:
    """Return the oracle of an `.npz` with the 15 arrays of the SeqGAN paper's own.

    `embedding` [V, E]; for each gate i, f, o, c: `W_` [E, H], `U_` [H, H], `b_` [H]; `W_out` [H, V], `b_out` [V];
    row vectors are multiplied from the left. Raises InputError naming the file and the array.
    """
    arrays = read_arrays(path)
    (vocabulary, embedding), hidden = arrays["embedding"].shape, len(arrays["b_i"])
    expected = {"embedding": (vocabulary, embedding), "W_out": (hidden, vocabulary), "b_out": (vocabulary,)}
    for gate in GATES:
        expected |= {f"W_{gate}": (embedding, hidden), f"U_{gate}": (hidden, hidden), f"b_{gate}": (hidden,)}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise InputError(f"{path}:{name}: shape {arrays[name].shape}, expected {shape}")

    def stacked(letter: str) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([arrays[f"{letter}_{gate}"] for gate in GATES], -1).T.copy())

    with torch.random.fork_rng(devices=[]):  # reading a file must not move anybody's draws
        oracle = LSTMGenerator(vocabulary, embedding=embedding, hidden=hidden)
    oracle.load_state_dict(
        {
            "embedding.weight": torch.from_numpy(arrays["embedding"]),
            "lstm.weight_ih_l0": stacked("W"),
            "lstm.weight_hh_l0": stacked("U"),
            "lstm.bias_ih_l0": stacked("b"),
            "lstm.bias_hh_l0": torch.zeros(4 * hidden),
            "head.weight": torch.from_numpy(arrays["W_out"].T.copy()),
            "head.bias": torch.from_numpy(arrays["b_out"]),
        }
    )
    return oracle.requires_grad_(False).eval()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the oracle's arrays as float32; raise InputError for what is missing, not numeric or not finite."""
    names = ["embedding", "W_out", "b_out"] + [f"{letter}_{gate}" for gate in GATES for letter in ("W", "U", "b")]
    dimensions = {"W": 2, "U": 2, "e": 2, "b": 1}
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            if missing:
                raise InputError(f"{path}:{missing[0]}: array missing (found {', '.join(file.files) or 'none'})")
            arrays = {name: np.asarray(file[name]) for name in names}  # a member that is no array comes as bytes
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable .npz file ({reason(error)})") from None
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.floating):
            raise InputError(f"{path}:{name}: {array.dtype} numbers, expected floats")
        if array.ndim != dimensions[name[0]] or 0 in array.shape:
            raise InputError(
                f"{path}:{name}: shape {array.shape}, expected {dimensions[name[0]]} dimensions, none empty"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{path}:{name}: holds NaN or infinity")
    return {name: array.astype(np.float32) for name, array in arrays.items()}
