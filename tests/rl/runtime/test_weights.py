from pathlib import Path

import pytest
import torch

from rl.runtime.weights import digest, keep, kept

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2])}


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    path = tmp_path / "new" / "w.safetensors"
    assert kept(path) == {}
    keep(WEIGHTS, path)
    found = kept(path)
    assert digest(found) == digest(WEIGHTS)
    assert torch.equal(found["a"], WEIGHTS["a"])
    assert [file.name for file in path.parent.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("place", [-1, -20, 0])
def test_a_damaged_file_is_as_none(tmp_path: Path, place: int) -> None:
    path = tmp_path / "w.safetensors"
    keep(WEIGHTS, path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert kept(path) == {}
    path.write_bytes(data[:-5])
    assert kept(path) == {}


def test_the_hash_knows_names_types_shapes_and_values() -> None:
    a = torch.zeros(2, 3)
    others = [{"b": a}, {"a": a.int()}, {"a": a.T.contiguous()}, {"a": a + 1}, {"a": a, "b": a}]
    assert len({digest(weights) for weights in [{"a": a}, *others]}) == 6
    assert digest({"a": a, "b": a + 1}) == digest({"b": a + 1, "a": a})
    assert digest({"a": a.T}) == digest({"a": a.T.contiguous()})
