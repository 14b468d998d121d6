import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rl.runtime import InputError
from seqgan.likelihood import nll, token_log_probs
from seqgan.oracle import draw_oracle, load_oracle
from seqgan.sampling import speak

PARAMETERS = Path(__file__).parents[3] / "shared" / "data" / "text" / "seqgan_oracle_params.npz"
Arrays = dict[str, np.ndarray]


def arrays(vocabulary: int = 7, embedding: int = 3, hidden: int = 4) -> Arrays:
    draw = np.random.default_rng(0).standard_normal
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (vocabulary, embedding),
        "W_out": (hidden, vocabulary),
        "b_out": (vocabulary,),
    }
    for gate in "ifoc":
        shapes |= {f"W_{gate}": (embedding, hidden), f"U_{gate}": (hidden, hidden), f"b_{gate}": (hidden,)}
    return {name: draw(shape) for name, shape in shapes.items()}


def numpy_log_probs(a: Arrays, sentence: list[int]) -> list[float]:
    """The paper's cell, written out: input, forget, output gate, candidate; row vectors from the left."""

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    h = c = np.zeros(len(a["b_i"]))
    said, log_probs = 0, []
    for token in sentence:
        x = a["embedding"][said]
        i, f, o = (sigmoid(x @ a[f"W_{g}"] + h @ a[f"U_{g}"] + a[f"b_{g}"]) for g in "ifo")
        c = f * c + i * np.tanh(x @ a["W_c"] + h @ a["U_c"] + a["b_c"])
        h = o * np.tanh(c)
        logits = h @ a["W_out"] + a["b_out"]
        log_probs.append(logits[token] - np.log(np.exp(logits).sum()))
        said = token
    return log_probs


def test_a_loaded_oracle_is_the_lstm_of_its_file(tmp_path: Path) -> None:
    stored = arrays()
    np.savez(tmp_path / "oracle.npz", **stored)
    oracle = load_oracle(tmp_path / "oracle.npz")
    assert not oracle.training
    assert not any(weight.requires_grad for weight in oracle.parameters())
    assert (oracle.start, oracle.end) == (0, -1)
    sentences = [[3, 1, 6, 0, 2], [0, 0, 5, 4, 4]]
    ours = token_log_probs(oracle, torch.tensor(sentences))
    torch.testing.assert_close(ours, torch.tensor([numpy_log_probs(stored, s) for s in sentences], dtype=torch.float32))


def without(name: str) -> Callable[[Arrays], Arrays]:
    return lambda a: {key: value for key, value in a.items() if key != name}


def with_(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda a: a | {name: change(a[name])}


def holed(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array.flat[-1] = value
        return array

    return change


@pytest.mark.parametrize(
    ("change", "place", "reason"),
    [
        (without("U_f"), "U_f", "array missing"),
        (without("embedding"), "embedding", "array missing"),
        (with_("b_o", lambda a: a[:-1]), "b_o", r"shape \(3,\), expected \(4,\)"),
        (with_("W_out", lambda a: a.T), "W_out", r"shape \(7, 4\), expected \(4, 7\)"),
        (with_("U_c", lambda a: a[:, :2]), "U_c", "shape"),
        (with_("embedding", lambda a: a[0]), "embedding", "expected 2 dimensions"),
        (with_("b_i", lambda a: a[:, None]), "b_i", "expected 1 dimensions"),
        (with_("b_i", lambda a: a[:0]), "b_i", "none empty"),
        (with_("W_i", lambda a: a.astype(np.int64)), "W_i", "int64 numbers, expected floats"),
        (with_("W_i", lambda a: a.astype(str)), "W_i", "expected floats"),
        (with_("b_out", holed(np.nan)), "b_out", "NaN"),
        (with_("U_o", holed(-np.inf)), "U_o", "infinity"),
    ],
)
def test_a_malformed_array_is_named(
    change: Callable[[Arrays], Arrays], place: str, reason: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "oracle.npz", **change(arrays()))
    with pytest.raises(InputError, match=rf"oracle\.npz:{place}: .*{reason}"):
        load_oracle(tmp_path / "oracle.npz")


def test_members_that_are_no_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "oracle.npz", "w") as file:
        for name in arrays():
            file.writestr(name, "text")
    with pytest.raises(InputError, match=r"oracle\.npz:embedding: .* expected floats"):
        load_oracle(tmp_path / "oracle.npz")


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "oracle.npz", **arrays() | {"b_f": np.array([{}] * 4)}, allow_pickle=True)
    with pytest.raises(InputError, match=r"oracle\.npz: not a readable"):
        load_oracle(tmp_path / "oracle.npz")


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:200] + bytes([data[200] ^ 255]) + data[201:]


@pytest.mark.parametrize("damage", [cut, flipped, lambda _: b"", lambda _: b"PK\x03\x04", lambda _: b"not an array"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file_is_named(save: Callable[..., None], damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "oracle.npz"
    save(path, **arrays())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"oracle\.npz: not a readable \.npz file"):
        load_oracle(path)


def test_no_file_a_folder_and_a_single_array(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.npz: no such file"):
        load_oracle(tmp_path / "absent.npz")
    with pytest.raises(InputError, match="not a readable"):
        load_oracle(tmp_path)
    np.save(tmp_path / "one.npy", np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"one\.npy: not a readable \.npz"):
        load_oracle(tmp_path / "one.npy")


def test_a_drawn_oracle_depends_on_its_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    oracles = [draw_oracle(50, seed=seed) for seed in (3, 3, 4)]
    assert torch.get_rng_state().equal(before)
    first, again, other = ([weight.flatten() for weight in oracle.parameters()] for oracle in oracles)
    assert torch.cat(first).equal(torch.cat(again))
    assert not torch.cat(first).equal(torch.cat(other))
    assert oracles[0].lstm.bias_hh_l0.eq(0).all()
    drawn = torch.cat(first)[torch.cat(first) != 0]
    # six standard errors of mean and deviation of N(0, 1)
    assert drawn.mean().item() == pytest.approx(0, abs=6 / len(drawn) ** 0.5)
    assert drawn.std().item() == pytest.approx(1, abs=6 / (2 * len(drawn)) ** 0.5)


@pytest.mark.skipif(not PARAMETERS.is_file(), reason="the paper's oracle is not beside this checkout")
def test_the_papers_oracle_speaks_at_its_floor() -> None:
    """Its negative log-likelihood on its own sentences, nats per token, over 20,000 of them."""
    oracle = load_oracle(PARAMETERS)
    torch.manual_seed(0)
    assert nll(oracle, speak(oracle, 20_000, 20)) == pytest.approx(5.755, abs=0.02)
