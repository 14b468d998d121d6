"""Corpora whose rows begin with something given: a label, or the words of a prompt."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional as F

from rl.runtime import InputError
from rl.runtime.lines import numbered_lines
from seqgan.by_label import ByLabel, silence
from seqgan.corpus import BOUNDARY, Corpus, Line, Units, Vocabulary, split
from seqgan.oracle import draw_oracle
from seqgan.sampling import BLANK, speak

Pair = tuple[str, str, str]  # where it stands ("file:line"), what stands before the tab, what stands after it


def read_pairs(path: Path) -> list[Pair]:
    """Return the pairs of a text file, `label<TAB>sentence` or `prompt<TAB>ending`, one a line.

    Raises InputError, naming the line, where there is not exactly one tab or nothing on one side of it.
    """
    pairs = []
    for place, line in numbered_lines(path):
        fields = line.rstrip("\r").split("\t")
        if len(fields) != 2:
            raise InputError(f"{place}: {len(fields) - 1} tabs, expected one (label, tab, sentence)")
        if not all(field.strip() for field in fields):
            raise InputError(f"{place}: nothing {'before' if fields[1].strip() else 'after'} the tab")
        pairs.append((place, *fields))
    return pairs


def labelled_corpus(
    train: Sequence[Pair], test: Sequence[Pair], *, units: Units, at_least: int, length: int, valid: int, seed: int
) -> Corpus:
    """Return a corpus of rows [label | sentence]; a label is a word of its own, the last ones of the vocabulary.

    Pairs of `train` that stand in `test` are left out; without `test` a tenth of `train` is held out for it. `length`
    is that of a sentence without its label, 0 that of the longest. Raises InputError where there are not two labels,
    and for a label that stands only in `test`.
    """
    train = without(train, test)
    names = sorted({label.strip() for _, label, _ in train})
    if len(names) < 2:
        raise InputError(f"{train[0][0]}: the only label is {names[0]!r}, expected two or more")
    sentences, tested = halves(train, units)[1], halves(test, units)[1]
    words = Vocabulary.of((sentence for _, sentence in sentences), units, at_least=at_least)
    vocabulary = Vocabulary((*words.words, *(f"<{name}>" for name in names)), words.joiner)
    ids = {name: len(words.words) + number for number, name in enumerate(names)}
    length = length or max(len(sentence) for _, sentence in (*sentences, *tested))

    def encode(pairs: Sequence[Pair], lines: Sequence[Line]) -> Int[Tensor, "rows time"]:
        unknown = [(place, label) for place, label, _ in pairs if label.strip() not in ids]
        if unknown:
            raise InputError(f"{unknown[0][0]}: label {unknown[0][1].strip()!r} does not stand in --corpus")
        labels = torch.tensor([ids[label.strip()] for _, label, _ in pairs], dtype=torch.long)
        return torch.cat([labels[:, None], words.encode(lines, length)], 1)

    corpus = split(encode(train, sentences), encode(test, tested), vocabulary, BOUNDARY, valid, seed)
    return replace(corpus, prompt=1, labels=tuple(ids.values()))


def paired_corpus(
    train: Sequence[Pair], test: Sequence[Pair], *, units: Units, at_least: int, length: int, valid: int, seed: int
) -> Corpus:
    """Return a corpus of rows [prompt | ending]; prompts are as long as the longest, filled up on the left.

    Pairs of `train` that stand in `test` are left out; without `test` a tenth of `train` is held out for it. `length`
    is that of an ending, 0 that of the longest. Prompts and endings of train make one vocabulary.
    """
    train = without(train, test)
    before, after = halves(train, units)
    before_tested, after_tested = halves(test, units)
    vocabulary = Vocabulary.of((words for _, words in (*before, *after)), units, at_least=at_least)
    prompt = max(len(words) for _, words in (*before, *before_tested))
    length = length or max(len(words) for _, words in (*after, *after_tested))

    def encode(prompts: Sequence[Line], endings: Sequence[Line]) -> Int[Tensor, "rows time"]:
        return torch.cat([left_filled(vocabulary.encode(prompts, prompt)), vocabulary.encode(endings, length)], 1)

    corpus = split(encode(before, after), encode(before_tested, after_tested), vocabulary, BOUNDARY, valid, seed)
    return replace(corpus, prompt=prompt)


def prompted(corpus: Corpus, words: int) -> Corpus:
    """Return the corpus with the next `words` tokens of every row given too; sentences that end before are left out.

    Raises InputError where nothing would be left to say.
    """
    prompt = corpus.prompt + words
    if prompt >= corpus.length:
        raise InputError(f"--prompt {words}: nothing left to say, the sentences have {corpus.length - corpus.prompt}")
    train, valid, test = (part[part[:, prompt - 1] != corpus.end] for part in (corpus.train, corpus.valid, corpus.test))
    if not (len(train) and len(test)):
        raise InputError(f"--prompt {words}: every sentence is shorter")
    oracle = copy.copy(corpus.oracle)
    if oracle is not None:
        oracle.prompt = prompt
    return replace(corpus, train=train, valid=valid, test=test, prompt=prompt, oracle=oracle)


def labelled_oracle(classes: int, vocabulary: int, *, seed: int) -> ByLabel:
    """Return one oracle for each label, drawn from `seed`, `seed` + 1 and so on; the labels follow the vocabulary.

    On rows [label | sentence] it is the row's own oracle, which reads and says the sentence alone.
    """
    labels = range(vocabulary, vocabulary + classes)
    oracles = [draw_oracle(vocabulary, seed=seed + number) for number in range(classes)]
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # the weights made here are overwritten
        for oracle in oracles:
            words, head = F.pad(oracle.embedding.weight, (0, 0, 0, classes)), oracle.head
            oracle.embedding = nn.Embedding.from_pretrained(words)
            oracle.head = nn.Linear(head.in_features, vocabulary + classes)
            oracle.head.weight[:vocabulary], oracle.head.bias[:vocabulary] = head.weight, head.bias
            silence(oracle.head, labels)
        return ByLabel(oracles, labels).requires_grad_(False).eval()


def labelled_oracle_corpus(oracle: ByLabel, *, sentences: int, valid: int, test: int, length: int, seed: int) -> Corpus:
    """Return rows [label | `length` tokens], as many of each label: `valid` of `sentences` held out, `test` others."""
    labels = oracle.labels.tolist()
    given = torch.full((sentences + test, 1 + length), BLANK)
    given[:, 0] = oracle.labels.repeat(len(given) // len(labels) + 1)[: len(given)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        drawn = speak(oracle, len(given), 1 + length, given=given)
    words = oracle.head.out_features - len(labels)
    vocabulary = Vocabulary((*map(str, range(words)), *(f"<{number}>" for number in range(len(labels)))))
    train, held, tested = drawn.split([sentences - valid, valid, test])
    return Corpus(train, held, tested, vocabulary, -1, oracle, prompt=1, labels=tuple(labels))


def without(train: Sequence[Pair], test: Sequence[Pair]) -> list[Pair]:
    """Return the pairs of `train` that do not stand in `test`."""
    tested = {(before.strip(), after.strip()) for _, before, after in test}
    left = [pair for pair in train if (pair[1].strip(), pair[2].strip()) not in tested]
    if not left:
        raise InputError("--corpus: every line of it stands in --test")
    return left


def halves(pairs: Sequence[Pair], units: Units) -> tuple[list[Line], list[Line]]:
    """Return what stands before the tabs and what stands after them, as words or characters."""

    def said(text: str) -> list[str]:
        return text.split() if units == "word" else list(text)

    return [(place, said(text)) for place, text, _ in pairs], [(place, said(text)) for place, _, text in pairs]


def left_filled(rows: Int[Tensor, "rows time"]) -> Int[Tensor, "rows time"]:
    """Move the boundaries that fill up the ends of rows to their fronts."""
    filling = (rows.flip(1).cumsum(1) == 0).sum(1, keepdim=True)
    return rows.gather(1, (torch.arange(rows.shape[1]) - filling) % rows.shape[1])
