"""Nets that see pictures in features and classes: what distances between sets of pictures are measured in."""

from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from image_gans.samples import Labels, Pictures, as_floats
from rl.runtime import seeded
from rl.runtime.weights import digest

Images = UInt8[Tensor, "batch channels height width"]

SEED = 0
FEATURES, WIDTH, SIDE = 128, 24, 32


class Views(NamedTuple):
    """How a net sees pictures."""

    features: Float[Tensor, "batch features"]
    logits: Float[Tensor, "batch classes"]


class Net(nn.Module):
    """What all share: subclasses give the Views of one batch of numbers from -1 to 1.

    `classes` of the data are what the logits speak of; 0: the net knows none, its logits are of other classes or empty.
    """

    chunk = 500  # pictures at a time

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.name, self.classes = name, classes

    @torch.no_grad()
    def both(self, pictures: Images | Pictures) -> Views:
        """See any number of pictures, chunk by chunk, in evaluation mode and float32; the answer is on the CPU."""
        self.eval()
        device = next(self.parameters()).device
        with torch.autocast(device.type, enabled=False):
            views = [self(as_floats(chunk.to(device))) for chunk in pictures.split(self.chunk)]
        return Views(*(torch.cat(parts).float().cpu() for parts in zip(*views, strict=True)))

    def features(self, pictures: Images | Pictures) -> Float[Tensor, "batch features"]:
        """Give the features alone."""
        return self.both(pictures).features

    def logits(self, pictures: Images | Pictures) -> Float[Tensor, "batch classes"]:
        """Give the logits alone."""
        return self.both(pictures).logits

    def classify(self, pictures: Images | Pictures) -> Labels:
        """Give the class that each picture looks most like, on the pictures' device."""
        return self.logits(pictures).argmax(1).to(pictures.device)

    @property
    def sha256(self) -> str:
        """Identify the weights."""
        return digest(self.state_dict())


def trunk(shape: tuple[int, ...]) -> nn.Sequential:
    """Two convolutions, each halves the side, to FEATURES numbers; pictures wider than SIDE are first averaged down."""
    channels, side = shape[0], min(shape[-1], SIDE)
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(side),
        nn.Conv2d(channels, WIDTH, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(WIDTH, 2 * WIDTH, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * WIDTH * (side // 4) ** 2, FEATURES),
    )


class Standardised(nn.Module):
    """Shifts and scales each feature so that its mean is 0 and its spread 1 where it was fitted."""

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("spread", torch.ones(FEATURES))

    def fit(self, features: Float[Tensor, "batch features"]) -> None:
        """Take mean and spread from these."""
        spread, mean = torch.std_mean(features.double(), 0, correction=0)
        self.mean.copy_(mean)
        self.spread.copy_(spread.clamp_min(1e-3))  # a feature that never moved must not drown the others

    def forward(self, features: Float[Tensor, "batch features"]) -> Float[Tensor, "batch features"]:
        """Shift and scale."""
        return (features - self.mean) / self.spread


class Classifier(Net):
    """A small classifier; its features are the last hidden layer before the ReLU, of mean 0 and spread 1 on train."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(f"classifier-{FEATURES}", classes)
        self.trunk, self.head = trunk(shape), nn.Linear(FEATURES, classes)
        self.standard = Standardised()

    def forward(self, x: Pictures) -> Views:
        """See one batch."""
        hidden = self.trunk(x)
        return Views(self.standard(hidden), self.head(hidden.relu()))


class Stacked(Net):
    """A classifier of one channel on pictures of several: features side by side, logits of all classes together.

    Classes (a, b, c) of K are class a K^2 + b K + c, their log-probability the sum of the channels'.
    """

    def __init__(self, single: Classifier, channels: int) -> None:
        super().__init__(f"stacked-{single.name}", single.classes**channels)
        self.single = single

    def forward(self, x: Pictures) -> Views:
        """See one batch."""
        seen = [self.single(channel) for channel in x.split(1, dim=1)]
        logits = x.new_zeros(len(x), 1)
        for view in seen:
            logits = (logits[:, :, None] + view.logits.log_softmax(1)[:, None]).flatten(1)
        return Views(torch.cat([view.features for view in seen], 1), logits)


class RandomConv(Net):
    """Random convolutions from a fixed seed: features for pictures without classes, to compare runs with each other."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(f"random-conv-{FEATURES}", 0)
        with seeded(SEED):
            self.trunk = trunk(shape)
        self.standard = Standardised()

    def forward(self, x: Pictures) -> Views:
        """See one batch."""
        return Views(self.standard(self.trunk(x)), x.new_empty(len(x), 0))
