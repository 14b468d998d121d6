"""Other people's text models as scorers: those of sentence-transformers (6 or later), given ready-made.

Nothing is imported here: a model comes as an object, and is trained through its own `preprocess` and `forward`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rl.discriminator import full_precision
from rl.retrieval.scorers import AllScores, Ids, Queries, Scores


class TextModel(Protocol):
    """What is used of a `SentenceTransformer` or a `CrossEncoder`; an `nn.Module`."""

    def preprocess(self, inputs: Sequence[Any], /) -> Mapping[str, Any]:
        """Turn texts, or pairs of texts, into tensors."""
        ...

    def __call__(self, features: Mapping[str, Any], /) -> Mapping[str, Tensor]:
        """Pass on the tensors, and what the model makes of them."""
        ...


class SentenceTransformerScorer(nn.Module):
    """A `SentenceTransformer` as a dual encoder: score = scale * inner product of its embeddings.

    Models that normalise have cosines, which `scale` turns into nats; for others take 1. Prompts stand before each
    text, as in `model.prompts`. A text that stands on several lists of a batch is coded once; `score_all` codes
    `chunk` documents at a time, and all of them anew.
    """

    def __init__(
        self,
        model: nn.Module,
        queries: Sequence[str],
        documents: Sequence[str],
        *,
        scale: float = 20.0,
        query_prompt: str = "",
        document_prompt: str = "",
        chunk: int = 256,
    ) -> None:
        super().__init__()
        self.model = model
        self.scale = scale
        self.chunk = chunk
        self._queries = [query_prompt + text for text in queries]
        self._documents = [document_prompt + text for text in documents]

    def encode_query(self, query: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        """Code queries; the scale is theirs."""
        return self.scale * self._encode(self._queries, query)

    def encode_document(self, ids: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        """Code documents."""
        return self._encode(self._documents, ids)

    def score(self, query: Queries, ids: Ids) -> Scores:
        """Score each query's own candidates."""
        return torch.einsum("bd,bkd->bk", self.encode_query(query), self.encode_document(ids))

    def score_all(self, query: Queries) -> AllScores:
        """Score every document."""
        every = torch.arange(len(self._documents), device=query.device)
        return (
            self.encode_query(query)
            @ torch.cat([self.encode_document(ids) for ids in torch.split(every, self.chunk)]).T
        )

    def _encode(self, texts: Sequence[str], rows: Int[Tensor, "*places"]) -> Float[Tensor, "*places width"]:
        different, places = torch.unique(rows, return_inverse=True)
        codes = _run(self.model, [texts[row] for row in different.tolist()], rows.device)["sentence_embedding"]
        return full_precision(codes)[places]


class RerankerScorer(nn.Module):
    """A sentence-transformers `CrossEncoder` with one label, by its logit: a discriminator, `chunk` pairs at a time."""

    def __init__(self, model: nn.Module, queries: Sequence[str], documents: Sequence[str], *, chunk: int = 256) -> None:
        super().__init__()
        self.model = model
        self.chunk = chunk
        self._queries, self._documents = list(queries), list(documents)

    def score(self, query: Queries, ids: Ids) -> Scores:
        """Score each query's own candidates."""
        asked, read = query[:, None].expand_as(ids).flatten().tolist(), ids.flatten().tolist()
        pairs = [(self._queries[a], self._documents[b]) for a, b in zip(asked, read, strict=True)]
        parts = [pairs[start : start + self.chunk] for start in range(0, len(pairs), self.chunk)]
        logits = [_run(self.model, part, ids.device)["scores"].reshape(-1) for part in parts]
        return full_precision(torch.cat(logits)).view(ids.shape)

    def score_all(self, query: Queries) -> AllScores:
        """Score every document, a pass for each."""
        every = torch.arange(len(self._documents), device=query.device)
        return self.score(query, every.expand(len(query), -1))


def _run(model: Any, inputs: Sequence[Any], device: torch.device) -> Mapping[str, Tensor]:
    """Preprocess and pass, with a gradient. `Any`: to a type checker a module is no protocol."""
    text_model: TextModel = model
    features = text_model.preprocess(inputs)
    return text_model({name: part.to(device) if isinstance(part, Tensor) else part for name, part in features.items()})
