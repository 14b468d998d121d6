"""What is measured of painted pictures and points: everything once, beside the same of real ones."""

from pathlib import Path

import torch
from torch import Tensor

from image_gans.data import Data
from image_gans.metrics.features import net_for
from image_gans.metrics.frechet import frechet_distance
from image_gans.metrics.inception import inception_score
from image_gans.metrics.kernel import kernel_distance
from image_gans.metrics.modes import class_modes, modes, stacked_modes
from image_gans.metrics.neighbours import Neighbours, memorisation, nearest, precision_recall
from image_gans.points import MIXTURES
from image_gans.samples import Labels

LIMIT = 10_000  # training pictures that fakes are compared with as a set
SEED = 0


class Reference:
    """What painted samples are measured against: the data's real ones, seen once.

    Builds the classifier, or takes it from the folder `cache`; it sees on `device`.
    """

    def __init__(self, data: Data, cache: Path, device: torch.device) -> None:
        self.data = data
        self.against = Points(data) if data.kind == "points" else Pictures(data, cache, device)

    def measure(self, painted: Tensor, asked: Labels | None = None) -> dict[str, float]:
        """Measure samples as they would be stored; `asked` are the classes that they should be of, if any.

        Pictures: `fid`, `kid`, `precision`, `recall`, `density`, `coverage` of the first `fid_samples` of them against
        `fid_reference` of train; `nearest_train`, `memorised`; with classes `inception_score`, `modes` and
        `class_entropy` (`mode_kl` for stacked pictures), and `class_accuracy` if asked.
        Points: `modes`, `high_quality`, `reverse_kl`, and `class_accuracy` if asked.
        """
        found = self.against.measure(painted)
        if asked is None:
            return found
        return found | {"class_accuracy": float((self.classify(painted).cpu() == asked.cpu()).double().mean())}

    def real(self, samples: int) -> dict[str, float]:
        """Measure real ones instead: so many of the test set, drawn at random, or all of it."""
        images, labels = self.data.test
        rows = some(len(images), samples)
        return self.measure(images[rows], labels[rows] if self.data.classes else None)

    def classify(self, samples: Tensor) -> Labels:
        """Tell the class that each looks most like: bytes, or numbers from -1 to 1, or points."""
        return self.against.classify(samples)


class Points:
    """A mixture whose modes are known."""

    def __init__(self, data: Data) -> None:
        self.mixture = MIXTURES[data.name]()

    def measure(self, painted: Tensor) -> dict[str, float]:
        """Count modes."""
        return modes(painted, self.mixture.centres, self.mixture.sd)

    def classify(self, samples: Tensor) -> Labels:
        """Tell the nearest mode."""
        return nearest(samples, self.mixture.centres.to(samples)).index


class Pictures:
    """The features of real pictures."""

    def __init__(self, data: Data, cache: Path, device: torch.device) -> None:
        images, labels = data.train
        self.net = net_for(images, labels, data.classes, cache, stacked=data.stacked).to(device)
        self.count = stacked_modes if data.stacked else class_modes
        self.train, test = self.net.features(images), self.net.features(data.test.images)
        self.some = self.train[some(len(images), LIMIT)]
        self.rows = len(test)  # as many fakes at most, so that fid and fid_real have the same bias
        self.test: Neighbours = nearest(test, self.train)

    def measure(self, painted: Tensor) -> dict[str, float]:
        """Compare features, count classes."""
        features, logits = self.net.both(painted)
        compared = features[: self.rows]
        found = {
            "fid": frechet_distance(compared, self.some),
            "kid": kernel_distance(compared, self.some),
            **precision_recall(self.some, compared),
            **memorisation(nearest(features, self.train), self.test),
            "fid_samples": len(compared),
            "fid_reference": len(self.some),
        }
        if not self.net.classes:
            return found
        found["inception_score"] = inception_score(logits)
        return found | self.count(logits.argmax(1), self.net.classes)

    def classify(self, samples: Tensor) -> Labels:
        """Tell the class that the classifier sees."""
        return self.net.classify(samples)


def some(rows: int, limit: int) -> Tensor:
    """Draw so many of the rows, always the same; all of them, if there are no more."""
    return torch.randperm(rows, generator=torch.Generator().manual_seed(SEED))[:limit]
