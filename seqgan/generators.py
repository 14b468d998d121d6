"""Generators of sentences: one stepwise interface, so that whoever samples never knows which net it drives."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

State = tuple[Tensor, ...]  # rows in dimension 0


def fork_rows(state: State, rows: Int[Tensor, "new"]) -> State:
    """Append copies of `rows` after the rows that stand."""
    return tuple(torch.cat([part, part[rows]]) for part in state)


def shifted(tokens: Int[Tensor, "batch time"], start: int) -> Int[Tensor, "batch time"]:
    """Return what a generator reads when it is to say `tokens`: the start token, then all but the last."""
    return F.pad(tokens[:, :-1], (1, 0), value=start)


class LSTMGenerator(nn.Module):
    """An LSTM language model; with one layer, no dropout and 32/32 it is SeqGAN's (Yu et al. 2017, section 3).

    `end` is the token that ends a sentence and then fills its row; -1 where all sentences have one length. `prompt`
    counts the leading tokens of a row that are given and not said. `deviation` is the standard deviation of every
    initial weight, biases and embeddings included.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        embedding: int = 32,
        hidden: int = 32,
        layers: int = 1,
        dropout: float = 0.0,
        start: int = 0,
        end: int = -1,
        prompt: int = 0,
        deviation: float = 0.1,
    ) -> None:
        super().__init__()
        self.start, self.end, self.prompt = start, end, prompt
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, vocabulary)
        for weight in self.parameters():
            nn.init.normal_(weight, std=deviation)

    def init(self, rows: int) -> State:
        """Return the state before the first token: zeros [rows, layers, hidden], twice."""
        zeros = self.head.weight.new_zeros(rows, self.lstm.num_layers, self.lstm.hidden_size)
        return zeros, zeros

    def step(self, state: State, tokens: Int[Tensor, "rows"]) -> tuple[Float[Tensor, "rows hidden"], State]:
        """Read one token a row; return the features that predict the next."""
        return self.step_embedded(state, self.embedding(tokens))

    def step_embedded(
        self, state: State, embedded: Float[Tensor, "rows embedding"]
    ) -> tuple[Float[Tensor, "rows hidden"], State]:
        """Read what is already embedded, a token or a mixture of tokens."""
        before = tuple(part.transpose(0, 1).contiguous() for part in state)
        features, after = self.lstm(self.dropout(embedded)[:, None], before)
        return self.dropout(features[:, 0]), tuple(part.transpose(0, 1) for part in after)

    def fork(self, state: State, rows: Int[Tensor, "new"]) -> State:
        """Append copies of `rows` after the rows that stand."""
        return fork_rows(state, rows)

    def features(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time hidden"]:
        """Return the features that predict each token, teacher forced."""
        features, _ = self.lstm(self.dropout(self.embedding(shifted(tokens, self.start))))
        return self.dropout(features)


class TransformerGenerator(nn.Module):
    """A small causal transformer (pre-norm, learned positions) with a key-value cache.

    Every row of a state stands at the same position, so that the cache is rectangular and needs no mask.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        length: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
        start: int = 0,
        end: int = -1,
        prompt: int = 0,
    ) -> None:
        super().__init__()
        self.start, self.end, self.prompt, self.width, self.heads = start, end, prompt, width, heads
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, vocabulary)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=1 / math.sqrt(width))

    def init(self, rows: int) -> State:
        """Return an empty cache: keys and values [rows, heads, 0, width / heads] of every block."""
        empty = self.head.weight.new_zeros(rows, self.heads, 0, self.width // self.heads)
        return (empty,) * (2 * len(self.blocks))

    def step(self, state: State, tokens: Int[Tensor, "rows"]) -> tuple[Float[Tensor, "rows hidden"], State]:
        """Read one token a row; return the features that predict the next."""
        return self.step_embedded(state, self.embedding(tokens))

    def step_embedded(
        self, state: State, embedded: Float[Tensor, "rows embedding"]
    ) -> tuple[Float[Tensor, "rows hidden"], State]:
        """Read what is already embedded, a token or a mixture of tokens."""
        x = embedded[:, None] + self.positions.weight[state[0].shape[2]]
        caches: list[Tensor] = []
        for block, keys, values in zip(self.blocks, state[::2], state[1::2], strict=True):
            x, keys, values = block(x, keys, values)
            caches += [keys, values]
        return self.norm(x[:, 0]), tuple(caches)

    def fork(self, state: State, rows: Int[Tensor, "new"]) -> State:
        """Append copies of `rows` after the rows that stand."""
        return fork_rows(state, rows)

    def features(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time hidden"]:
        """Return the features that predict each token, teacher forced."""
        x = self.embedding(shifted(tokens, self.start)) + self.positions.weight[: tokens.shape[1]]
        x = self.dropout(x)
        empty = self.init(len(tokens))[0]
        for block in self.blocks:
            x, _, _ = block(x, empty, empty)
        return self.norm(x)


class Block(nn.Module):
    """Attention and a feed-forward layer, each on a normalised residual."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_forward = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.forward_up, self.forward_down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend from x [rows, time, width] to the cache and itself; return x and the longer cache.

        `seen` [rows, 1, time, cache + time] says which keys each place sees. Without it: causal where x holds many
        tokens (the cache is then empty); one token sees all that stands before it.
        """
        rows, time, width = x.shape
        fresh = self.query_key_value(self.norm_attention(x)).view(rows, time, 3, self.heads, width // self.heads)
        query, key, value = fresh.permute(2, 0, 3, 1, 4)
        keys, values = torch.cat([keys.to(key), key], 2), torch.cat([values.to(value), value], 2)
        causal = seen is None and time > 1
        found = F.scaled_dot_product_attention(query, keys, values, attn_mask=seen, is_causal=causal)
        x = x + self.dropout(self.project(found.transpose(1, 2).reshape(rows, time, width)))
        x = x + self.dropout(self.forward_down(F.gelu(self.forward_up(self.norm_forward(x)))))
        return x, keys, values


Generator = LSTMGenerator | TransformerGenerator


@torch.no_grad()
def sharpen(generator: Generator, inverse_temperature: float) -> None:
    """Multiply the logits by an inverse temperature for good."""
    for weight in generator.head.parameters():
        weight.mul_(inverse_temperature)


def build_generator(
    kind: Literal["lstm", "transformer"],
    vocabulary: int,
    length: int,
    *,
    embedding: int,
    hidden: int,
    layers: int,
    dropout: float,
    end: int,
    prompt: int = 0,
) -> Generator:
    """Return the generator that a run's numbers ask for; a transformer's width is `hidden`."""
    if kind == "lstm":
        return LSTMGenerator(
            vocabulary, embedding=embedding, hidden=hidden, layers=layers, dropout=dropout, end=end, prompt=prompt
        )
    return TransformerGenerator(
        vocabulary, length=length, width=hidden, layers=layers, dropout=dropout, end=end, prompt=prompt
    )
