"""What learns the training text before it measures samples: language models, and features to compare sentences in."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from rl.frechet import frechet_distance
from rl.runtime import InputError
from seqgan.metrics.divergence import divergence
from seqgan.metrics.features import Encoder, Features, StateEncoder, model_for
from seqgan.metrics.grams import Sentences, number_words
from seqgan.metrics.kneser_ney import KneserNey
from seqgan.metrics.language_model import LanguageModel

SWEPT = 2_000  # test sentences whose likelihood is asked at every temperature


class Measures(Protocol):
    """More scores of samples."""

    def measure(self, samples: Sentences, references: Sentences) -> dict[str, float]:
        """Return scores by name."""


class NoInstruments:
    """No more scores."""

    def measure(self, samples: Sentences, references: Sentences) -> dict[str, float]:
        """Return nothing."""
        return {}


NO_INSTRUMENTS = NoInstruments()


@dataclass(frozen=True)
class Instruments:
    """Built once for a corpus by `of`; `dataclasses.replace(instruments, encoder=...)` compares in other features.

    All language models have one closed vocabulary, that of training and test text, so their numbers stand on one scale.
    """

    words: tuple[Hashable, ...]
    kn: KneserNey
    lm: LanguageModel
    encoder: Encoder
    references: Sentences
    """the test text"""

    @classmethod
    def of(cls, train: Sentences, references: Sentences, *, cache: Path) -> "Instruments":
        """Learn the training text; the LSTM is kept in the folder `cache`, and a damaged file is made again.

        Of `references` the models learn only the vocabulary. Raises ValueError without a training sentence.
        """
        words = tuple(number_words(train, references))
        model = model_for(train, words, cache)
        return cls(words, KneserNey(train, words), model, StateEncoder.of(model, train), references)

    @property
    def sha256(self) -> str:
        """Identify the encoder's weights."""
        return self.encoder.sha256

    @cached_property
    def seen(self) -> Features:
        """The features of the test text."""
        return self.encoder.features(self.references)

    def features(self, references: Sentences) -> Features:
        """Return the features of a text, at once where it is the test text."""
        return self.seen if references is self.references else self.encoder.features(references)

    @property
    def quick(self) -> Measures:
        """The instruments of a sweep: the 5-gram in both directions, and the Fréchet distance."""
        return QuickInstruments(self)

    def measure(self, samples: Sentences, references: Sentences) -> dict[str, float]:
        """Return likelihoods in both directions, in nats per token with ends counted, and distances of features.

        Raises InputError for fewer than two sentences on either side.
        `lm_kn`, `lm_lstm`: samples under a model of the training text (is this said?). `reverse_lm_kn`,
        `reverse_lm_lstm`: references under a model of the samples (is all said?); it falls with their number.
        `fbd`: Fréchet distance (de Masson d'Autume et al. 2019, 1905.09922, there on other features), and `divergence`.
        """
        for name, rows in (("samples", samples), ("references", references)):
            if len(rows) < 2:
                raise InputError(f"{name}: {len(rows)} sentences: a distance needs at least two")
        ours, theirs = self.encoder.features(samples), self.features(references)
        return self.likelihoods(samples) | {
            "reverse_lm_kn": KneserNey(samples, self.words).nll(references),
            "reverse_lm_lstm": LanguageModel.of(samples, self.words).nll(references),
            "fbd": frechet_distance(ours, theirs),
            "divergence": divergence(ours, theirs),
        }

    def likelihoods(self, sentences: Sentences) -> dict[str, float]:
        """Return `lm_kn` and `lm_lstm`, nats per token under models of the training text."""
        return {"lm_kn": self.kn.nll(sentences), "lm_lstm": self.lm.nll(sentences)}


@dataclass(frozen=True)
class QuickInstruments:
    """Those of `Instruments` that take a second."""

    instruments: Instruments

    def measure(self, samples: Sentences, references: Sentences) -> dict[str, float]:
        """Return `lm_kn`, `fbd`, and `reverse_lm_kn` of the first 2,000 references."""
        known = self.instruments
        return {
            "lm_kn": known.kn.nll(samples),
            "reverse_lm_kn": KneserNey(samples, known.words).nll(references[:SWEPT]),
            "fbd": frechet_distance(known.encoder.features(samples), known.features(references)),
        }
