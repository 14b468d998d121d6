"""Text scorers: by hand where numbers are few, and by the invariances that every one of them keeps."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rl.retrieval.bm25 import word_weights
from rl.retrieval.scorers import DualEncoder, Scorer
from rl.retrieval.text_scorers import QACNN, CrossEncoder, DualText, WordTransformer, trimmed

WORDS = 12
QUERIES = torch.tensor([[2, 3, 0, 0], [4, 0, 0, 0], [5, 6, 7, 8], [9, 2, 0, 0]])
DOCUMENTS = torch.tensor([[2, 3, 4, 0, 0], [10, 0, 0, 0, 0], [5, 6, 7, 8, 9], [3, 2, 0, 0, 0], [0, 0, 0, 0, 0]])
WEIGHTS = word_weights(DOCUMENTS, WORDS)


def stirred(scorer: nn.Module) -> nn.Module:
    """Move every weight: some begin at zero, where much is the same by accident."""
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in scorer.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return scorer.double()


def qa_cnn() -> nn.Module:
    torch.manual_seed(0)
    return stirred(DualText(QACNN(WORDS, width=6, filters=4, scale=3.0), QUERIES, DOCUMENTS, chunk=2))


def bi_encoder() -> nn.Module:
    torch.manual_seed(1)
    return stirred(DualText(WordTransformer(WEIGHTS, width=8, layers=2, heads=2), QUERIES, DOCUMENTS, chunk=2))


def cross_encoder() -> nn.Module:
    torch.manual_seed(2)
    return stirred(CrossEncoder(QUERIES, DOCUMENTS, WEIGHTS, width=8, layers=2, heads=2, dropout=0.5, chunk=3)).eval()


SCORERS: list[Callable[[], nn.Module]] = [qa_cnn, bi_encoder, cross_encoder]
DUAL = SCORERS[:2]


@pytest.mark.parametrize("make", SCORERS)
def test_candidates_are_entries_of_all_scores(make: Callable[[], Scorer]) -> None:
    scorer = make()
    assert isinstance(scorer, Scorer)
    query, ids = torch.tensor([2, 0, 2]), torch.tensor([[0, 4], [3, 3], [2, 1]])
    every = scorer.score_all(query)
    assert every.shape == (3, len(DOCUMENTS))
    torch.testing.assert_close(scorer.score(query, ids), every.gather(1, ids))


@pytest.mark.parametrize("make", SCORERS)
def test_a_batch_is_its_rows(make: Callable[[], Scorer]) -> None:
    scorer = make()
    query = torch.arange(len(QUERIES))
    ids = torch.arange(len(DOCUMENTS)).expand(len(QUERIES), -1)
    together = scorer.score(query, ids)
    for row in range(len(QUERIES)):
        for column in range(len(DOCUMENTS)):
            alone = scorer.score(query[row : row + 1], ids[row : row + 1, column : column + 1])
            torch.testing.assert_close(alone[0, 0], together[row, column])


@pytest.mark.parametrize("make", SCORERS)
def test_fillers_change_nothing(make: Callable[[], nn.Module]) -> None:
    scorer = make()
    query, ids = torch.arange(4), torch.tensor([[0, 1], [2, 3], [4, 0], [1, 2]])
    before = scorer.score(query, ids)
    scorer.document_tokens = nn.functional.pad(DOCUMENTS, (0, 2))
    if isinstance(scorer, DualText):  # a cross-encoder's positions of a document follow those of a query
        scorer.query_tokens = nn.functional.pad(QUERIES, (0, 3))
    torch.testing.assert_close(scorer.score(query, ids), before)


@pytest.mark.parametrize("make", SCORERS)
def test_a_text_without_words_has_a_score_and_a_gradient(make: Callable[[], nn.Module]) -> None:
    scorer = make()
    scores = scorer.score(torch.tensor([0, 1]), torch.tensor([[4, 0], [4, 4]]))
    scores.sum().backward()
    assert scores.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in scorer.parameters() if weight.grad is not None)


@pytest.mark.parametrize("make", SCORERS)
def test_every_weight_that_moves_has_a_gradient(make: Callable[[], nn.Module]) -> None:
    scorer = make()
    (scorer.score(torch.arange(3), torch.tensor([[0, 1], [2, 3], [2, 1]])) * torch.randn(3, 2)).sum().backward()
    assert all(bool(weight.grad.any()) for weight in scorer.parameters() if weight.grad is not None)
    assert all(weight.grad is not None for weight in scorer.parameters())


@pytest.mark.parametrize("make", SCORERS)
def test_text_is_data_and_no_state(make: Callable[[], nn.Module]) -> None:
    assert not any("tokens" in name or "importance" in name for name in make().state_dict())


@pytest.mark.parametrize("make", DUAL)
def test_scores_are_inner_products_of_codes(make: Callable[[], DualEncoder]) -> None:
    scorer = make()
    assert isinstance(scorer, DualEncoder)
    query, ids = torch.tensor([2, 0]), torch.tensor([[0, 2], [3, 3]])
    queries, documents = scorer.encode_query(query), scorer.encode_document(ids)
    assert documents.shape[:2] == (2, 2)
    torch.testing.assert_close((queries[:, None] * documents).sum(-1), scorer.score(query, ids))


def test_qa_cnn_scores_scaled_cosines() -> None:
    scorer = qa_cnn()
    assert isinstance(scorer, DualText)
    every = torch.cat([scorer.encode_query(torch.arange(4)), scorer.encode_document(torch.arange(5))])
    torch.testing.assert_close(every.square().sum(1), torch.full((9,), 3.0, dtype=torch.double))


def test_convolutions_by_hand() -> None:
    net = QACNN(words=4, width=1, filters=1, sizes=(1, 2))
    with torch.no_grad():
        net.embedding.weight.copy_(torch.tensor([[0.5], [0.0], [2.0], [-3.0]]))
        for convolution in net.convolutions:
            convolution.weight.fill_(1.0)
            convolution.bias.zero_()
    # words 2 3 2: alone 2 -3 2; in twos -1 -1 2.5 with the filler, and 1 of fillers alone
    first = torch.tensor([[2.0, 2.5]])
    torch.testing.assert_close(net(torch.tensor([[2, 3, 2]])), 20**0.5 * first / first.norm())
    # what is negative everywhere is 0, but for the fillers
    second = torch.tensor([[0.5, 1.0]])
    torch.testing.assert_close(net(torch.tensor([[3]])), 20**0.5 * second / second.norm())


def test_a_word_transformer_begins_as_a_weighted_bag_of_words() -> None:
    torch.manual_seed(0)
    net = WordTransformer(WEIGHTS, width=8, layers=2, heads=2, scale=2.0)
    bags = torch.stack([(WEIGHTS[row, None].sqrt() * net.embedding.weight[row]).sum(0) for row in DOCUMENTS])
    torch.testing.assert_close(net(DOCUMENTS), bags / 2)  # sqrt(scale / width)
    torch.testing.assert_close(net(DOCUMENTS[:, [1, 0, 2, 3, 4]]), bags / 2)


def test_a_word_transformer_begins_with_the_importance_of_shared_words() -> None:
    torch.manual_seed(0)
    scorer = DualText(WordTransformer(WEIGHTS, width=40_000, layers=0, scale=0.5), QUERIES, DOCUMENTS)
    scores = scorer.score(torch.tensor([0, 2]), torch.tensor([[0, 1], [2, 0]]))
    shared = torch.tensor([[WEIGHTS[2] + WEIGHTS[3], 0.0], [WEIGHTS[[5, 6, 7, 8]].sum(), 0.0]])
    torch.testing.assert_close(scores, 0.5 * shared, atol=0.1, rtol=0)  # noise of about 5 / sqrt(40,000)


def test_words_are_left_out_in_training_alone() -> None:
    net = WordTransformer(WEIGHTS, width=8, layers=0, dropout=0.5)
    assert torch.equal(net.eval()(DOCUMENTS), net(DOCUMENTS))
    net.train()
    torch.manual_seed(0)
    many = torch.stack([net(DOCUMENTS) for _ in range(4000)])
    assert not torch.equal(many[0], many[1])
    torch.testing.assert_close(many.mean(0), net.eval()(DOCUMENTS), atol=0.1, rtol=0)


def test_a_trained_word_transformer_reads_the_order_of_words() -> None:
    net = stirred(WordTransformer(WEIGHTS, width=8, layers=1, heads=2))
    assert not torch.allclose(net(DOCUMENTS[:, [1, 0, 2, 3, 4]])[0], net(DOCUMENTS)[0])


def test_a_cross_encoder_is_told_what_the_texts_share() -> None:
    scorer = CrossEncoder(QUERIES, DOCUMENTS, WEIGHTS, width=8, layers=1, heads=2)
    with torch.no_grad():
        scorer.head.weight[0, -2:] = torch.tensor([1.0, 10.0])
        scorer.head.bias.zero_()
    scores = scorer.score(torch.tensor([3, 0]), torch.tensor([[0, 2], [0, 1]]))
    weight = WEIGHTS / (WEIGHTS[9] + WEIGHTS[2])
    expected = torch.tensor([[0.5 + 10 * weight[2], 0.5 + 10 * weight[9]], [11.0, 0.0]])
    torch.testing.assert_close(scores, expected)


def test_two_unknown_words_are_not_one_that_is_shared() -> None:
    scorer = CrossEncoder(torch.tensor([[1, 4]]), torch.tensor([[1, 3], [5, 3]]), WEIGHTS, width=8, layers=1)
    with torch.no_grad():
        scorer.embedding.weight.zero_()  # so that the two documents differ in what is shared alone
        scorer.head.weight.fill_(1.0)
    scores = scorer.score(torch.tensor([0]), torch.tensor([[0, 1]]))
    torch.testing.assert_close(scores[0, 0], scores[0, 1])


def test_a_cross_encoder_sees_a_shared_word_in_either_text() -> None:
    scorer = cross_encoder()
    assert isinstance(scorer, CrossEncoder)
    with torch.no_grad():
        scorer.embedding.weight.zero_()  # all words alike, so only what is shared tells pairs apart
        scorer.head.weight[0, -2:] = 0
    shared, none = scorer.score(torch.tensor([0]), torch.tensor([[3, 3]])), torch.tensor([[10, 10]])
    scorer.document_tokens = torch.cat([none, DOCUMENTS[1:, :2]])
    assert not torch.allclose(shared[0, 0], scorer.score(torch.tensor([0]), torch.tensor([[0]]))[0, 0])


def test_dropout_is_for_training() -> None:
    scorer = cross_encoder()
    query, ids = torch.tensor([0]), torch.tensor([[0, 1]])
    assert torch.equal(scorer.score(query, ids), scorer.score(query, ids))
    scorer.train()
    assert not torch.equal(scorer.score(query, ids), scorer.score(query, ids))


def test_a_text_on_many_lists_is_coded_once() -> None:
    coded: list[int] = []

    class Counting(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            coded.append(len(tokens))
            return tokens.float()[:, :1] + 1

    DualText(Counting(), QUERIES, DOCUMENTS).score(torch.tensor([1, 1, 0]), torch.tensor([[2, 0], [0, 2], [2, 2]]))
    assert coded == [2, 2]


@pytest.mark.parametrize(("rows", "width"), [([[1, 2, 0, 0], [3, 0, 0, 0]], 2), ([[0, 0, 0]], 1), ([[1, 2, 3]], 3)])
def test_trimmed(rows: list[list[int]], width: int) -> None:
    assert trimmed(torch.tensor(rows)).tolist() == [row[:width] for row in rows]


def test_bfloat16_scores_are_float32() -> None:
    for make in SCORERS:
        scorer = make().to(torch.bfloat16)
        assert scorer.score(torch.tensor([0]), torch.tensor([[0]])).dtype == torch.float32
