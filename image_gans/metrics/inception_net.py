"""Inception's features, of which published FIDs are made: for who has the weights; no part of a default run."""

from pathlib import Path

from image_gans.metrics.feature_nets import Net, Views
from image_gans.samples import Pictures, as_bytes
from rl.runtime import InputError

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"


class Inception(Net):
    """Inception v3 as in TensorFlow's FID: 2,048 features, logits of ImageNet's classes without their bias.

    Needs the package torch-fidelity and a file of its weights. Raises InputError without either.
    """

    chunk = 50

    def __init__(self, weights: Path) -> None:
        super().__init__("inception-v3-compat-2048", 0)
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise InputError("inception: torch-fidelity is not installed: pip install torch-fidelity") from error
        if not weights.is_file():
            raise InputError(f"{weights}: no such file; torch-fidelity's releases have it as {WEIGHTS}")
        self.extractor = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
        )

    def forward(self, x: Pictures) -> Views:
        """See one batch; one channel is three alike."""
        return Views(*self.extractor(as_bytes(x).expand(-1, 3, -1, -1)))


class Beside(Net):
    """The features of one net beside the classes of another."""

    def __init__(self, features: Net, classifier: Net) -> None:
        super().__init__(features.name, classifier.classes)
        self.seen_by, self.told_by = features, classifier
        self.chunk = min(features.chunk, classifier.chunk)

    def forward(self, x: Pictures) -> Views:
        """See one batch."""
        return Views(self.seen_by(x).features, self.told_by(x).logits)
