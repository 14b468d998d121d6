"""Where text and demonstrations come from: the grammar, or a file whose rows a verifier divides."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from experiments.lm_setup import Experiment
from rl.rollout import Rollout
from rl.runtime import InputError
from rl.runtime.errors import one_line
from seqgan.conditional import paired_corpus, prompted, read_pairs
from seqgan.corpus import Corpus, read_lines, text_corpus
from seqgan.likelihood import counted
from seqgan.lm import grammar
from seqgan.lm.nets import nets_of
from seqgan.lm.task import Task
from seqgan.lm.verifiers import Verifier, mentions
from seqgan.prompts import Example, prompt_corpus, read_examples, word_tokenizer

TEXTS, PAIRS, COLUMNS = (".txt", ".txt.gz"), (".tsv", ".tsv.gz"), (".jsonl", ".jsonl.gz", ".parquet")
Row = TypeVar("Row")
TRIES = 100  # how many times as many sentences the grammar says at most, until enough pass
READ = 200  # sentences of the grammar held out to choose the epoch of maximum likelihood


def load_task(e: Experiment) -> Task:
    """Return text, demonstrations and verifier; raise InputError naming the flag or the file and the place."""
    return of_grammar(e) if e.data == "grammar" else of_file(e)


def of_grammar(e: Experiment) -> Task:
    """Return sentences of the toy grammar; those that pass are drawn apart from the text."""
    for flag in ("test", "prompt", "longest", "model", "judge"):
        if getattr(e, flag):
            raise InputError(f"--{flag} {getattr(e, flag)}: not with --data grammar")
    if not e.demonstrations:
        raise InputError("--demonstrations 0: the grammar has as many as are asked for")
    sizes = [e.demonstrations, e.valid, e.test_sentences]
    pool = grammar.draw(e.sentences + READ, seed=2 * e.data_seed)
    text = Corpus(pool[READ:], pool[:READ], pool[:0], grammar.VOCABULARY, 0)
    verifier = mentions(e.words, e.verifier_count, text)
    passing = pool[:0]
    for part in range(TRIES):
        fresh = grammar.draw(sum(sizes), seed=TRIES * (2 * e.data_seed + 1) + part)
        passing = torch.cat([passing, fresh[passed(fresh, text, verifier)]])
        if len(passing) >= sum(sizes):
            train, valid, test = passing[: sum(sizes)].split(sizes)
            shown = replace(text, train=train, valid=valid, test=test)
            return Task(text, shown, verifier, {"grammatical": grammar.grammatical})
    raise InputError(f"--verifier {e.words}: hardly a sentence of the grammar passes")


def of_file(e: Experiment) -> Task:
    """Return the text of a file; its demonstrations are the rows that pass, the test rows those of the test text.

    `valid` of the demonstrations are held out of everything that learns.
    """
    corpus = read(e)
    verifier = mentions(e.words, e.verifier_count, corpus)
    passing = passed(corpus.train, corpus, verifier)
    test = corpus.test[passed(corpus.test, corpus, verifier)]
    demonstrations = corpus.train[passing]
    if len(demonstrations) <= e.valid:
        raise InputError(f"--valid {e.valid}: {e.data} has {len(demonstrations)} sentences that pass (--verifier)")
    if len(test) < 2:
        raise InputError(f"--test: {len(test)} sentences pass, expected two or more (--verifier {e.words})")
    order = torch.randperm(len(demonstrations), generator=torch.Generator().manual_seed(e.data_seed))
    held, kept = demonstrations[order[: e.valid]], demonstrations[order[e.valid :]]
    text = replace(corpus, train=torch.cat([corpus.train[~passing], kept]))
    kept = kept[: e.demonstrations] if e.demonstrations else kept
    shown = replace(corpus, train=kept, valid=held, test=test)
    return Task(text, shown, verifier, nets=nets_of(e.model, e.judge))


def read(e: Experiment) -> Corpus:
    """Return the rows of --data and --test: words of ours, or a tokenizer's tokens where there is a model."""
    kind = kind_of("--data", e.data)
    if e.test and kind_of("--test", e.test) != kind:
        raise InputError(f"--test {e.test}: expected the same kind of file as --data {e.data}")
    if kind != "text" and e.prompt:
        raise InputError(f"--prompt {e.prompt}: the prompts of {e.data} are its own")
    if e.model or e.judge or kind == "columns":
        return tokenized(e, kind)
    files = [name for name in (e.data, e.test) if name]
    how = {"units": "word", "at_least": 1, "length": 0, "valid": e.valid, "seed": e.data_seed}
    if kind == "pairs":
        pairs = [read_pairs(Path(name)) for name in files]
        pairs = [short(part, [f"{before} {after}".split() for _, before, after in part], e) for part in pairs]
        return paired_corpus(pairs[0], pairs[1] if e.test else [], **how)
    lines = [read_lines(Path(name), "word") for name in files]
    lines = [short(part, [words for _, words in part], e) for part in lines]
    corpus = text_corpus(lines[0], lines[1] if e.test else [], **how)
    return prompted(corpus, e.prompt) if e.prompt else corpus


def tokenized(e: Experiment, kind: str) -> Corpus:
    """Return rows of a tokenizer's tokens: the model's, or words where there is none."""
    parts = [examples(e, name, kind) if name else [] for name in (e.data, e.test)]
    folder = e.model or e.judge
    if e.model and e.judge and tokenizer_of(e.model).get_vocab() != tokenizer_of(e.judge).get_vocab():
        raise InputError(f"--judge {e.judge}: has other tokens than --model {e.model}")
    tokenizer = tokenizer_of(folder) if folder else word_tokenizer(f"{x.prompt} {x.completion}" for x in parts[0])
    return prompt_corpus(*parts, tokenizer, valid=e.valid, seed=e.data_seed)


def examples(e: Experiment, name: str, kind: str) -> list[Example]:
    """Return prompts and completions; of a text the first words of each sentence are the prompt."""
    if kind == "text":
        halves = [
            (place, " ".join(words[: e.prompt]), words[e.prompt :]) for place, words in read_lines(Path(name), "word")
        ]
        found = [
            Example(place, before, " ".join(["", *after] if before else after))
            for place, before, after in halves
            if after
        ]
    else:
        found = read_examples(name, prompt=e.prompt_column, completion=e.completion_column)
    return short(found, [f"{x.prompt} {x.completion}".split() for x in found], e)


def tokenizer_of(folder: Path) -> Any:
    """Return the tokenizer of a folder; raise InputError where there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no tokenizer: {one_line(error)[:200]}") from None


def kind_of(flag: str, name: str) -> str:
    """Tell what a file holds; raise InputError for what is no source."""
    for kind, endings in (("text", TEXTS), ("pairs", PAIRS), ("columns", COLUMNS)):
        if name.endswith(endings) or (kind == "columns" and name.startswith("hf:")):
            return kind
    endings = ", ".join((*TEXTS, *PAIRS, *COLUMNS))
    raise InputError(f"{flag} {name}: expected grammar, hf:NAME, or a file that ends with one of {endings}")


def short(rows: list[Row], words: Sequence[Sequence[str]], e: Experiment) -> list[Row]:
    """Return the rows whose words are not too many; raise InputError where none is left."""
    most = e.longest or sys.maxsize
    kept = [row for row, its in zip(rows, words, strict=True) if len(its) <= most]
    if not kept:
        raise InputError(f"--longest {e.longest}: every sentence has more words")
    return kept


def passed(rows: Tensor, corpus: Corpus, verifier: Verifier) -> Tensor:
    """Return which rows the verifier pays anything."""
    return verifier(Rollout.of(rows, counted(rows, corpus.end, corpus.prompt))) > 0
