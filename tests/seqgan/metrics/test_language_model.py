import math
from itertools import islice

import numpy as np
import pytest
import torch

from seqgan.likelihood import nll
from seqgan.metrics import language_model
from seqgan.metrics.language_model import END, LanguageModel, by_length, dealt

ROWS = [list("ab") * 2, list("cab"), [], list("abcabcabc")]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "STEPS", 60)


def test_rows_by_hand() -> None:
    rows, lengths = LanguageModel.blank("ab").encode([["b", "a"], ["z"], []])
    assert rows.tolist() == [[2, 1, END], [3, END, END], [END, END, END]]
    assert lengths.tolist() == [3, 2, 1]


def test_likelihood_is_that_of_the_net_whatever_stands_beside() -> None:
    model = LanguageModel.blank("abc")
    alone = [nll(model.net, model.encode([row])[0]) for row in ROWS]
    lengths = [len(row) + 1 for row in ROWS]
    assert model.nll(ROWS) == pytest.approx(np.dot(alone, lengths) / sum(lengths), abs=1e-6)
    assert model.nll(ROWS) == pytest.approx(math.log(5), abs=0.2)  # three words, the end, the unknown word


def test_states_are_means_over_what_was_said() -> None:
    model = LanguageModel.blank("abc")
    states = model.states(ROWS)
    for row, state in zip(ROWS, states, strict=True):
        torch.testing.assert_close(model.net.features(model.encode([row])[0])[0].mean(0), state)
    assert not torch.equal(states[0], states[1])


def test_a_batch_equals_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LanguageModel.blank("abc")
    whole = model.states(ROWS), model.nll(ROWS)
    monkeypatch.setattr(language_model, "SENTENCES", 2)
    torch.testing.assert_close(model.states(ROWS), whole[0])
    assert model.nll(ROWS) == pytest.approx(whole[1])


@pytest.mark.usefixtures("short")
def test_it_learns_and_repeats() -> None:
    """A cycle of three words: only the first word (log 3) and the length, one of two (log 2), cannot be known."""
    random = np.random.default_rng(0)
    text = [[(first + i) % 3 for i in range(length)] for first, length in random.integers([0, 4], [3, 6], (200, 2))]
    torch.manual_seed(7)
    before = torch.get_rng_state()
    model, again = (LanguageModel.of(text, range(3)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(model.net.parameters(), again.net.parameters(), strict=True))
    best = (math.log(3) + math.log(2)) / np.mean([len(row) + 1 for row in text])
    assert best - 0.02 < model.nll(text) < best + 0.1
    assert model.nll([row[::-1] for row in text]) > 2
    assert not any(weight.requires_grad for weight in model.net.parameters())


def test_every_pass_has_every_row_once() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 2_100)
    batches = list(islice(dealt(lengths, np.random.default_rng(0)), 132))  # 66 of each pass: 1024 + 1024 + 52 rows
    first, second = np.concatenate(batches[:66]), np.concatenate(batches[66:])
    assert sorted(first) == sorted(second) == list(range(2_100))
    assert (first != second).any()
    assert np.mean([np.ptp(lengths[batch]) for batch in batches]) < 3
    assert sorted(np.concatenate(list(by_length(lengths)))) == list(range(2_100))
