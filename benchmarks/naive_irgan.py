"""IRGAN's item recommendation written the plain way, as its released code goes: what we are measured against.

One user at a time draws negatives with numpy from the softmax over all items; the rows of a text file, 16 pairs in a
batch, teach the discriminator by autograd; each user is an update of the generator, with three passes through the
networks. The released code runs TensorFlow 1 graphs in the same loops.
"""

import linecache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from rl.retrieval.scorers import Factors

PAIRS = 16
DECAY = 0.1 / PAIRS

Liked = dict[int, list[int]]


def scores(model: Factors, user: int) -> Float[Tensor, "items"]:
    """Score all items for a user."""
    return (model.users[user] * model.items).sum(1) + model.bias


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities."""
    weights = np.exp(logits.astype(np.float64))
    return np.asarray(weights / weights.sum())


def write_negatives(generator: Factors, liked: Liked, path: Path, temperature: float = 0.2) -> None:
    """Write a line `user positive negative` for each positive."""
    lines = []
    for user, positives in liked.items():
        with torch.no_grad():
            p = softmax(scores(generator, user).numpy() / temperature)
        drawn = np.random.choice(np.arange(len(p)), size=len(positives), p=p)
        lines += [f"{user}\t{real}\t{fake}" for real, fake in zip(positives, drawn, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    linecache.checkcache(str(path))


def read_batch(path: Path, first: int, count: int) -> tuple[list[int], list[int], list[float]]:
    """Read lines, counted from 1, as users, items and labels."""
    users, items, labels = [], [], []
    for number in range(first, first + count):
        user, real, fake = linecache.getline(str(path), number).split()
        users += [int(user), int(user)]
        items += [int(real), int(fake)]
        labels += [1.0, 0.0]
    return users, items, labels


def teach(model: Factors, users: list[int], items: list[int], labels: list[float], rate: float) -> None:
    """Do one update of the discriminator; its L2 term is added to every loss before they are summed."""
    at, of = torch.tensor(users), torch.tensor(items)
    u, v, b = model.users[at], model.items[of], model.bias[of]
    losses = F.binary_cross_entropy_with_logits((u * v).sum(1) + b, torch.tensor(labels).to(b), reduction="none")
    squares = (u.square().sum() + v.square().sum() + b.square().sum()) / 2
    step(model, (losses + DECAY * squares).sum(), rate)


def discriminator_epoch(model: Factors, path: Path, rows: int, rate: float = 1e-3) -> None:
    """Read the file once."""
    for first in range(1, rows + 1, PAIRS):
        teach(model, *read_batch(path, first, min(PAIRS, rows - first + 1)), rate)


def improve(
    generator: Factors, discriminator: Factors, user: int, positives: list[int], rate: float, share: float = 0.2
) -> None:
    """Do one user's update of the generator."""
    with torch.no_grad():
        p = softmax(scores(generator, user).numpy())
    proposal = (1 - share) * p
    proposal[positives] += share / len(positives)
    drawn = np.random.choice(np.arange(len(p)), 2 * len(positives), p=proposal)
    with torch.no_grad():
        judged = scores(discriminator, user)[torch.from_numpy(drawn)]
        rewards = 2 * (judged.sigmoid() - 0.5) * torch.from_numpy(p[drawn] / proposal[drawn])
    chosen = scores(generator, user).log_softmax(0)[torch.from_numpy(drawn)]
    step(generator, -(chosen * rewards.to(chosen)).mean(), rate)


def generator_epoch(generator: Factors, discriminator: Factors, liked: Liked, rate: float = 1e-2) -> None:
    """Update once for every user."""
    for user, positives in liked.items():
        improve(generator, discriminator, user, positives, rate)


def step(model: Factors, loss: Tensor, rate: float) -> None:
    """Go down the gradient."""
    weights = list(model.parameters())
    gradients = torch.autograd.grad(loss, weights)
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            weight -= rate * gradient
