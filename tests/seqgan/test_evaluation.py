import math
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from rl.runtime import seeded
from seqgan.conditional import labelled_oracle, labelled_oracle_corpus
from seqgan.corpus import Corpus, oracle_corpus, text_corpus
from seqgan.evaluation import bounds, glance, measure, measure_sentences, sweep_temperatures
from seqgan.generators import LSTMGenerator
from seqgan.likelihood import nll, token_log_probs
from seqgan.metrics import Instruments
from seqgan.oracle import draw_oracle
from seqgan.speakers import PolicySpeaker, tempered


@pytest.fixture
def truth() -> Corpus:
    return oracle_corpus(draw_oracle(20, seed=1), sentences=60, valid=10, test=300, length=5, seed=2)


@pytest.fixture
def text() -> Corpus:
    sentences = [(f"f:{i}", [f"w{(i * j) % 7}" for j in range(1, 3 + i % 3)]) for i in range(60)]
    return text_corpus(sentences, [], units="word", at_least=1, length=0, valid=5, seed=0)


def net_for(corpus: Corpus, dropout: float = 0.0) -> LSTMGenerator:
    torch.manual_seed(5)
    return LSTMGenerator(len(corpus.vocabulary.words), dropout=dropout, end=corpus.end, deviation=0.5)


def speaker(corpus: Corpus, net: LSTMGenerator | None = None) -> PolicySpeaker:
    return PolicySpeaker(net or net_for(corpus), corpus.length, corpus.test[:, :0])


def test_seeded_leaves_the_generator_outside_as_it_was() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with seeded(7):
        first = torch.rand(5)
    with suppress(KeyError), seeded(7):
        assert torch.rand(5).equal(first)
        raise KeyError
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize("name", ["truth", "text"])
def test_measuring_changes_no_random_number_and_repeats(name: str, request: pytest.FixtureRequest) -> None:
    corpus = request.getfixturevalue(name)
    generator = net_for(corpus, dropout=0.5)
    weights = [weight.clone() for weight in generator.parameters()]
    before = torch.get_rng_state()
    first = measure(speaker(corpus, generator), corpus, samples=50, seed=4, inverse_temperature=1.3)
    assert torch.get_rng_state().equal(before)
    assert all(map(torch.equal, weights, generator.parameters()))
    torch.rand(3)
    assert measure(speaker(corpus, generator), corpus, samples=50, seed=4, inverse_temperature=1.3) == first
    assert measure(speaker(corpus, generator), corpus, samples=50, seed=5, inverse_temperature=1.3) != first
    assert all(math.isfinite(value) for value in first.values())


def test_what_is_said_of_an_oracles_sentences(truth: Corpus) -> None:
    said = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [6, 6, 6, 6, 6]])
    metrics = measure_sentences(said, truth)
    assert truth.oracle is not None
    assert metrics["nll_oracle"] == pytest.approx(nll(truth.oracle, said))
    assert metrics["unique"] == pytest.approx(2 / 3)
    assert metrics["tokens_used"] == 6
    assert metrics["distinct_1"] == pytest.approx(6 / 15)
    shares = torch.tensor([5 / 15] + [2 / 15] * 5)
    assert metrics["entropy"] == pytest.approx(-(shares * shares.log()).sum().item())


def test_a_text_is_measured_by_ngrams(text: Corpus) -> None:
    metrics = measure(speaker(text), text, samples=40, seed=0)
    assert {"bleu_2", "bleu_5", "self_bleu_2", "distinct_1", "unique", "nll_test"} <= metrics.keys()
    assert "nll_oracle" not in metrics


def test_nll_test_is_that_of_the_generator_at_the_temperature(truth: Corpus) -> None:
    generator = net_for(truth).eval()
    metrics = measure(speaker(truth, generator), truth, samples=20, seed=0, inverse_temperature=1.7)
    with torch.no_grad():
        log_probs = F.log_softmax(1.7 * generator.head(generator.features(truth.test)), -1)
        by_hand = -log_probs.gather(2, truth.test[..., None]).mean().item()
    assert metrics["nll_test"] == pytest.approx(by_hand, rel=1e-5)


def test_tempered_gives_the_weights_back_to_the_last_bit() -> None:
    torch.manual_seed(6)
    generator = LSTMGenerator(10, deviation=1.0)
    weights = [weight.detach().clone() for weight in generator.parameters()]
    tokens = torch.randint(10, (3, 4))
    plain = token_log_probs(generator, tokens)
    with suppress(KeyError), tempered(generator, 1 / 3):
        assert not token_log_probs(generator, tokens).equal(plain)
        raise KeyError
    assert all(map(torch.equal, weights, generator.parameters()))
    assert all(weight.requires_grad for weight in generator.parameters())
    assert torch.is_grad_enabled()


def test_the_curve_of_temperatures(truth: Corpus) -> None:
    """The sharper, the fewer different tokens; at 1 the curve is the measurement."""
    generator = speaker(truth)
    curve = sweep_temperatures(generator, truth, samples=400, seed=3, inverse_temperatures=(0.3, 1.0, 4.0))
    assert [point["inverse_temperature"] for point in curve] == [0.3, 1.0, 4.0]
    assert curve[1] == {"inverse_temperature": 1.0} | measure(generator, truth, samples=400, seed=3)
    entropies = [point["entropy"] for point in curve]
    assert entropies == sorted(entropies, reverse=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def instruments_of(corpus: Corpus, cache: Path) -> Instruments:
    return Instruments.of(corpus.sentences(corpus.train), corpus.sentences(corpus.test), cache=cache)


def test_the_bounds_of_every_score(truth: Corpus, text: Corpus, cache: Path) -> None:
    instruments = instruments_of(truth, cache)
    before = torch.get_rng_state()
    rows = bounds(truth, instruments, samples=500, seed=0)
    assert torch.get_rng_state().equal(before)
    assert truth.oracle is not None
    assert rows["real"]["nll_oracle"] < rows["kn5"]["nll_oracle"] < rows["uniform"]["nll_oracle"]
    assert rows["real"]["nll_test"] == pytest.approx(nll(truth.oracle, truth.test))
    assert rows["uniform"]["nll_test"] == pytest.approx(math.log(20))
    assert rows["uniform"]["tokens_used"] == 20
    assert rows["kn5"]["nll_test"] == instruments.kn.nll(truth.tested, ends=False)
    assert rows["kn5"]["length_p10"] == rows["kn5"]["length_p90"] == 5
    known = instruments_of(text, cache)
    rows = bounds(text, known, samples=20, seed=0)
    assert set(rows) == {"real", "kn5"}
    assert rows["real"]["lm_kn"] == known.kn.nll(text.sentences(text.test))  # not of what it has read
    assert rows["kn5"]["nll_test"] == rows["real"]["lm_kn"]
    assert rows["real"]["novel"] == 1  # as is what was copied
    assert 0 < rows["real"]["copied_2"] < 1


def test_uniform_tokens_are_said_after_true_labels(cache: Path) -> None:
    corpus = labelled_oracle_corpus(labelled_oracle(2, 8, seed=0), sentences=60, valid=0, test=40, length=4, seed=1)
    rows = bounds(corpus, instruments_of(corpus, cache), samples=2_000, seed=0)
    assert rows["uniform"]["nll_test"] == pytest.approx(math.log(8))
    every = torch.cat([torch.cartesian_prod(torch.tensor([label]), *[torch.arange(8)] * 4) for label in corpus.labels])
    assert rows["uniform"]["nll_oracle"] == pytest.approx(nll(corpus.oracle, every), abs=0.15)  # five standard errors
    assert rows["uniform"]["tokens_used"] == 8


def test_a_glance_is_a_part_of_the_measurement(truth: Corpus, text: Corpus, cache: Path) -> None:
    for corpus in (truth, text):
        quick = glance(speaker(corpus), corpus, samples=30, seed=2)
        known = instruments_of(corpus, cache)
        whole = measure(speaker(corpus), corpus, samples=30, seed=2, instruments=known)
        assert {key: whole[key] for key in quick} == quick
        assert {"lm_kn", "reverse_lm_lstm", "divergence", "copied_3"} <= whole.keys() - quick.keys()
