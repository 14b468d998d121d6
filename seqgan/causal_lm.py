"""Any language model of transformers as a policy: rows [prompt | completion], left padding that changes nothing."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from rl.discriminator import evaluating, full_precision
from seqgan.generators import State, fork_rows, shifted

Rows = Int[Tensor, "batch time"]
Columns = Bool[Tensor, "batch columns"]
NOTHING = -1  # as `start`: the prompt's first word is the first that is read


class CausalLM(nn.Module):
    """A SequencePolicy around an AutoModelForCausalLM, bare or under a peft adapter; its weights are the model's.

    A row is [prompt | said]: `prompt` columns are given, filled up on the left with `pad`, the rest is said up to `end`
    and then filled with `end`; `pad` may be `end`. `start` is read before the prompt: in the place of its last pad, so
    that what stands before it is not attended to and moves no position, and left padding changes nothing. Where the
    model has no such token, `start` is NOTHING: no pad is read, and every prompt needs a word.

    A state is which columns were read [rows, columns], then keys and values of every layer [rows, heads, columns, d].
    Raises ValueError for a model whose logits are not linear in its last hidden state, or that has other states.
    """

    def __init__(self, model: nn.Module, *, end: int, pad: int, prompt: int = 0, start: int = NOTHING) -> None:
        super().__init__()
        if start == NOTHING and prompt == 0:
            raise ValueError("without a prompt there must be a start token")
        self.model: Any = model
        self.start, self.end, self.pad, self.prompt = start, end, pad, prompt
        self.starts = int(start != NOTHING)  # columns read before a prompt's first word
        self.head = OutputHead(self.model.get_output_embeddings())
        self.train(model.training)
        with evaluating(self):
            self._expect_policy()

    @property
    def decoder(self) -> nn.Module:
        """The model without its head."""
        decoder: nn.Module = self.model.get_decoder()
        return decoder

    def init(self, rows: int) -> State:
        """Return the state before anything was read."""
        return (torch.ones(rows, 0, dtype=torch.bool, device=self.head.weight.device),)

    def step(self, state: State, tokens: Int[Tensor, "rows"]) -> tuple[Float[Tensor, "rows hidden"], State]:
        """Read one token a row; return the features that predict the next."""
        before, *cached = state
        begins = self.begins(before, tokens)[:, None]
        earlier = before & ~begins  # who begins here forgets the start that stood before a pad
        read = torch.cat([earlier, ~begins | (self.starts > 0)], 1)
        cache = kept(cached)
        # what is not read sees at least itself: a row of nothing but masked keys is NaN in some kernels
        seen = torch.cat([earlier, torch.ones_like(begins)], 1)
        output = self.decoder(
            input_ids=torch.where(begins, self.first, tokens[:, None]),
            attention_mask=seen if self.prompt else None,
            position_ids=positions(read)[:, -1:],
            past_key_values=cache,
            use_cache=True,
        )
        return output.last_hidden_state[:, 0], (read, *parts(cache))

    def fork(self, state: State, rows: Int[Tensor, "new"]) -> State:
        """Append copies of `rows` after the rows that stand."""
        return fork_rows(state, rows)

    def features(self, tokens: Rows) -> Float[Tensor, "batch time hidden"]:
        """Return the features that predict each token, teacher forced."""
        features: Tensor = self.forced(tokens, None).last_hidden_state
        return features

    def forced(self, tokens: Rows, cache: Cache | None) -> Any:
        """Read the start and all tokens but the last in one pass, into `cache` if there is one."""
        read, begins = self.reads(tokens)
        return self.decoder(
            input_ids=shifted(tokens, self.first).masked_fill(begins, self.first),
            attention_mask=read if self.prompt else None,
            position_ids=positions(read) if self.prompt else None,
            past_key_values=cache,
            use_cache=cache is not None,
        )

    @property
    def first(self) -> int:
        """What stands where a row has not begun: the start, or any token where nothing is read there."""
        return self.pad if self.start == NOTHING else self.start

    def reads(self, tokens: Rows) -> tuple[Columns, Columns]:
        """Return which columns of [start | all tokens but the last] are read, and which stand before the first word."""
        given = tokens[:, : min(self.prompt, tokens.shape[1] - 1)]
        pads = (given == self.pad).cumprod(1).sum(1, keepdim=True)
        columns = torch.arange(tokens.shape[1], device=tokens.device)
        return columns > pads - self.starts, columns <= pads

    def begins(self, before: Columns, tokens: Int[Tensor, "rows"]) -> Bool[Tensor, "rows"]:
        """Return which rows have read no word yet, and read none now."""
        column = before.shape[1]
        if column == 0 or column > self.prompt:
            return torch.full_like(tokens, column == 0, dtype=torch.bool)
        return (tokens == self.pad) & (before.sum(1) <= self.starts)

    @torch.no_grad()
    def _expect_policy(self) -> None:
        """Read a row of three words in one pass, step by step, and padded: three times the same must come out."""
        words = torch.arange(3, device=self.head.weight.device)[None] % self.head.out_features
        kwargs = {"input_ids": words, "use_cache": False}
        whole = self.decoder(**kwargs).last_hidden_state
        _expect_equal(self.model(**kwargs).logits, self.head(whole), "its logits are not linear in its last features")
        cache = kept([])
        positions = torch.arange(3, device=words.device)[None]
        seen = torch.ones(1, 4, dtype=torch.bool, device=words.device)
        seen[:, 0] = False
        padded = self.decoder(
            input_ids=F.pad(words, (1, 0))[:, :3],
            attention_mask=seen[:, :3],
            position_ids=F.pad(positions, (1, 0))[:, :3],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        _expect_equal(whole[:, :2], padded[:, 1:], "left padding changes what it says")
        rest = self.decoder(
            input_ids=words[:, 2:],
            attention_mask=seen,
            position_ids=positions[:, 2:],
            past_key_values=kept(parts(cache)),
            use_cache=True,
        ).last_hidden_state
        _expect_equal(whole[:, 2:], rest, "its keys and values are not all of its state")


class OutputHead(nn.Linear):
    """A model's own projection to its vocabulary, with a bias of zeros where it has none; saved by the model alone.

    Raises ValueError for a head that is no plain linear layer (an adapter on it, quantised weights).
    """

    def __init__(self, projection: nn.Module) -> None:
        if type(projection) is not nn.Linear:
            raise ValueError(f"the head is {type(projection).__name__}, not a plain linear layer")
        super().__init__(projection.in_features, projection.out_features, bias=False, device="meta")
        self.weight = projection.weight
        if projection.bias is None:
            del self._parameters["bias"]
            zeros = torch.zeros(self.out_features, dtype=self.weight.dtype, device=self.weight.device)
            self.register_buffer("bias", zeros, persistent=False)
        else:
            self.bias = projection.bias

    def _save_to_state_dict(self, *args: Any) -> None:
        """Save nothing."""

    def _load_from_state_dict(self, *args: Any) -> None:
        """Load nothing."""


def positions(read: Columns) -> Int[Tensor, "batch columns"]:
    """Return how many columns were read before each; 0 where none was."""
    return (read.cumsum(1) - 1).clamp(min=0)


def kept(parts: list[Tensor] | State) -> DynamicCache:
    """Return a cache that holds keys and values, layer by layer, and copies nothing before it grows."""
    cache = DynamicCache()
    for keys, values in zip(parts[::2], parts[1::2], strict=True):
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache


def parts(cache: DynamicCache) -> State:
    """Return the keys and values of every layer."""
    return tuple(part for layer in cache.layers for part in (layer.keys, layer.values))


def _expect_equal(expected: Tensor, found: Tensor, otherwise: str) -> None:
    tolerance = 1e-4 if expected.dtype in (torch.float32, torch.float64) else 5e-2
    scale = full_precision(expected).abs().max().item()
    if not torch.allclose(full_precision(expected), full_precision(found), rtol=0, atol=tolerance * max(scale, 1e-6)):
        raise ValueError(f"the model cannot be a policy: {otherwise}")
