"""Rollouts of a transformer, of all prefixes or of prompts: keys and values of what rollouts share stand once.

The sentences are read in ONE pass: the trunk. Prefixes are taken in spans of a few neighbours. The rollouts of a span
read the trunk up to the span's first place, where it stands, and have columns of their own from there on, which for a
longer prefix of the span begin with copies of the trunk's. So nothing is read twice, nothing is copied as it grows, and
all rows stand at the same place. A span is rolled out to the end before the next begins: memory holds one span's
columns, and its rows stay in the cache of a CPU from one product to the next.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.discriminator import evaluating
from seqgan.causal_lm import CausalLM, kept
from seqgan.sampling import Sampler, held
from seqgan.shared_attention import Columns, KeysValues, sharing

ROWS = {"cpu": 1024, "cuda": 32768, "mps": 4096}  # that stand at once: a CPU's products stay in its cache
SPAN = 8  # neighbouring prefixes that have columns of their own from the same place on


class Trunk:
    """What all rollouts of some sentences share: one pass over [start | tokens], the last token unread."""

    def __init__(self, policy: CausalLM, tokens: Int[Tensor, "sentences time"]) -> None:
        cache = kept([])
        self.tokens, self.read = tokens, policy.reads(tokens)[0]
        self.features: Float[Tensor, "sentences time hidden"] = policy.forced(tokens, cache).last_hidden_state
        self.layers = tuple((layer.keys, layer.values) for layer in cache.layers)
        self.unread = (~self.read).sum(1)

    def columns(self, places: int, width: int, rows: int, memory: "Memory") -> Columns:
        """Return the first `places` of the trunk, and `width` columns of each row's own, written into `memory`."""
        shared = tuple((keys[:, :, :places], values[:, :, :places]) for keys, values in self.layers)
        own = memory.like(self.layers, rows, width)
        seen = self.read[:, :places]
        return Columns(shared, own, seen, masked=not bool(seen.all()))


class Memory:
    """Room for the columns of one span after another: fresh pages for each cost a CPU 6 % of all its time."""

    def __init__(self) -> None:
        self.flat: list[Tensor] = []

    def like(self, layers: tuple[KeysValues, ...], rows: int, width: int) -> tuple[KeysValues, ...]:
        """Return keys and values [rows, groups, width, size] for every layer; they stand until the next call."""
        parts = [part for layer in layers for part in layer]
        shapes = [(rows, part.shape[1], width, part.shape[3]) for part in parts]
        if not self.flat or any(len(flat) < math.prod(shape) for flat, shape in zip(self.flat, shapes, strict=True)):
            self.flat = [part.new_empty(math.prod(shape)) for part, shape in zip(parts, shapes, strict=True)]
        views = [flat[: math.prod(shape)].view(shape) for flat, shape in zip(self.flat, shapes, strict=True)]
        return tuple(zip(views[::2], views[1::2], strict=True))


@torch.no_grad()
def complete(
    policy: CausalLM, tokens: Int[Tensor, "batch time"], samples: int, *, max_rows: int = 0
) -> Int[Tensor, "prefixes batch samples time"]:
    """Return `samples` completions of every proper prefix of every sentence, as `seqgan.sampling.complete`; no dropout.

    A prefix that ends inside the prompt, or after the sentence's end, is answered by the sentence itself. Memory:
    `max_rows` rollouts stand at once (0: as many as are fast here), with their own columns. Raises ValueError for a
    model whose attention cannot share.
    """
    length = tokens.shape[1]
    completions = tokens[None, :, None].repeat(max(length - 1, 0), 1, samples, 1)
    sampler, memory = Sampler(policy.head), Memory()
    open_until = ends(tokens, policy.end, policy.prompt)
    group, span = sizes(len(tokens), samples, max_rows or ROWS[tokens.device.type])
    with evaluating(policy):
        for some in open_until.argsort().split(group):  # sentences of like length, so that their prefixes end together
            trunk = Trunk(policy, tokens[some])
            last = min(length - 1, int(open_until[some].max()))
            for first in range(policy.prompt, last, span):
                prefixes = range(first, min(first + span, last))
                said = roll_out(policy, trunk, prefixes, samples, length, sampler, memory)
                completions[first : prefixes.stop, some] = said.transpose(1, 2)
    return completions


@torch.no_grad()
def speak(
    policy: CausalLM,
    prompts: Int[Tensor, "prompts prompt"],
    samples: int,
    length: int,
    *,
    inverse_temperature: float = 1.0,
    max_rows: int = 0,
) -> Int[Tensor, "prompts samples length"]:
    """Return `samples` rows [prompt | said] of `length` tokens for every prompt; a prompt is read once; no dropout."""
    if prompts.shape[1] != policy.prompt:
        raise ValueError(f"prompts of {prompts.shape[1]} columns, the policy's have {policy.prompt}")
    group = max(1, (max_rows or ROWS[prompts.device.type]) // samples)
    sampler, memory = Sampler(policy.head, inverse_temperature=inverse_temperature), Memory()
    prefix = range(policy.prompt - 1, policy.prompt)
    said = []
    with evaluating(policy):
        for some in prompts.split(group):
            trunk = Trunk(policy, torch.cat([some, some.new_full((len(some), 1), policy.pad)], 1))
            said.append(roll_out(policy, trunk, prefix, samples, length, sampler, memory)[0].transpose(0, 1))
    return torch.cat(said)


def roll_out(
    policy: CausalLM, trunk: Trunk, prefixes: range, samples: int, length: int, sampler: Sampler, memory: Memory
) -> Int[Tensor, "prefixes samples sentences length"]:
    """Complete neighbouring prefixes, p keeping the first p + 1 tokens. Rows: [prefix, sample, sentence]."""
    sentences, copies = len(trunk.tokens), len(prefixes) * samples
    known = min(prefixes.stop, trunk.tokens.shape[1])
    said = trunk.tokens.new_empty(len(prefixes), samples, sentences, length)
    said[..., :known] = trunk.tokens[:, :known]
    draws = sampler(trunk.features[:, prefixes.start + 1 : prefixes.stop + 1].transpose(0, 1).flatten(0, 1), samples)
    for row, prefix, drawn in zip(said, prefixes, draws.view(len(prefixes), sentences, samples), strict=True):
        before = trunk.tokens[:, prefix] if prefix >= policy.prompt else torch.full_like(trunk.unread, -1)
        row[..., prefix + 1] = held(drawn.t(), before, policy.end)
    shared = prefixes.start + 2
    columns = trunk.columns(shared, length - shared, copies * sentences, memory)
    inherit(columns.own, trunk, prefixes, samples)
    rows, unread = said.view(-1, length), trunk.unread.repeat(copies)
    with sharing(policy.decoder):
        for place in range(shared, length):
            active = min(place - shared + 1, len(prefixes)) * samples * sentences
            read, columns.active = rows[:active, place - 1], active
            features = step(policy, columns, read, place - unread[:active])
            rows[:active, place] = held(sampler(features)[:, 0], read, policy.end)
            if bool((rows[:, place] == policy.end).all()):
                rows[:, place + 1 :] = policy.end
                break
    return said


def step(
    policy: CausalLM, columns: Columns, read: Int[Tensor, "rows"], position: Int[Tensor, "rows"]
) -> Float[Tensor, "rows hidden"]:
    """Read one token a row into the columns; return the features that predict the next."""
    output = policy.decoder(
        input_ids=read[:, None],
        position_ids=position[:, None],
        past_key_values=columns,
        use_cache=True,
        columns=columns,
    )
    columns.finish()
    return output.last_hidden_state[:, 0]


def inherit(own: tuple[KeysValues, ...], trunk: Trunk, prefixes: range, samples: int) -> None:
    """Let the longer prefixes of a span begin with the trunk's columns."""
    sentences, shared = len(trunk.tokens), prefixes.start + 2
    for part, whole in zip(
        (p for layer in own for p in layer), (p for layer in trunk.layers for p in layer), strict=True
    ):
        columns = part.view(len(prefixes), samples, sentences, *part.shape[1:])
        for number in range(1, len(prefixes)):
            columns[number, ..., :number, :] = whole[:, :, shared : shared + number]


def sizes(sentences: int, samples: int, max_rows: int) -> tuple[int, int]:
    """Return how many sentences, and how many neighbouring prefixes of each, are completed at once."""
    group = max(1, min(sentences, max_rows // (samples * SPAN)))
    return group, max(1, max_rows // (samples * group))


def ends(tokens: Int[Tensor, "batch time"], end: int, prompt: int) -> Int[Tensor, "batch"]:
    """Return the place of each sentence's first end after the prompt; the length where there is none."""
    length = tokens.shape[1]
    places = torch.arange(length, device=tokens.device)
    return torch.where((tokens == end) & (places >= prompt) & (end >= 0), places, length).amin(1)
