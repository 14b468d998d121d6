"""BM25 by hand, and the weights of numbered words beside it."""

import math

import pytest
import torch

from rl.retrieval.bm25 import BM25, inverse_frequency, word_weights
from rl.retrieval.qa import numbers
from rl.retrieval.scorers import Scorer

DOCUMENTS = ("the cat sat", "the dog sat on the cat", "a fish", "")
QUERIES = ("cat", "the cat cat", "bird", "")


def test_one_word_by_hand() -> None:
    scorer = BM25(QUERIES, DOCUMENTS, k1=1.2, b=0.75)
    mean = (3 + 6 + 2 + 0) / 4
    idf = math.log(1 + (4 - 2 + 0.5) / (2 + 0.5))
    expected = [idf * 2.2 / (1 + 1.2 * (0.25 + 0.75 * length / mean)) for length in (3, 6)]
    torch.testing.assert_close(scorer.score_all(torch.tensor([0]))[0], torch.tensor([*expected, 0.0, 0.0]))


def test_counts_of_words_by_hand() -> None:
    scorer = BM25(QUERIES, DOCUMENTS, k1=2.0, b=0.0)
    idf = math.log(1 + 2.5 / 2.5)
    # without length: tf * 3 / (tf + 2); "cat" stands twice in the query, "the" twice in document 1
    expected = torch.tensor([idf * (1 + 2 * 1), idf * (1.5 + 2 * 1), 0.0, 0.0])
    torch.testing.assert_close(scorer.score_all(torch.tensor([1]))[0], expected)


def test_a_word_that_no_document_holds_adds_nothing() -> None:
    scores = BM25(QUERIES, DOCUMENTS).score_all(torch.tensor([2, 3]))
    assert torch.equal(scores, torch.zeros(2, 4))


def test_candidates_are_entries_of_all_scores() -> None:
    scorer = BM25(QUERIES, DOCUMENTS)
    assert isinstance(scorer, Scorer)
    query, ids = torch.tensor([1, 0]), torch.tensor([[1, 0], [3, 1]])
    assert torch.equal(scorer.score(query, ids), scorer.score_all(query).gather(1, ids))
    assert scorer.score_all(query[:0]).shape == (0, 4)


def test_a_longer_document_with_the_same_words_scores_less() -> None:
    scores = BM25(("a",), ("a b", "a b c d", "a b c d e f")).score_all(torch.tensor([0]))[0]
    assert scores[0] > scores[1] > scores[2] > 0


@pytest.mark.parametrize(("holding", "documents"), [(1, 1), (5, 5), (0, 9), (9, 1_000_000)])
def test_a_word_never_counts_against_a_document(holding: int, documents: int) -> None:
    assert inverse_frequency(holding, documents) > 0


def test_weights_of_numbered_words_are_those_of_words() -> None:
    words = ("<fill>", "<unknown>", "the", "cat", "bird")
    tokens = numbers(DOCUMENTS[:3], words, 9)
    weights = word_weights(tokens, len(words))
    expected = [inverse_frequency(holding, 3) for holding in (2, 2, 0)]  # "the" stands twice in a document
    torch.testing.assert_close(weights, torch.tensor([0.0, 0.0, *expected]))  # two unknown words are no match


def test_another_tokeniser() -> None:
    scorer = BM25(("Cat",), ("CAT", "dog"), tokenise=lambda text: text.lower().split())
    assert scorer.score_all(torch.tensor([0]))[0, 0] > 0
