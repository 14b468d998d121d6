"""What runs of a second share: a home without a past, and a classifier of the digits that is barely trained."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from image_gans.data import load
from image_gans.metrics import features


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A run sets how many threads its process has."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept for later runs is kept in an empty folder; processes find it there too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that classifier; processes find it there too."""
    folder = tmp_path_factory.mktemp("cache")
    data = load("digits")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(features, "STEPS", 100)
        features.net_for(*data.train, data.classes, folder)
    return folder
