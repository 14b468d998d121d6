"""Which features the pictures of a data set are compared in; a distance in other features is another number.

Inception's weights are a download, and know photographs. Here a small classifier learns the run's own data: by a fixed
recipe and seed, once, kept under the hash of both. Its `name` and `sha256` belong beside every number that it gave:
another processor, or number of threads, rounds otherwise and may arrive at other weights.
"""

import hashlib
from pathlib import Path

import torch
from torch.nn import functional as F

from image_gans.metrics.feature_nets import SEED, Classifier, Images, Net, RandomConv, Stacked
from image_gans.samples import Labels, as_floats
from rl.runtime import seeded
from rl.runtime.shuffled import Shuffled
from rl.runtime.weights import keep, kept

RECIPE = "1"  # another recipe, another version: what was kept of the old one is then not found
STEPS, BATCH, RATE = 1_200, 128, 3e-3
SCALED_BY = 10_000  # pictures, at most, whose mean and spread become 0 and 1


def net_for(images: Images, labels: Labels, classes: int, cache: Path, *, stacked: bool = False) -> Net:
    """Return the net for a training set: a classifier, one of single channels for stacked pictures, else RandomConv."""
    if not classes:
        net = RandomConv(tuple(images.shape[1:]))
        fit(net, images)
        return net.requires_grad_(False)
    if not stacked:
        return classifier_for(images, labels, classes, cache)
    channels = images.shape[1]
    base = round(classes ** (1 / channels))
    digits = torch.stack([labels // base**place % base for place in reversed(range(channels))], 1)
    single = classifier_for(images.flatten(0, 1)[:, None], digits.flatten(), base, cache)
    return Stacked(single, channels)


def classifier_for(images: Images, labels: Labels, classes: int, cache: Path) -> Classifier:
    """Return the classifier of a training set: kept in the folder `cache` once it is trained.

    A damaged file is as none. Raises ValueError unless there is one label for each picture.
    """
    if len(images) != len(labels) or not len(images):
        raise ValueError(f"{len(images)} pictures and {len(labels)} labels")
    path = cache / f"classifier-{fingerprint(images, labels, classes)[:16]}.safetensors"
    with seeded(SEED):
        net = Classifier(tuple(images.shape[1:]), classes)
    if weights := kept(path):
        net.load_state_dict(weights)
    else:
        train(net, images, labels)
        fit(net, images)
        keep(net.state_dict(), path)
    return net.requires_grad_(False)


def train(net: Classifier, images: Images, labels: Labels) -> None:
    """Follow the recipe: cross-entropy, Adam, one cycle of the rate, batches in an order of its own."""
    order = Shuffled(len(images), BATCH, seed=SEED)
    optimizer = torch.optim.Adam(net.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    with torch.enable_grad():
        for _ in range(STEPS):
            rows = next(order)
            loss = F.cross_entropy(net(as_floats(images[rows])).logits, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()


def fit(net: Classifier | RandomConv, images: Images) -> None:
    """Standardise the features over these pictures, or over as many of them as give mean and spread well enough."""
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(SEED))[:SCALED_BY]
    net.standard.fit(net.features(images[rows]))


def fingerprint(images: Images, labels: Labels, classes: int) -> str:
    """SHA-256 of the recipe and all that it is applied to."""
    hashed = hashlib.sha256(f"{RECIPE} {classes} {tuple(images.shape)}\n".encode())
    for tensor in (images, labels):
        hashed.update(tensor.contiguous().numpy())
    return hashed.hexdigest()
