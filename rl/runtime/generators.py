"""The random generators of a process, as tensors: torch's on the CPU and on the device, numpy's, Python's."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from rl.runtime.errors import warn


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from `seed` inside, and leave torch's generators outside as they were: measuring never changes training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def state(device: torch.device) -> dict[str, Tensor]:
    """Return what `restore` needs; an empty tensor stands for a spare normal number or a device generator not held."""
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)
    version, numbers, spare = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        device.type: _device_state(device),
        "numpy": torch.tensor([*numpy["state"]["key"].tolist(), numpy["state"]["pos"]]),
        "numpy_spare": torch.tensor([numpy["gauss"]] if numpy["has_gauss"] else [], dtype=torch.float64),
        "python": torch.tensor([version, *numbers]),
        "python_spare": torch.tensor([] if spare is None else [spare], dtype=torch.float64),
    }


def restore(saved: Mapping[str, Tensor], device: torch.device) -> None:
    """Set the generators; warn if the state was saved on another kind of device."""
    torch.set_rng_state(saved["torch"])
    *keys, place = saved["numpy"].tolist()
    gauss = saved["numpy_spare"].tolist()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), place, len(gauss), gauss[0] if gauss else 0.0))
    version, *numbers = saved["python"].tolist()
    spare = saved["python_spare"].tolist()
    random.setstate((version, tuple(numbers), spare[0] if spare else None))
    if device.type not in saved:
        warn(f"the run was on another kind of device than {device.type}: it will not repeat bit by bit")
    elif device.type == "cuda":
        torch.cuda.set_rng_state(saved["cuda"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(saved["mps"])


def _device_state(device: torch.device) -> Tensor:
    match device.type:
        case "cuda":
            return torch.cuda.get_rng_state(device)
        case "mps":
            return torch.mps.get_rng_state()
    return torch.empty(0, dtype=torch.uint8)
