"""What is searched: queries, documents, the judgements of three splits, and which documents a ranking may hold."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.retrieval.relevance import Relevance

Split = Literal["train", "valid", "test"]


def _none() -> Tensor:
    return torch.zeros(0, 0)


def _no_tokens() -> Tensor:
    return torch.zeros(0, 0, dtype=torch.long)


@dataclass(frozen=True, eq=False)
class Collection:
    """Queries 0..Q-1 across all splits, documents 0..N-1; what a kind of data does not have is empty, [0, 0] or ()."""

    name: str
    kind: Literal["ratings", "letor", "qa"]
    queries: int
    documents: int
    train: Relevance
    """ratings: positives only, grade 1; letor and qa: all judged documents, grade 0 included"""
    valid: Relevance
    test: Relevance
    shown: Relevance
    """what else is hidden from a ranking: low ratings under the mask rule "all_seen", usually nothing"""
    pool: Literal["all", "judged"]
    """rank all documents but the known positives, or only those judged for the query"""
    features: Float[Tensor, "documents features"] = field(default_factory=_none)
    query_tokens: Int[Tensor, "queries length"] = field(default_factory=_no_tokens)
    """numbers of words; 0 fills on the right"""
    document_tokens: Int[Tensor, "documents length"] = field(default_factory=_no_tokens)
    words: tuple[str, ...] = ()
    """the word of each number: 0 the filler, 1 any unknown word"""
    query_texts: tuple[str, ...] = ()
    document_texts: tuple[str, ...] = ()
    query_names: tuple[str, ...] = ()
    """as TREC files and errors call them; () where the number is the name"""
    document_names: tuple[str, ...] = ()

    def judged(self, split: Split) -> Relevance:
        """Return the judgements of a split."""
        match split:
            case "train":
                return self.train
            case "valid":
                return self.valid
            case "test":
                return self.test

    def known(self, split: Split) -> Relevance:
        """Return what the pool "all" leaves out in this split: the positives of the splits before, and `shown`."""
        match split:
            case "train":
                return self.shown
            case "valid":
                return self._known_valid
            case "test":
                return self._known_test

    @cached_property
    def _known_valid(self) -> Relevance:
        return self.shown.union(self.train.positive)

    @cached_property
    def _known_test(self) -> Relevance:
        return self._known_valid.union(self.valid.positive)

    def query_name(self, query: int) -> str:
        """Return what files call a query."""
        return self.query_names[query] if self.query_names else str(query)

    def document_name(self, document: int) -> str:
        """Return what files call a document."""
        return self.document_names[document] if self.document_names else str(document)

    def to(self, device: torch.device | str) -> "Collection":
        """Stand on another device."""
        return replace(
            self,
            train=self.train.to(device),
            valid=self.valid.to(device),
            test=self.test.to(device),
            shown=self.shown.to(device),
            features=self.features.to(device),
            query_tokens=self.query_tokens.to(device),
            document_tokens=self.document_tokens.to(device),
        )
