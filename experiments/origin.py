"""What a checkpoint belongs to: the variant and the data; that of another run is refused."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from rl.runtime import InputError, checkpoints


class Origin:
    """The variant, where the data came from, and the SHA-256 of what was read; part of a checkpoint."""

    def __init__(self, variant: str, source: str, data: Iterable[Tensor], words: Iterable[str] = ()) -> None:
        digest = hashlib.sha256("\n".join(words).encode())
        for tensor in data:
            digest.update(f"\n{tuple(tensor.shape)}\n".encode() + tensor.numpy().tobytes())
        self.variant, self.source, self.sha256 = variant, source, digest.hexdigest()

    def state_dict(self) -> dict[str, str]:
        """Return the variant and the SHA-256."""
        return {"variant": self.variant, "sha256": self.sha256}

    def load_state_dict(self, state: dict[str, str]) -> None:
        """Raise InputError unless they are this run's."""
        if state["variant"] != self.variant:
            raise InputError(f"a checkpoint of {state['variant']}, the run is one of {self.variant}")
        if state["sha256"] != self.sha256:
            raise InputError(f"{self.source} has changed since this checkpoint")


def check_start(start: Path | None, origin: Origin) -> None:
    """Raise InputError where the run of `--start-from` learned from other data."""
    if start and checkpoints.load(checkpoints.newest(start))["origin"]["sha256"] != origin.sha256:
        raise InputError(f"--start-from {start}: learned from other data than {origin.source}")
