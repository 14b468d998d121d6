"""Models of sentence-transformers as scorers: small ones made here, without a download."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rl.retrieval.pretrained_text import RerankerScorer, SentenceTransformerScorer
from rl.retrieval.scorers import DualEncoder, Scorer

QUERIES = ("red cat", "dog")
DOCUMENTS = ("a red cat", "the dog runs", "cat", "a dog")
WORDS = ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "a", "the", "red", "cat", "dog", "runs", "ask")
VOCABULARY = {word: number for number, word in enumerate(WORDS)}

pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return words


@pytest.fixture(scope="module")
def sentence_model() -> nn.Module:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    torch.manual_seed(0)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer(), embedding_dim=8), Normalize()], device="cpu")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    folder: Path = tmp_path_factory.mktemp("reranker")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, num_labels=1, initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    names = {f"{name.lower()}_token": f"[{name}]" for name in ("UNK", "PAD", "CLS", "SEP")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer(), **names).save_pretrained(folder)
    return CrossEncoder(str(folder), device="cpu")


def test_a_sentence_transformer_scores_as_it_encodes(sentence_model: Any) -> None:
    scorer = SentenceTransformerScorer(sentence_model, QUERIES, DOCUMENTS, scale=3.0, chunk=3)
    assert isinstance(scorer, DualEncoder)
    query, ids = torch.tensor([1, 0]), torch.tensor([[3, 3], [0, 2]])
    codes = sentence_model.encode(list(DOCUMENTS), convert_to_tensor=True)
    expected = 3 * sentence_model.encode(["dog", "red cat"], convert_to_tensor=True) @ codes.T
    torch.testing.assert_close(scorer.score_all(query), expected)
    torch.testing.assert_close(scorer.score(query, ids), expected.gather(1, ids))
    torch.testing.assert_close(scorer.encode_document(ids), codes[ids])


def test_a_sentence_transformer_learns(sentence_model: Any) -> None:
    scorer = SentenceTransformerScorer(sentence_model, QUERIES, DOCUMENTS)
    scorer.score(torch.tensor([0]), torch.tensor([[0, 1]])).diff().sum().backward()
    assert all(bool(weight.grad.any()) for weight in scorer.parameters())


def test_prompts_stand_before_texts(sentence_model: Any) -> None:
    prompted = SentenceTransformerScorer(
        sentence_model, QUERIES, DOCUMENTS, query_prompt="ask ", document_prompt="the "
    )
    written = SentenceTransformerScorer(
        sentence_model, [f"ask {text}" for text in QUERIES], [f"the {text}" for text in DOCUMENTS]
    )
    query = torch.tensor([0, 1])
    assert torch.equal(prompted.score_all(query), written.score_all(query))


def test_a_reranker_scores_as_it_predicts(reranker: Any) -> None:
    scorer = RerankerScorer(reranker, QUERIES, DOCUMENTS, chunk=3).eval()
    assert isinstance(scorer, Scorer)
    pairs = [(query, document) for query in QUERIES for document in DOCUMENTS]
    expected = reranker.predict(pairs, activation_fn=nn.Identity(), convert_to_tensor=True).view(2, 4)
    query = torch.tensor([0, 1])
    torch.testing.assert_close(scorer.score_all(query), expected)
    ids = torch.tensor([[3, 0], [1, 1]])
    torch.testing.assert_close(scorer.score(query, ids), expected.gather(1, ids))


def test_a_reranker_learns(reranker: Any) -> None:
    scorer = RerankerScorer(reranker, QUERIES, DOCUMENTS)
    scorer.score(torch.tensor([0]), torch.tensor([[0, 1]])).diff().sum().backward()
    assert any(weight.grad is not None and bool(weight.grad.any()) for weight in scorer.parameters())
