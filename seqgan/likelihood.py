"""Log-probabilities of sentences under a generator, and the loss of maximum likelihood."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rl.discriminator import evaluating
from seqgan.generators import Generator
from seqgan.kernels import ROWS, linear_nll

SENTENCES = 500  # whose features stand at once where no gradient is wanted


def counted(tokens: Int[Tensor, "batch time"], end: int, prompt: int = 0) -> Bool[Tensor, "batch time"]:
    """Return which tokens were said: after the prompt's columns all up to the first end token, that one included."""
    said = torch.ones_like(tokens, dtype=torch.bool)
    said[:, :prompt] = False
    ended = ((tokens == end) & said).cumsum(1) if end >= 0 else torch.zeros_like(tokens)
    return said & (F.pad(ended[:, :-1], (1, 0)) == 0)


def action_log_probs(generator: Generator, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
    """Return the log-probability of every token of the vocabulary at every place, in float32."""
    return generator.head(generator.features(tokens)).float().log_softmax(-1)


@torch.no_grad()
def token_log_probs(generator: Generator, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    """Return the log-probability of every token that was said, given those before it, and zero for all others.

    No gradient, dropout off. The logits of a few tokens stand in memory at a time, in the cache of a CPU.
    """
    scored = torch.zeros(tokens.shape, device=tokens.device)
    with evaluating(generator):
        for part, scores in zip(tokens.split(SENTENCES), scored.split(SENTENCES), strict=True):
            said = counted(part, generator.end, generator.prompt)
            features, targets = generator.features(part)[said], part[said]
            chunk = ROWS if features.device.type == "cpu" else max(1, len(features))
            found = []
            for some, told in zip(features.split(chunk), targets.split(chunk), strict=True):
                logits = generator.head(some).float()
                found.append(logits.gather(1, told[:, None])[:, 0] - logits.logsumexp(-1))
            scores[said] = torch.cat(found)
    return scored


def nll(generator: Generator, tokens: Int[Tensor, "sentences time"]) -> float:
    """Return the mean negative log-likelihood, nats per token that was said; dropout off."""
    return -token_log_probs(generator, tokens)[counted(tokens, generator.end, generator.prompt)].double().mean().item()


def mle_loss(generator: Generator, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood of the tokens that were said, nats per token."""
    said = counted(tokens, generator.end, generator.prompt)
    return mean_nll(generator.head, generator.features(tokens)[said], tokens[said])  # what was not said costs no logits


def mean_nll(
    head: nn.Linear, features: Float[Tensor, "tokens hidden"], targets: Int[Tensor, "tokens"]
) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood of tokens, each predicted from its features; nats per token."""
    scales = torch.full_like(targets, 1 / len(targets), dtype=torch.float32)
    if features.device.type == "cpu" and features.dtype == torch.float32:
        return linear_nll(features, head.weight, head.bias, targets, scales)
    losses = F.cross_entropy(head(features).float(), targets, reduction="none")
    return (losses * scales).sum()  # autocast would take `losses @ scales` in bfloat16
