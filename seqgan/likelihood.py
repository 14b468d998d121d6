"""Log-probabilities of sentences under a generator, and the loss of maximum likelihood."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from rl.discriminator import evaluating
from seqgan.generators import Generator
from seqgan.kernels import linear_nll

ROWS = 500  # sentences scored at once where no gradient is wanted


def counted(tokens: Int[Tensor, "batch time"], end: int) -> Bool[Tensor, "batch time"]:
    """Return which tokens were said: all up to the first end token, that one included."""
    ended = (tokens == end).cumsum(1) if end >= 0 else torch.zeros_like(tokens)
    return F.pad(ended[:, :-1], (1, 0)) == 0


def action_log_probs(generator: Generator, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
    """Return the log-probability of every token of the vocabulary at every place, in float32."""
    return generator.head(generator.features(tokens)).float().log_softmax(-1)


def token_log_probs(generator: Generator, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    """Return the log-probability of every token given those before it."""
    return action_log_probs(generator, tokens).gather(2, tokens[..., None])[..., 0]


@torch.no_grad()
def nll(generator: Generator, tokens: Int[Tensor, "sentences time"]) -> float:
    """Return the mean negative log-likelihood, nats per token that was said; dropout off."""
    with evaluating(generator):
        total = sum(
            -(token_log_probs(generator, part).double() * counted(part, generator.end)).sum().item()
            for part in tokens.split(ROWS)
        )
    return total / counted(tokens, generator.end).sum().item()


def mle_loss(generator: Generator, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood of the tokens that were said, nats per token."""
    features = generator.features(tokens).flatten(0, 1)
    mask = counted(tokens, generator.end).flatten()
    targets, scales = tokens.flatten(), mask.float() / mask.sum()
    if features.device.type == "cpu" and features.dtype == torch.float32:
        return linear_nll(features, generator.head.weight, generator.head.bias, targets, scales)
    losses = F.cross_entropy(generator.head(features).float(), targets, reduction="none")
    return (losses * scales).sum()  # autocast would take `losses @ scales` in bfloat16
