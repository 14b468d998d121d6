"""Scorers that read: queries and documents as rows of word numbers, 1 for any unknown word, 0 filling up on the right.

A dual encoder codes each text by itself, so documents can be coded once; a cross-encoder reads both together, knows
more and costs a pass for every pair. Tokens are buffers that checkpoints leave out: they are data.
"""

from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from rl.discriminator import full_precision
from rl.retrieval.scorers import AllScores, Ids, Queries, Scores

Tokens = Int[Tensor, "texts length"]
Codes = Float[Tensor, "texts width"]
Weights = Float[Tensor, "words"]

HEADS = 4  # of attention; a width is a multiple of them


class TextEncoder(Protocol):
    """Codes rows of words; an `nn.Module`."""

    def __call__(self, tokens: Tokens, /) -> Codes:
        """Give one code for each text."""
        ...


class DualText(nn.Module):
    """One encoder for queries and documents, whose score is the inner product of their codes.

    A text that stands on several lists of a batch is coded once. `score_all` codes `chunk` documents at a time.
    """

    query_tokens: Tokens
    document_tokens: Tokens

    def __init__(self, encoder: nn.Module, query_tokens: Tokens, document_tokens: Tokens, chunk: int = 1024) -> None:
        super().__init__()
        self.encoder = encoder
        self.chunk = chunk
        self.register_buffer("query_tokens", query_tokens, persistent=False)
        self.register_buffer("document_tokens", document_tokens, persistent=False)

    def encode_query(self, query: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        """Code queries."""
        return self._encode(self.query_tokens, query)

    def encode_document(self, ids: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        """Code documents."""
        return self._encode(self.document_tokens, ids)

    def score(self, query: Queries, ids: Ids) -> Scores:
        """Score each query's own candidates."""
        return full_precision(torch.einsum("bd,bkd->bk", self.encode_query(query), self.encode_document(ids)))

    def score_all(self, query: Queries) -> AllScores:
        """Score every document."""
        every = torch.arange(len(self.document_tokens), device=query.device)
        codes = torch.cat([self._encode(self.document_tokens, ids) for ids in torch.split(every, self.chunk)])
        return full_precision(self.encode_query(query) @ codes.T)

    def _encode(self, tokens: Tokens, rows: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        different, places = torch.unique(rows, return_inverse=True)
        codes: Tensor = self.encoder(trimmed(tokens[different]))
        return codes[places]


def trimmed(tokens: Tokens) -> Tokens:
    """Cut off the columns that hold fillers alone; one column always stays."""
    length = int((tokens != 0).sum(1).max()) if len(tokens) else 0
    return tokens[:, : max(length, 1)]


class QACNN(nn.Module):
    """Convolutions over words, rectified, each filter's largest value: IRGAN's net (1705.10513, 4.3; Feng et al. 2015).

    Codes have length sqrt(scale), so that scores are `scale` times the cosine: `scale` turns cosines into nats.
    Windows reach over a text's end into fillers, which have a learned vector, and the last one holds fillers alone: so
    a text's code is the same however far it is filled up.
    """

    def __init__(
        self,
        words: int,
        width: int = 100,
        filters: int = 500,
        sizes: tuple[int, ...] = (1, 2, 3, 5),
        scale: float = 20.0,
    ) -> None:
        super().__init__()
        self.length = scale**0.5
        self.embedding = nn.Embedding(words, width)
        self.convolutions = nn.ModuleList(nn.Conv1d(width, filters, size) for size in sizes)
        self.reach = max(sizes)
        nn.init.uniform_(self.embedding.weight, -1.0, 1.0)

    def forward(self, tokens: Tokens) -> Codes:
        """Code texts: one number for each filter."""
        embedded = self.embedding(F.pad(tokens, (0, self.reach))).transpose(1, 2)
        largest = torch.cat([F.relu(convolution(embedded)).amax(-1) for convolution in self.convolutions], -1)
        codes: Tensor = self.length * F.normalize(largest, dim=-1)
        return codes


class WordTransformer(nn.Module):
    """A small transformer over words, summed by a weight for each word.

    Its layers begin as the identity and its word vectors as noise. So before any training the inner product of two
    codes is about `scale` times the summed importance of the words that both texts hold, as BM25 has it: a net for few
    texts begins at what they have in common. A cosine would begin worse, as it holds a long answer's length against it.
    `dropout` is the share of a text's words that are left out in training.
    """

    def __init__(
        self,
        importance: Weights,
        width: int,
        layers: int,
        heads: int = HEADS,
        *,
        dropout: float = 0.0,
        scale: float = 0.3,
        length: int = 512,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(importance), width)
        self.weights = nn.Parameter(importance.sqrt())
        self.positions = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.ModuleList(_block(width, heads) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.size = (scale / width) ** 0.5

    def forward(self, tokens: Tokens) -> Codes:
        """Code texts."""
        there = _there(tokens)
        hidden = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        for block in self.blocks:
            hidden = block(hidden, src_key_padding_mask=~there)
        weights = self.dropout(self.weights[tokens].masked_fill(tokens == 0, 0))
        codes: Tensor = self.size * torch.einsum("bt,btd->bd", weights, hidden)
        return codes


class CrossEncoder(nn.Module):
    """A transformer over [query | document] whose words know whether the other text holds them too.

    Exact matches are told it (Severyn and Moschitti 2016, 1604.01178, "overlap"), and the share of the query's weight
    that the document covers goes straight to the logit: a few hundred queries do not teach a net to compare words.
    A discriminator only: every pair is a pass of its own. `score` reads `chunk` pairs at a time.
    """

    query_tokens: Tokens
    document_tokens: Tokens
    importance: Weights

    def __init__(
        self,
        query_tokens: Tokens,
        document_tokens: Tokens,
        weights: Weights,
        width: int,
        layers: int,
        heads: int = HEADS,
        dropout: float = 0.0,
        chunk: int = 1024,
    ) -> None:
        super().__init__()
        self.chunk = chunk
        self.register_buffer("query_tokens", query_tokens, persistent=False)
        self.register_buffer("document_tokens", document_tokens, persistent=False)
        self.register_buffer("importance", weights, persistent=False)
        self.embedding = nn.Embedding(len(weights), width)
        self.positions = nn.Parameter(torch.zeros(query_tokens.shape[1] + document_tokens.shape[1], width))
        self.marks = nn.Parameter(torch.randn(2, 2, width))  # which text, and whether the other holds the word
        self.blocks = nn.ModuleList(_block(width, heads) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width + 2, 1)
        nn.init.zeros_(self.head.weight)

    def score(self, query: Queries, ids: Ids) -> Scores:
        """Score each query's own candidates."""
        asked, read = query[:, None].expand_as(ids).flatten(), ids.flatten()
        parts = zip(torch.split(asked, self.chunk), torch.split(read, self.chunk), strict=True)
        logits = [self._judge(self.query_tokens[some], self.document_tokens[these]) for some, these in parts]
        return torch.cat(logits).view(ids.shape)

    def score_all(self, query: Queries) -> AllScores:
        """Score every document, a pass for each."""
        every = torch.arange(len(self.document_tokens), device=query.device)
        return self.score(query, every.expand(len(query), -1))

    def _judge(self, asked: Tokens, read: Tokens) -> Float[Tensor, "pairs"]:
        asked, read = trimmed(asked), trimmed(read)
        same = (asked[:, :, None] == read[:, None, :]) & (asked > 1)[:, :, None]
        met = [same.any(2), same.any(1)]
        hidden = torch.cat([self._embed(text, part, met[part]) for part, text in enumerate((asked, read))], 1)
        tokens = torch.cat([asked, read], 1)
        for block in self.blocks:
            hidden = block(hidden, src_key_padding_mask=~_there(tokens))
        hidden = hidden.masked_fill((tokens == 0)[..., None], 0)
        texts = zip(torch.split(hidden, [asked.shape[1], read.shape[1]], 1), (asked, read), strict=True)
        pooled = torch.cat([text.sum(1) / _lengths(words).to(text).sqrt() for text, words in texts], 1)
        logits: Tensor = self.head(torch.cat([self.dropout(pooled), self._covered(asked, met[0])], 1))
        return full_precision(logits).squeeze(-1)

    def _embed(self, tokens: Tokens, part: int, met: Bool[Tensor, "pairs length"]) -> Float[Tensor, "pairs length d"]:
        start = part * self.query_tokens.shape[1]
        hidden = self.embedding(tokens) + self.positions[start : start + tokens.shape[1]]
        dropped: Tensor = self.dropout(hidden)
        return dropped + self.marks[part][met.long()]

    def _covered(self, asked: Tokens, met: Bool[Tensor, "pairs length"]) -> Float[Tensor, "pairs 2"]:
        """Return the share of the query's words, and of their weight, that the document holds."""
        weights = torch.stack([(asked != 0).to(self.importance), self.importance[asked]], -1)
        return (weights * met[..., None]).sum(1) / weights.sum(1).clamp(min=1e-6)


def _block(width: int, heads: int) -> nn.TransformerEncoderLayer:
    """Build a layer that begins as the identity."""
    block = nn.TransformerEncoderLayer(
        width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    for last in (block.self_attn.out_proj, block.linear2):
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return block


def _lengths(tokens: Tokens) -> Int[Tensor, "texts 1"]:
    return (tokens != 0).sum(1, keepdim=True).clamp(min=1)


def _there(tokens: Tokens) -> Bool[Tensor, "texts length"]:
    """Mark the words; a text without any keeps its first filler, for attention to nothing is NaN."""
    return (tokens != 0) | (torch.arange(tokens.shape[1], device=tokens.device) == 0)
