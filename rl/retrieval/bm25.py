"""BM25: how well the words of a document answer those of a query, with nothing learned but how common each word is."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from rl.retrieval.scorers import AllScores, Ids, Queries, Scores

Tokenise = Callable[[str], list[str]]


class BM25(nn.Module):
    """Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework", eq. 3.15, with a logarithm above zero.

    score(q, d) = sum over the words t of q of idf(t) tf (k1 + 1) / (tf + k1 (1 - b + b length(d) / mean length)), where
    idf(t) = log(1 + (N - n + 1/2) / (n + 1/2)) for n of N documents that hold t; a word twice in q counts twice. The
    documents stand as postings, so that a query costs what its words' postings cost. Scores are float32.
    """

    def __init__(
        self,
        queries: Sequence[str],
        documents: Sequence[str],
        k1: float = 1.2,
        b: float = 0.75,
        tokenise: Tokenise = str.split,
    ) -> None:
        super().__init__()
        self.documents = len(documents)
        counted = [Counter(tokenise(text)) for text in documents]
        postings = _postings(counted, k1, b)
        self._queries = [Counter(tokenise(text)) for text in queries]
        self._postings = {word: (torch.tensor(ids), torch.tensor(weights)) for word, (ids, weights) in postings.items()}

    def score(self, query: Queries, ids: Ids) -> Scores:
        """Score each query's own candidates."""
        return self.score_all(query).gather(1, ids)

    def score_all(self, query: Queries) -> AllScores:
        """Score every document."""
        rows = [self._row(number) for number in query.tolist()]
        return torch.stack(rows) if rows else torch.zeros(0, self.documents)

    def _row(self, query: int) -> Float[Tensor, "documents"]:
        row = torch.zeros(self.documents)
        for word, count in self._queries[query].items():
            if word in self._postings:
                ids, weights = self._postings[word]
                row[ids] += count * weights
        return row


def _postings(counted: Sequence[Counter[str]], k1: float, b: float) -> dict[str, tuple[list[int], list[float]]]:
    """Return for every word the documents that hold it, and what it adds to their scores."""
    lengths = [sum(counts.values()) for counts in counted]
    mean = sum(lengths) / max(len(lengths), 1) or 1.0
    holding = Counter(word for counts in counted for word in counts)
    postings: dict[str, tuple[list[int], list[float]]] = {word: ([], []) for word in holding}
    for document, (counts, length) in enumerate(zip(counted, lengths, strict=True)):
        norm = k1 * (1 - b + b * length / mean)
        for word, count in counts.items():
            ids, weights = postings[word]
            ids.append(document)
            weights.append(inverse_frequency(holding[word], len(counted)) * count * (k1 + 1) / (count + norm))
    return postings


def inverse_frequency(holding: int, documents: int) -> float:
    """Return log(1 + (N - n + 1/2) / (n + 1/2)): never below zero, however common the word is."""
    return math.log(1 + (documents - holding + 0.5) / (holding + 0.5))


def word_weights(tokens: Int[Tensor, "documents length"], words: int) -> Float[Tensor, "words"]:
    """Return the inverse frequency of each numbered word among documents; 0 for the filler and unknown words."""
    rows = torch.arange(len(tokens), device=tokens.device)[:, None].expand_as(tokens)
    held = torch.unique(torch.stack([rows.flatten(), tokens.flatten()]), dim=1)[1]
    holding = torch.bincount(held, minlength=words).float()
    weights = torch.log1p((len(tokens) - holding + 0.5) / (holding + 0.5))
    weights[:2] = 0  # two unknown words are as a rule two words
    return weights
