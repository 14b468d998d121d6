"""Judging the completions of a sweep: the convolutions become sums of table rows, shared prefixes are judged once."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from rl.discriminator import evaluating
from seqgan.discriminators import ConvDiscriminator

HEAD_ROWS = 256  # rows that pass the highway at once: they stay in the cache


def judge_completions(
    discriminator: ConvDiscriminator,
    tokens: Int[Tensor, "batch time"],
    completions: Int[Tensor, "prefixes batch samples time"],
    *,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[Float[Tensor, "batch"], Float[Tensor, "prefixes batch samples"]]:
    """Return the logits of the sentences and of their completions, dropout off."""
    return score_completions(discriminator, discriminator.judge_pooled, tokens, completions, autocast=autocast)


@torch.no_grad()
def score_completions(
    discriminator: ConvDiscriminator,
    score_pooled: Callable[[Float[Tensor, "rows features"]], Float[Tensor, "rows *numbers"]],
    tokens: Int[Tensor, "batch time"],
    completions: Int[Tensor, "prefixes batch samples time"],
    *,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> tuple[Float[Tensor, "batch *numbers"], Float[Tensor, "prefixes batch samples *numbers"]]:
    """Return one or more numbers for each sentence and completion, a function of its pooled features; dropout off.

    For each filter width one table holds, for each place in the filter, the response to every word of the vocabulary;
    a window's response is then a sum of `width` table rows. A window that lies inside the prefix is the sentence's own:
    only windows that reach past the prefix are summed, and the maximum is taken with the running maximum of the
    sentence's windows before them. Equal to scoring every row by itself up to float32 rounding.

    Memory: one table (vocabulary * width * filters floats) and the pooled features of all rows.
    """
    prefixes, batch, samples, _ = completions.shape
    # one buffer for sentences and completions: the highway then runs over all rows in equal chunks
    pooled = torch.empty(batch * (1 + prefixes * samples), len(discriminator.bias), device=tokens.device)
    column = 0
    for width, weight in discriminator.filters():
        columns = pooled[:, column : column + len(weight)]
        pool_by_table(table(discriminator.embedding.weight, weight, width), width, tokens, completions, columns)
        column += len(weight)
    with evaluating(discriminator), autocast():
        scores = torch.cat([score_pooled(part) for part in pooled.split(HEAD_ROWS)]).float()
    return scores[:batch], scores[batch:].unflatten(0, (prefixes, batch, samples))


def table(
    embedding: Float[Tensor, "vocabulary size"], weight: Float[Tensor, "filters taps"], width: int
) -> Float[Tensor, "places_words filters"]:
    """Return row `place * vocabulary + word`: what the word adds to every filter's response at that place."""
    taps = weight.view(len(weight), width, -1).permute(1, 2, 0)
    return torch.matmul(embedding, taps).view(-1, len(weight))


def pool_by_table(
    rows: Float[Tensor, "places_words filters"],
    width: int,
    tokens: Int[Tensor, "batch time"],
    completions: Int[Tensor, "prefixes batch samples time"],
    pooled: Float[Tensor, "rows filters"],
) -> None:
    """Write one width's maxima over time: the sentences' first, then the completions' in their own order."""
    prefixes, batch, samples, _ = completions.shape
    offsets = torch.arange(width, dtype=torch.int32, device=tokens.device) * (len(rows) // width)

    def responses(sentences: Int[Tensor, "some time"]) -> Float[Tensor, "some windows filters"]:
        ids = sentences.unfold(1, width, 1) + offsets
        return F.embedding_bag(ids.reshape(-1, width), rows, mode="sum").view(len(ids), -1, rows.shape[1])

    running = responses(tokens.int()).cummax(1).values
    pooled[:batch] = running[:, -1]
    short = completions.int()
    for prefix in range(prefixes):
        first = max(0, prefix + 2 - width)  # the first window that reaches past the prefix + 1 kept tokens
        best = responses(short[prefix, :, :, first:].reshape(batch * samples, -1)).amax(1)
        if first > 0:
            before = running[:, first - 1].repeat_interleave(samples, 0)
            best = torch.maximum(best, before)
        start = batch * (1 + prefix * samples)
        pooled[start : start + batch * samples] = best
