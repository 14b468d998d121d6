"""What is measured of painted pictures and points: everything once, beside the same of real ones."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from image_gans.data import Data
from image_gans.metrics.feature_nets import Net
from image_gans.metrics.features import net_for
from image_gans.metrics.inception import inception_score
from image_gans.metrics.kernel import kernel_distance
from image_gans.metrics.modes import class_modes, modes, stacked_modes
from image_gans.metrics.neighbours import Neighbours, memorisation, nearest, precision_recall
from image_gans.points import MIXTURES
from image_gans.samples import Labels
from rl.frechet import frechet_distance
from rl.runtime import InputError

LIMIT = 10_000  # training pictures that fakes are compared with as a set
NEIGHBOURS = 3
SEED = 0


def itself(net: Net) -> Net:
    """Return the net."""
    return net


class Reference:
    """What painted samples are measured against: the data's real ones, seen once.

    Trains the classifier, or takes it from the folder `cache`; it sees on `device`. `see` may put other features in
    place of the classifier's: `lambda own: Beside(Inception(path), own)`. Raises InputError for too few test pictures.
    """

    def __init__(self, data: Data, cache: Path, device: torch.device, see: Callable[[Net], Net] = itself) -> None:
        self.data = data
        self.against = Points(data) if data.kind == "points" else Pictures(data, cache, device, see)

    def measure(self, painted: Tensor, asked: Labels | None = None) -> dict[str, float]:
        """Measure samples as they would be stored; `asked` are the classes that they should be of, if any.

        Pictures: `fid`, `kid`, `precision`, `recall`, `density`, `coverage` of the first `fid_samples` of them against
        `fid_reference` of train; `nearest_train`, `memorised`; with classes `inception_score`, `modes` and
        `class_entropy` (`mode_kl` for stacked pictures), and `class_accuracy` if asked.
        Points: `modes`, `high_quality`, `reverse_kl`, and `class_accuracy` if asked.
        """
        found, seen = self.against.measure(painted)
        if asked is None:
            return found
        return found | {"class_accuracy": float((seen == asked.cpu()).double().mean())}

    def real(self, samples: int) -> dict[str, float]:
        """Measure real ones instead: so many of the test set, drawn at random, or all of it."""
        images, labels = self.data.test
        rows = some(len(images), samples)
        return self.measure(images[rows], labels[rows] if self.data.classes else None)

    def classify(self, samples: Tensor) -> Labels:
        """Tell the class that each looks most like: bytes, or numbers from -1 to 1, or points."""
        return self.against.classify(samples)

    def nearest(self, samples: Tensor) -> Neighbours:
        """Find the training sample that each is nearest to, in the features compared: its distance and its row."""
        return nearest(self.against.features(samples), self.against.train)

    @property
    def features(self) -> str:
        """Name the features, with the hash of the net's weights: numbers of other features are other numbers."""
        return self.against.name


class Points:
    """A mixture whose modes are known."""

    def __init__(self, data: Data) -> None:
        self.mixture, self.train, self.name = MIXTURES[data.name](), data.train.images, "coordinates"

    def features(self, samples: Tensor) -> Tensor:
        """Give the points themselves."""
        return samples

    def measure(self, painted: Tensor) -> tuple[dict[str, float], Labels]:
        """Count modes; tell which is nearest to each point."""
        return modes(painted, self.mixture.centres, self.mixture.sd), self.classify(painted)

    def classify(self, samples: Tensor) -> Labels:
        """Tell the nearest mode."""
        return nearest(samples, self.mixture.centres.to(samples)).index


class Pictures:
    """The features of real pictures."""

    def __init__(self, data: Data, cache: Path, device: torch.device, see: Callable[[Net], Net]) -> None:
        images, labels = data.train
        fewest = min(len(images), len(data.test.images))
        if fewest <= NEIGHBOURS:
            raise InputError(
                f"{data.name}: measuring needs more than {NEIGHBOURS} pictures of train and of test: {fewest}"
            )
        self.net = see(net_for(images, labels, data.classes, cache, stacked=data.stacked)).to(device)
        self.name = f"{self.net.name} sha256:{self.net.sha256[:16]}"
        self.count = stacked_modes if data.stacked else class_modes
        self.train, test = self.net.features(images), self.net.features(data.test.images)
        self.some = self.train[some(len(images), LIMIT)]
        self.rows = len(test)  # as many fakes at most, so that fid and fid_real have the same bias
        self.test: Neighbours = nearest(test, self.train)

    def features(self, samples: Tensor) -> Tensor:
        """Give the net's features."""
        return self.net.features(samples)

    def measure(self, painted: Tensor) -> tuple[dict[str, float], Labels]:
        """Compare features, count classes; tell the class seen in each picture."""
        features, logits = self.net.both(painted)
        compared = features[: self.rows]
        found = {
            "fid": frechet_distance(compared, self.some),
            "kid": kernel_distance(compared, self.some),
            **precision_recall(self.some, compared, NEIGHBOURS),
            **memorisation(nearest(features, self.train), self.test),
            "fid_samples": len(compared),
            "fid_reference": len(self.some),
        }
        if not self.net.classes:
            return found, torch.zeros(len(painted), dtype=torch.int64)
        seen = logits.argmax(1)
        return found | {"inception_score": inception_score(logits)} | self.count(seen, self.net.classes), seen

    def classify(self, samples: Tensor) -> Labels:
        """Tell the class that the classifier sees."""
        return self.net.classify(samples)


def some(rows: int, limit: int) -> Tensor:
    """Draw so many of the rows, always the same; all of them, if there are no more."""
    return torch.randperm(rows, generator=torch.Generator().manual_seed(SEED))[:limit]
