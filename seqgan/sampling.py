"""Speaking: whole sentences, and all rollouts of all prefixes in one sweep."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rl.inverse_cdf import draw_by_blocks
from rl.policies import SequencePolicy
from seqgan.generators import State

SPEAKERS = 1280  # rows that speak at once: enough to fill a matrix product, few enough for the cache
SWEEP_ROWS = 32768  # rollouts that stand at once
BLANK = -1  # a place where the policy is to speak


class Sampler:
    """Draws tokens from softmax(inverse_temperature * head(features)), exactly, in blocks of about sqrt(V) tokens.

    First a block by its mass, then a token inside the block: two short searches instead of one pass over the
    vocabulary. A token of probability zero is never drawn. The logits of `chunk` rows stand in memory at a time, in two
    buffers that are used again; the projection has the dtype of the features.
    """

    def __init__(self, head: nn.Linear, *, inverse_temperature: float = 1.0) -> None:
        self.vocabulary = head.out_features
        self.block = math.isqrt(self.vocabulary - 1) + 1
        self.blocks = -(-self.vocabulary // self.block)
        width = self.block * self.blocks
        # the bias is one more column, against a feature of one: added apart it costs as much as the product itself
        weight = torch.cat([head.weight.detach(), head.bias.detach()[:, None]], 1) * inverse_temperature
        self.weight = F.pad(weight, (0, 0, 0, width - self.vocabulary))
        self.weight[self.vocabulary :, -1] = -torch.inf
        self.chunk = 128 if weight.device.type == "cpu" else max(128, (1 << 28) // width)
        self.logits = self.probabilities = weight.new_empty(0, width)

    def __call__(self, features: Float[Tensor, "rows hidden"], draws: int = 1) -> Int[Tensor, "rows draws"]:
        """Return `draws` independent tokens for each row."""
        if self.weight.dtype != features.dtype:
            self.weight = self.weight.to(features.dtype)
        rows = min(self.chunk, len(features))
        if len(self.logits) < rows or self.logits.dtype != features.dtype:
            self.logits = features.new_empty(rows, len(self.weight))
            self.probabilities = self.logits.new_empty(self.logits.shape, dtype=torch.float32)
        return torch.cat([self.draw(part, draws) for part in features.split(self.chunk)])

    def draw(self, features: Float[Tensor, "chunk hidden"], draws: int) -> Int[Tensor, "chunk draws"]:
        """Draw for the rows of one chunk."""
        rows = len(features)
        logits, p = self.logits[:rows], self.probabilities[:rows]
        torch.mm(F.pad(features, (0, 1), value=1.0), self.weight.t(), out=logits)
        torch.softmax(logits, -1, dtype=torch.float32, out=p)
        return draw_by_blocks(p.view(rows, self.blocks, self.block), draws)


def blank_rows(rows: int, length: int) -> Int[Tensor, "rows length"]:
    """Return rows of which nothing is given."""
    return torch.full((rows, length), BLANK)


@torch.no_grad()
def speak(
    policy: SequencePolicy[State],
    rows: int,
    length: int,
    *,
    inverse_temperature: float = 1.0,
    given: Int[Tensor, "rows length"] | None = None,
) -> Int[Tensor, "rows length"]:
    """Return `rows` sentences of `length` tokens drawn from the policy; what follows an end token is the end token.

    `given` holds tokens that are read, not drawn, and BLANK elsewhere; without it all is drawn. An end token in front
    of all blanks fills up a prompt, and ends nothing.
    """
    sampler = Sampler(policy.head, inverse_temperature=inverse_temperature)
    tokens = torch.empty(rows, length, dtype=torch.long, device=policy.head.weight.device)
    forced = blank_rows(rows, length).to(tokens) if given is None else given
    for part, known in zip(tokens.split(SPEAKERS), forced.split(SPEAKERS), strict=True):
        state, said = policy.init(len(part)), part.new_full((len(part),), policy.start)
        spoken = begun(known)
        for time in range(length):
            features, state = policy.step(state, said)
            drawn = sampler(features)[:, 0]
            drawn = held(drawn, said.where(spoken[:, time - 1], -1), policy.end) if time else drawn
            said = torch.where(known[:, time] == BLANK, drawn, known[:, time])
            part[:, time] = said
    return tokens


@torch.no_grad()
def complete(
    policy: SequencePolicy[State], tokens: Int[Tensor, "batch time"], samples: int, *, max_rows: int = SWEEP_ROWS
) -> Int[Tensor, "prefixes batch samples time"]:
    """Return `samples` completions of every proper prefix of every sentence: [p, b, n] keeps the first p + 1 tokens.

    One sweep of `time` policy steps. The sentences themselves are the trunk, read token by token; at each position the
    trunk's state is forked into the rollouts of the prefix that ends there, and these join the running batch. All rows
    always stand at the same position; no prefix is read twice. The first token of a prefix's rollouts is drawn from one
    shared distribution.

    Memory: at most `max_rows` rollouts stand at once (the sentences are taken in groups), with their states and one
    chunk of logits; the result itself is prefixes * batch * samples * time integers.
    """
    group = max(1, max_rows // max(1, samples * (tokens.shape[1] - 1)))
    sampler = Sampler(policy.head)
    return torch.cat([sweep(policy, part, samples, sampler) for part in tokens.split(group)], 1)


def sweep(
    policy: SequencePolicy[State], tokens: Int[Tensor, "batch time"], samples: int, sampler: Sampler
) -> Int[Tensor, "prefixes batch samples time"]:
    """Complete one group of sentences. Rows of the batch: the trunk, then the rollouts [prefix, sentence, sample]."""
    batch, length = tokens.shape
    completions = tokens[None, :, None].repeat(max(length - 1, 0), 1, samples, 1)
    if length < 2:
        return completions
    fork = torch.arange(batch, device=tokens.device).repeat_interleave(samples)
    _, state = policy.step(policy.init(batch), tokens.new_full((batch,), policy.start))
    features, state = policy.step(state, tokens[:, 0])
    for time in range(1, length):
        older, younger = completions[: time - 1], completions[time - 1]
        older[..., time] = held(sampler(features[batch:]).view(older.shape[:3]), older[..., time - 1], policy.end)
        younger[..., time] = held(sampler(features[:batch], samples), younger[..., time - 1], policy.end)
        if time < length - 1:
            state = policy.fork(state, fork)
            said = torch.cat([tokens[:, time], completions[:time, ..., time].reshape(-1)])
            features, state = policy.step(state, said)
    return completions


def begun(given: Int[Tensor, "rows length"]) -> Bool[Tensor, "rows length"]:
    """Return which places stand at or behind a row's first blank."""
    return (given == BLANK).cumsum(1) > 0


def held(drawn: Int[Tensor, "*rows"], before: Int[Tensor, "*rows"], end: int) -> Int[Tensor, "*rows"]:
    """Keep a sentence that has ended at its end token."""
    return drawn if end < 0 else drawn.masked_fill(before == end, end)
