import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rl.runtime import InputError
from seqgan.metrics import NO_INSTRUMENTS, Instruments, evaluate_text, language_model
from seqgan.metrics.features import HubEncoder, StateEncoder, fingerprint
from seqgan.metrics.kneser_ney import KneserNey
from seqgan.metrics.language_model import LanguageModel

KEYS = {"lm_kn", "reverse_lm_kn", "lm_lstm", "reverse_lm_lstm", "fbd", "divergence"}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_model, "STEPS", 40)


def cycles(seed: int, rows: int = 200, stride: int = 1) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [[(first + stride * i) % 12 for i in range(n)] for first, n in random.integers([0, 4], [12, 9], (rows, 2))]


def instruments(cache: Path) -> Instruments:
    return Instruments.of(cycles(0), cycles(1), cache=cache)


def test_numbers_are_those_of_the_parts(tmp_path: Path) -> None:
    i, samples, references = instruments(tmp_path), cycles(2, 60, stride=5), cycles(1)
    scores = i.measure(samples, references)
    assert set(scores) == KEYS
    assert all(type(value) is float for value in scores.values())
    assert scores["lm_kn"] == KneserNey(cycles(0), range(12)).nll(samples)
    assert scores["reverse_lm_kn"] == KneserNey(samples, range(12)).nll(references)
    assert scores["lm_lstm"] == i.lm.nll(samples)
    assert scores["reverse_lm_lstm"] == LanguageModel.of(samples, i.words).nll(references)
    assert i.quick.measure(samples, references) == {key: scores[key] for key in ("lm_kn", "reverse_lm_kn", "fbd")}


def test_real_text_scores_best(tmp_path: Path) -> None:
    i, references = instruments(tmp_path), cycles(1)
    real, wrong = (i.measure(samples, references) for samples in (cycles(2), cycles(2, stride=5)))
    collapsed = i.measure(cycles(2, 1) * 200, references)
    for scores in (wrong, collapsed):
        assert real["divergence"] > scores["divergence"]
        for key in ("reverse_lm_kn", "reverse_lm_lstm", "fbd"):
            assert real[key] < scores[key], key
    assert real["lm_kn"] < wrong["lm_kn"]
    assert real["lm_lstm"] < wrong["lm_lstm"]


def test_features_are_standardised_on_train(tmp_path: Path) -> None:
    features = instruments(tmp_path).encoder.features(cycles(0))
    assert features.mean(0).abs().max() < 1e-4
    assert features.std(0, correction=0).max() == pytest.approx(1, abs=1e-3)


def test_words_of_samples_that_nobody_knows(tmp_path: Path) -> None:
    scores = instruments(tmp_path).measure([[99, 100]] * 20, cycles(1))
    assert np.isfinite(list(scores.values())).all()
    assert scores["lm_kn"] > 3


def test_the_model_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = instruments(tmp_path)
    (path,) = tmp_path.iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(LanguageModel, "of", None)  # nobody learns
        assert instruments(tmp_path).sha256 == first.sha256
    for damage in (b"", path.read_bytes()[:-1] + b"?"):
        path.write_bytes(damage)
        assert instruments(tmp_path).sha256 == first.sha256
        assert path.read_bytes() not in (b"", damage)
    Instruments.of(cycles(3), cycles(1), cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_fingerprint_knows_words_rows_and_their_borders() -> None:
    texts = [([[1, 2], [3]], [1, 2, 3]), ([[1], [2, 3]], [1, 2, 3]), ([[1, 2], [3]], [2, 1, 3]), ([["1", "2"]], [1])]
    assert len({fingerprint(*text) for text in texts}) == 4


def test_evaluation_has_all_scores(tmp_path: Path) -> None:
    i = instruments(tmp_path)
    plain = evaluate_text(cycles(2, 60), cycles(1), train=cycles(0))
    assert not KEYS & set(plain)
    measured = evaluate_text(cycles(2, 60), cycles(1), train=cycles(0), instruments=i)
    assert measured == plain | i.measure(cycles(2, 60), cycles(1))
    assert NO_INSTRUMENTS.measure([[1]], [[1]]) == {}


def test_refuses_what_has_no_distance(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="references: 1 sentences"):
        instruments(tmp_path).measure(cycles(2), cycles(1, 1))


class Words:
    """Stands for a tokenizer: the length of each word is its number, 0 fills up."""

    pad_token, eos_token = None, "</s>"

    def __call__(self, texts: list[str], **how: object) -> dict[str, torch.Tensor]:
        assert how == {"padding": True, "truncation": True, "return_tensors": "pt"}
        assert self.pad_token == "</s>"
        rows = [list(map(len, text.split())) for text in texts]
        most = max(map(len, rows))
        ids = torch.tensor([row + [0] * (most - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": (ids > 0).long()}


class Lengths(torch.nn.Linear):
    def __init__(self) -> None:
        super().__init__(1, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> types.SimpleNamespace:
        return types.SimpleNamespace(
            last_hidden_state=torch.stack([input_ids, input_ids**2], -1) + 7 * (1 - attention_mask[..., None])
        )


def test_a_downloaded_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(kind: type) -> types.SimpleNamespace:
        def from_pretrained(source: str) -> object:
            if source != "there":
                raise OSError(f"{source} is not a folder")
            return kind()

        return types.SimpleNamespace(from_pretrained=from_pretrained)

    stub = types.ModuleType("transformers")
    stub.AutoTokenizer, stub.AutoModel = load(Words), load(Lengths)
    monkeypatch.setitem(sys.modules, "transformers", stub)
    encoder = HubEncoder("there")
    rows = [["abc", "a"], ["ab"], []] * 50
    assert encoder.features(rows)[:3].tolist() == [[2, 5], [2, 4], [0, 0]]
    assert encoder.features(rows).shape == (150, 2)
    assert (encoder.name, len(encoder.sha256)) == ("there", 64)
    with pytest.raises(InputError, match="nowhere: no model of sentences"):
        HubEncoder("nowhere")
    own = instruments(tmp_path)
    other = replace(own, encoder=encoder)
    assert isinstance(own.encoder, StateEncoder)
    assert other.sha256 == encoder.sha256 != own.sha256
    spelled = [[f"w{t}" for t in row] for row in cycles(1)]
    assert other.measure(spelled, spelled)["fbd"] < 1e-6


def test_a_downloaded_encoder_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match="gpt2: needs the package transformers"):
        HubEncoder("gpt2")
