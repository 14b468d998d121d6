"""Imitation on a GPU: every generator trains, whatever of it lives on which device."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from experiments import gail
from tests.experiments import toys
from tests.experiments.helpers import GAIL_TINY, rows, succeed

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture(autouse=True)
def toy_environment() -> Iterator[None]:
    with toys.registered():
        yield


@pytest.mark.parametrize("acts", ["numbers", "choice"])
@pytest.mark.parametrize("variant", ["gail", "gail-trpo", "airl", "dac", "sqil", "bc"])
def test_every_generator_trains_on_a_gpu(tmp_path: Path, variant: str, acts: str) -> None:
    flags = [variant, *GAIL_TINY, *toys.toy(tmp_path, acts=acts), "--runtime.device", "cuda"]
    flags += ["--steps", "0", "--clone-updates", "20"] if variant == "bc" else []
    succeed(gail.main, *flags, "--run-dir", tmp_path / "run")
    assert all(value is not None for value in rows(tmp_path / "run")[-1].values())
