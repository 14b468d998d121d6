"""Sentences as token ids: from an oracle, a text file, an array of ids, or a Hugging Face data set."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from rl.runtime import InputError
from rl.runtime.lines import numbered_lines
from seqgan.generators import LSTMGenerator
from seqgan.oracle import UNREADABLE, reason
from seqgan.sampling import speak

SPECIAL = ("</s>", "<unk>")  # the first words of every text: its sentences' boundary, and any rare word
BOUNDARY, UNKNOWN = 0, 1  # their ids; the boundary is read first, ends a sentence and follows its end
Units = Literal["word", "char"]
MOST_WORDS = 10_000_000  # of bare ids: one stray large number must not fill the memory with a vocabulary
Line = tuple[str, list[str]]  # where a sentence stands ("file:line"), and its words or characters


@dataclass(frozen=True)
class Vocabulary:
    """The words of a corpus by id; `joiner` stands between them in print."""

    words: tuple[str, ...]
    joiner: str = " "

    @classmethod
    def numbers(cls, size: int) -> "Vocabulary":
        """Return the vocabulary of a corpus of bare ids."""
        return cls(tuple(map(str, range(size))))

    @classmethod
    def of(cls, sentences: Iterable[Sequence[str]], units: Units, *, at_least: int = 1) -> "Vocabulary":
        """Return all words that occur `at_least` times, the most frequent first, after the two special ones.

        A text's own `<unk>` is the unknown word.
        """
        counts = Counter(word for sentence in sentences for word in sentence if word not in SPECIAL)
        kept = sorted((word for word, count in counts.items() if count >= at_least), key=lambda w: (-counts[w], w))
        return cls((*SPECIAL, *kept), " " if units == "word" else "")

    def encode(self, sentences: Sequence[Line], length: int) -> Int[Tensor, "sentences time"]:
        """Return ids, each sentence filled up with the boundary; raise InputError for one that is too long or ends."""
        ids = {word: number for number, word in enumerate(self.words)}
        rows = np.full((len(sentences), length), BOUNDARY)
        for row, (place, sentence) in zip(rows, sentences, strict=True):
            if len(sentence) > length:
                raise InputError(f"{place}: {len(sentence)} tokens, the length is {length} (--length)")
            if SPECIAL[BOUNDARY] in sentence:
                raise InputError(f"{place}: {SPECIAL[BOUNDARY]} stands in it, the mark of a sentence's end")
            row[: len(sentence)] = [ids.get(word, UNKNOWN) for word in sentence]
        return torch.from_numpy(rows)

    def decode(self, tokens: Int[Tensor, "sentences time"], end: int) -> list[list[str]]:
        """Return the words of each sentence up to its end token."""
        rows = (row[: row.index(end)] if end in row else row for row in tokens.tolist())
        return [[self.words[token] for token in row] for row in rows]

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON."""
        path.write_text(json.dumps({"joiner": self.joiner, "words": self.words}, ensure_ascii=False), encoding="utf-8")


@dataclass(frozen=True)
class Corpus:
    """Train, validation (held out of train) and test sentences of one length, all int64 [sentences, time].

    `end` is the token that ends a sentence, -1 where all have one length. `oracle` is the truth where it is known. The
    first `prompt` columns of a row are given, the others said; `labels` are the tokens that a prompt of one column
    chooses from, ascending, where sentences have kinds.
    """

    train: Int[Tensor, "train time"]
    valid: Int[Tensor, "valid time"]
    test: Int[Tensor, "test time"]
    vocabulary: Vocabulary
    end: int
    oracle: LSTMGenerator | None = None
    prompt: int = 0
    labels: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """Tokens in a row."""
        return self.train.shape[1]

    @cached_property
    def tested(self) -> list[list[str]]:
        """The words of the test sentences."""
        return self.sentences(self.test)

    @cached_property
    def learned(self) -> list[list[str]]:
        """The words of the training sentences."""
        return self.sentences(self.train)

    def given(self, tokens: Int[Tensor, "sentences time"]) -> list[list[str]]:
        """Return the words of each row's prompt, without what fills it up."""
        rows = tokens[:, : self.prompt].tolist()
        return [[self.vocabulary.words[token] for token in row if token != self.end] for row in rows]

    def sentences(self, tokens: Int[Tensor, "sentences time"]) -> list[list[str]]:
        """Return the words that were said in each row: after the prompt, up to the end token."""
        return self.vocabulary.decode(tokens[:, self.prompt :], self.end)


def oracle_corpus(oracle: LSTMGenerator, *, sentences: int, valid: int, test: int, length: int, seed: int) -> Corpus:
    """Return `sentences` draws of the oracle, `valid` of them held out, and `test` other draws."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = speak(oracle, sentences + test, length)
    vocabulary = Vocabulary.numbers(oracle.head.out_features)
    train, held, tested = drawn.split([sentences - valid, valid, test])
    return Corpus(train, held, tested, vocabulary, -1, oracle)


def text_corpus(
    train: Sequence[Line], test: Sequence[Line], *, units: Units, at_least: int, length: int, valid: int, seed: int
) -> Corpus:
    """Return a corpus of words or characters; without `test` a tenth of `train` is held out for it.

    Sentences of `train` that stand in `test` are left out. The vocabulary is that of train. Length 0 is that of the
    longest sentence of all.
    """
    tested = {tuple(sentence) for _, sentence in test}
    train = [line for line in train if tuple(line[1]) not in tested]
    if not train:
        raise InputError("--corpus: every sentence of it stands in --test")
    length = length or max(len(sentence) for _, sentence in (*train, *test))
    vocabulary = Vocabulary.of((sentence for _, sentence in train), units, at_least=at_least)
    return split(vocabulary.encode(train, length), vocabulary.encode(test, length), vocabulary, BOUNDARY, valid, seed)


def ids_corpus(train: Int[Tensor, "train time"], test: Int[Tensor, "test time"], *, valid: int, seed: int) -> Corpus:
    """Return a corpus of bare token ids, all sentences of one length; raise InputError where test has another."""
    if len(test) and test.shape[1] != train.shape[1]:
        raise InputError(f"--test: sentences of {test.shape[1]} tokens, those of --corpus have {train.shape[1]}")
    size = max(int(part.max()) + 1 for part in (train, test) if part.numel())
    return split(train, test, Vocabulary.numbers(size), -1, valid, seed)


def split(train: Tensor, test: Tensor, vocabulary: Vocabulary, end: int, valid: int, seed: int) -> Corpus:
    """Hold validation sentences, and test sentences where there are none, out of train at random.

    No sentence of train repeats one of such test sentences; it may repeat one that is held out for validation.
    """
    random, tested = torch.Generator().manual_seed(seed), 0
    if not len(test):
        train, test = apart(train, max(1, len(train) // 10), random)
        tested = len(test)
    if len(train) <= valid:
        raise InputError(
            f"--valid {valid}: the corpus has {len(train) + tested} sentences, {tested} of them held out for test"
        )
    order = torch.randperm(len(train), generator=random)
    return Corpus(train[order[valid:]], train[order[:valid]], test, vocabulary, end)


def apart(rows: Tensor, fewest: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Take at least `fewest` rows out of the others, and with each all that repeat it; return the others, and them."""
    kinds, counts = torch.unique(rows, dim=0, return_inverse=True, return_counts=True)[1:]
    order = torch.randperm(len(counts), generator=random)
    taken = order[: int((counts[order].cumsum(0) < fewest).sum()) + 1]
    out = torch.isin(kinds, taken)
    return rows[~out], rows[out]


def read_lines(path: Path, units: Units) -> list[Line]:
    """Return the sentences of a text file, one a line, with the place of each; raise InputError naming the line."""
    lines = []
    for place, line in numbered_lines(path):
        sentence = line.split() if units == "word" else list(line.rstrip("\r"))
        if not sentence:
            raise InputError(f"{place}: empty sentence")
        lines.append((place, sentence))
    return lines


def read_ids(path: Path) -> Int[Tensor, "sentences time"]:
    """Return the token ids of an `.npy`, or of the only array of an `.npz`: integers [sentences, time], none negative.

    Raises InputError naming the file and the place.
    """
    try:
        with path.open("rb") as opened:
            loaded = np.load(opened, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                ids = loaded
            elif len(loaded.files) != 1:
                raise InputError(f"{path}: {len(loaded.files)} arrays, expected one")
            else:
                ids = np.asarray(loaded[loaded.files[0]])  # a member that is no array comes as bytes
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable array file ({reason(error)})") from None
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer) or 0 in ids.shape:
        raise InputError(f"{path}: {ids.dtype} {ids.shape}, expected integers [sentences, time]")
    tokens = ids.astype(np.int64)
    wrong = (tokens < 0) | (tokens >= MOST_WORDS)  # ids beyond int64 come out negative
    if wrong.any():
        row, column = map(int, np.argwhere(wrong)[0])
        raise InputError(f"{path}:[{row}, {column}]: {ids[row, column]} is no token")
    return torch.from_numpy(tokens)


def read_hub(name: str, split_name: str, column: str, units: Units) -> list[Line]:
    """Return the sentences of one split of a Hugging Face data set (needs the `text` extra and a network)."""
    try:
        import datasets
    except ImportError:
        raise InputError(f"hf:{name}: needs the package datasets (pip install 'sparring[text]')") from None
    try:
        rows = datasets.load_dataset(name, split=split_name)
        sentences = rows[column]
    except Exception as error:  # the library raises dozens of types, none of its own
        raise InputError(f"hf:{name}: split {split_name}, column {column}: {error}") from None
    lines = []
    for number, text in enumerate(sentences):
        words = (text.split() if units == "word" else list(text)) if isinstance(text, str) else []
        if not words:
            raise InputError(f"hf:{name}:{split_name}[{number}].{column}: no sentence ({text!r})")
        lines.append((f"hf:{name}:{split_name}[{number}].{column}", words))
    if not lines:
        raise InputError(f"hf:{name}: split {split_name} is empty")
    return lines
