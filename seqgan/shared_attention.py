"""One row of keys and values read by many: attention to a shared trunk and to columns of one's own, in one softmax."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AttentionInterface, Cache

from rl.discriminator import full_precision

ATTENTION = "sparring_shared_prefix"  # by this name transformers finds `attend`
KeysValues = tuple[Float[Tensor, "rows groups columns size"], Float[Tensor, "rows groups columns size"]]
HARMLESS = ("position_ids", "use_cache", "output_attentions", "is_causal", "cache_position")  # what `attend` may ignore


class Columns(Cache):
    """Keys and values of rows [copy, sentence]: `trunk` for each sentence and layer, `own` for each row and layer.

    `filled` own columns are read; those of this step are written behind them, for the first `active` rows. `seen` says
    which places of the trunk are no padding, and `masked` whether any is.
    """

    def __init__(
        self,
        trunk: tuple[KeysValues, ...],
        own: tuple[KeysValues, ...],
        seen: Bool[Tensor, "sentences places"],
        *,
        masked: bool,
    ) -> None:
        super().__init__(layers=[])
        self.trunk, self.own, self.seen, self.masked = trunk, own, seen, masked
        self.active = self.filled = self.attended = 0

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many places a row has read."""
        return self.seen.shape[1] + self.filled

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> KeysValues:
        """Write this step's keys and values; return those of the rows' own columns so far, where they stand."""
        keys, values = (part[: self.active, :, : self.filled + 1] for part in self.own[layer_idx])
        keys[:, :, -1], values[:, :, -1] = key_states[:, :, 0], value_states[:, :, 0]
        return keys, values

    def finish(self) -> None:
        """Go on to the next column; raise ValueError where a layer attended without its trunk."""
        if self.attended != len(self.own):
            raise ValueError(f"{self.attended} of {len(self.own)} layers share prefixes; use seqgan.sampling.complete")
        self.filled, self.attended = self.filled + 1, 0


def attend(
    module: nn.Module,
    query: Float[Tensor, "rows heads 1 size"],
    key: Float[Tensor, "rows groups columns size"],
    value: Float[Tensor, "rows groups columns size"],
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    *,
    columns: Columns,
    **kwargs: Any,
) -> tuple[Float[Tensor, "rows 1 heads size"], None]:
    """Attend to the shared trunk and to own columns under one softmax; an attention function of transformers.

    Raises ValueError for a model whose attention asks for more (sinks, capped scores, a window shorter than the rows).
    """
    outside = sliding_window is not None and sliding_window <= columns.get_seq_length()
    for name, asked in {**kwargs, "sliding_window": sliding_window if outside else None}.items():
        if asked is not None and name not in HARMLESS:
            raise ValueError(f"attention with {name} cannot share prefixes; use seqgan.sampling.complete")
    columns.attended += 1
    trunk_keys, trunk_values = (part.flatten(0, 1) for part in columns.trunk[module.layer_idx])
    rows, heads, _, size = query.shape
    groups, places = key.shape[1], trunk_keys.shape[1]
    # rows are [copy, sentence], so all copies of a sentence, head by head, are one batch [sentence and group, copy]
    copies, batch = rows // len(columns.seen), len(trunk_keys)
    query = query.reshape(copies, batch, heads // groups, size) * scaling
    shared = query.transpose(0, 1).reshape(batch, -1, size) @ trunk_keys.transpose(1, 2)
    own = query.flatten(0, 1) @ key.flatten(0, 1).transpose(1, 2)
    scores = torch.cat(
        [shared.view(batch, copies, -1, places), own.view(copies, batch, -1, key.shape[2]).transpose(0, 1)], -1
    )
    if columns.masked:
        unseen = ~columns.seen.repeat_interleave(groups, 0)[:, None, None]
        scores[..., :places].masked_fill_(unseen, -torch.inf)
    weights = full_precision(scores).softmax(-1).to(value.dtype)
    found = weights[..., places:].transpose(0, 1).reshape(rows * groups, -1, key.shape[2]) @ value.flatten(0, 1)
    shared = weights[..., :places].flatten(1, 2) @ trunk_values
    found.view(copies, batch, -1, size).add_(shared.view(batch, copies, -1, size).transpose(0, 1))
    return found.view(rows, 1, heads, size), None


@contextmanager
def sharing(decoder: nn.Module) -> Iterator[None]:
    """Let a decoder attend by `attend` inside, wherever it is given Columns; other passes attend as they did."""
    config: Any = decoder.config
    usual = config._attn_implementation
    AttentionInterface.register(ATTENTION, attend)
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = usual
