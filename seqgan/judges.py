"""Discriminators of sentences behind one call, judge(tokens, mask) -> logits: heads on any transformer, and the CNN.

`tokens` [batch time] are ids, and `mask` says which of them are there: prompt, what was said, and the end token where a
row has one, so that a finished sentence and a cut one differ. Padding may stand anywhere and changes nothing. `embed`
and `judge_embedded` are the same call in two steps; between them penalties differentiate.
"""

import json
from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rl.discriminator import Logits, full_precision
from rl.runtime.weights import keep
from seqgan.discriminators import SMALL_FILTERS, ConvDiscriminator
from seqgan.packed import POOLING, Packing, filled

Tokens = Int[Tensor, "batch time"]
Mask = Bool[Tensor, "batch time"]
Embedded = Float[Tensor, "batch time width"]


class Judge(Protocol):
    """What judges rows of ids."""

    def __call__(self, tokens: Tokens, mask: Mask, /) -> Logits:
        """Give one logit a row, or one a token (zero off the mask), high = real."""
        ...

    def embed(self, tokens: Tokens, /) -> Embedded:
        """Embed every token by itself."""
        ...

    def judge_embedded(self, embedded: Embedded, mask: Mask, /) -> Logits:
        """Judge what is embedded."""
        ...


class _OnTransformer(nn.Module):
    """One linear head on the states of a transformer's body, in float32 whatever the body's precision."""

    numbers: dict[str, Any]
    """which judge it is: its kind and what else `load_judge` needs"""

    def __init__(self, model: Any, dropout: float) -> None:
        super().__init__()
        self.body = model.base_model  # of a model with a head of its own, what is below the head
        if self.body.config.is_encoder_decoder:
            raise ValueError(f"{type(self.body).__name__}: judge with an encoder or a decoder, not with both")
        width = self.body.config.hidden_size
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(width, 1)
        nn.init.normal_(self.head.weight, std=(width + 1) ** -0.5)
        nn.init.zeros_(self.head.bias)

    def embed(self, tokens: Tokens) -> Embedded:
        """Look the words up; the body adds what it adds."""
        embedded: Tensor = self.body.get_input_embeddings()(tokens)
        return embedded

    def forward(self, tokens: Tokens, mask: Mask) -> Logits:
        """Judge rows of ids."""
        return self.judge_embedded(self.embed(tokens), mask)

    def judge_embedded(self, embedded: Embedded, mask: Mask) -> Logits:
        """Judge rows of embeddings."""
        raise NotImplementedError

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the judge into a folder that is made for it; `load_judge` reads it."""
        self.body.save_pretrained(Path(folder) / "body")
        _write(Path(folder), {**self.numbers, "dropout": self.dropout.p}, self.head)

    def _states(self, embedded: Embedded, packing: Packing) -> Embedded:
        """Read packed rows: their places then count from 0, as every body has it."""
        dtype = self.body.get_input_embeddings().weight.dtype
        rows = packing.pack(embedded).to(dtype)
        said = self.body(inputs_embeds=rows, attention_mask=packing.mask.long(), use_cache=False)
        return full_precision(said.last_hidden_state)

    def _logits(self, states: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows"]:
        logits: Tensor = self.head(self.dropout(states.to(self.head.weight.dtype)))[..., 0]
        return full_precision(logits)


class SequenceJudge(_OnTransformer):
    """One logit a row, from one state of it; the last token's is GAD's (2511.10643).

    `model` is any transformers model without a decoder on top of an encoder, `pooling` a name in `POOLING`: "last"
    suits decoders, "mean" and "first" encoders.
    """

    def __init__(self, model: Any, *, pooling: str = "last", dropout: float = 0.0) -> None:
        """Raise ValueError for an unknown pooling, or an encoder with a decoder."""
        super().__init__(model, dropout)
        if pooling not in POOLING:
            raise ValueError(f"SequenceJudge: pooling {pooling!r} is none of {', '.join(POOLING)}")
        self.pooling, self.numbers = pooling, {"kind": "sequence", "pooling": pooling}

    def judge_embedded(self, embedded: Embedded, mask: Mask) -> Float[Tensor, "batch"]:
        """Return the logit of every row."""
        packing = Packing.of(mask)
        return self._logits(POOLING[self.pooling](self._states(embedded, packing), packing.mask))


class TokenJudge(_OnTransformer):
    """One logit a token: in a decoder, how real the row looks up to there; token-level rewards as in 2510.01857."""

    def __init__(self, model: Any, *, dropout: float = 0.0) -> None:
        """Raise ValueError for an encoder with a decoder."""
        super().__init__(model, dropout)
        self.numbers = {"kind": "token"}

    def judge_embedded(self, embedded: Embedded, mask: Mask) -> Float[Tensor, "batch time"]:
        """Return the logit of every token, zero off the mask."""
        packing = Packing.of(mask)
        return packing.unpack(self._logits(self._states(embedded, packing)), mask.shape[1])


class ConvJudge(nn.Module):
    """SeqGAN's CNN on rows of up to `length` tokens; what a row lacks is filled by an id that nobody says."""

    def __init__(
        self,
        vocabulary: int,
        length: int,
        *,
        embedding: int = 64,
        filters: tuple[tuple[int, int], ...] = SMALL_FILTERS,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        self.numbers: dict[str, Any] = {
            "kind": "conv", "vocabulary": vocabulary, "length": length, "embedding": embedding,
            "filters": filters, "dropout": dropout,
        }  # fmt: skip
        self.filler, self.length = vocabulary, length
        self.net = ConvDiscriminator(vocabulary + 1, length, embedding=embedding, filters=filters, dropout=dropout)

    def embed(self, tokens: Tokens) -> Embedded:
        """Look the words up."""
        embedded: Tensor = self.net.embedding(tokens)
        return embedded

    def forward(self, tokens: Tokens, mask: Mask) -> Float[Tensor, "batch"]:
        """Judge rows of ids. Raises ValueError for a row longer than the net reads."""
        packing = self._packing(mask)
        rows = tokens.gather(1, packing.order).masked_fill(~packing.mask, self.filler)
        rest = rows.new_full((len(rows), self.length - rows.shape[1]), self.filler)
        return full_precision(self.net(torch.cat([rows, rest], 1)))

    def judge_embedded(self, embedded: Embedded, mask: Mask) -> Float[Tensor, "batch"]:
        """Judge rows of embeddings. Raises ValueError for a row longer than the net reads."""
        packing = self._packing(mask)
        filler = self.net.embedding.weight[self.filler]
        rows = filled(packing.pack(embedded), packing.mask, filler, self.length)
        return full_precision(self.net.judge_pooled(self.net.pooled_embedded(rows)))

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the judge into a folder that is made for it; `load_judge` reads it."""
        _write(Path(folder), self.numbers, self.net)

    def _packing(self, mask: Mask) -> Packing:
        packing = Packing.of(mask)
        if packing.mask.shape[1] > self.length:
            raise ValueError(f"ConvJudge: a row of {packing.mask.shape[1]} tokens, the net reads {self.length}")
        return packing


def _write(folder: Path, told: dict[str, Any], net: nn.Module) -> None:
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}
    keep(weights, folder / "judge.safetensors")
    (folder / "judge.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
