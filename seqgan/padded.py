"""Generators that read rows filled up on the left, one state after another; the filling changes nothing."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqgan.generators import LSTMGenerator, State, TransformerGenerator

Embedded = Float[Tensor, "rows time embedding"]
Words = Bool[Tensor, "rows read"]  # of all columns read so far and now: True from the first word on


def run_lstm(
    generator: LSTMGenerator, state: State, embedded: Embedded, words: Words
) -> tuple[Float[Tensor, "rows time hidden"], State]:
    """Read embeddings; a pad before the first word leaves the state as it was."""
    time = embedded.shape[1]
    before = tuple(part.transpose(0, 1).contiguous() for part in state)
    pads = (words.cumsum(1) == 0)[:, -time:].sum(1)
    embedded = generator.dropout(embedded)
    if not pads.any():
        features, after = generator.lstm(embedded, before)
    else:
        lengths = (time - pads).clamp(min=1)
        packed = pack_padded_sequence(rolled(embedded, pads), lengths.cpu(), batch_first=True, enforce_sorted=False)
        features, after = generator.lstm(packed, before)
        features = rolled(pad_packed_sequence(features, batch_first=True, total_length=time)[0], -pads)
    return generator.dropout(features), tuple(part.transpose(0, 1) for part in after)


def rolled(rows: Float[Tensor, "rows time size"], places: Int[Tensor, "rows"]) -> Float[Tensor, "rows time size"]:
    """Move every row to the left by its number of places; what falls out comes in on the right."""
    time = torch.arange(rows.shape[1], device=rows.device)
    from_where = (time + places[:, None]) % rows.shape[1]
    return rows.gather(1, from_where[..., None].expand_as(rows))


def run_transformer(
    generator: TransformerGenerator, state: State, embedded: Embedded, words: Words
) -> tuple[Float[Tensor, "rows time hidden"], State]:
    """Read embeddings; pads are not attended to and move no position."""
    time, read = embedded.shape[1], words.shape[1]
    positions = (words.cumsum(1) - 1).clamp(min=0)[:, -time:]
    if read > (limit := generator.positions.num_embeddings):
        raise ValueError(f"{read} tokens, the transformer has {limit} positions")
    x = generator.dropout(embedded + generator.positions(positions))
    places = torch.arange(read, device=words.device)
    causal = places[-time:, None] >= places
    # a pad sees at least itself: a row of nothing but masked keys is NaN in some kernels
    seen = causal & (words[:, None] | (places[-time:, None] == places))
    caches: list[Tensor] = []
    for block, keys, values in zip(generator.blocks, state[::2], state[1::2], strict=True):
        x, keys, values = block(x, keys, values, seen[:, None])
        caches += [keys, values]
    return generator.norm(x), tuple(caches)
