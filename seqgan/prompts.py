"""Prompts and their completions as rows of token ids: from JSON lines, parquet, pairs apart by a tab, or the hub.

A row is [prompt | completion]: prompts filled up on the left, completions ended and filled up, both by the tokenizer's
end of text. Columns besides the two are kept, for verifiers.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from rl.runtime import InputError
from rl.runtime.errors import one_line
from rl.runtime.lines import numbered_lines
from seqgan.conditional import read_pairs
from seqgan.corpus import SPECIAL, Corpus, Vocabulary

Rows = Int[Tensor, "rows time"]


@dataclass(frozen=True)
class Example:
    """A prompt, what is to follow it, the other columns, and where it stands (`file:line`)."""

    place: str
    prompt: str
    completion: str
    others: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptCorpus(Corpus):
    """A Corpus whose tokens are a tokenizer's; `start` is read before every prompt, -1 where nothing is.

    `others` holds, for `train`, `valid` and `test`, the columns that are no text, row by row.
    """

    tokenizer: Any = None
    start: int = -1
    others: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def sentences(self, tokens: Rows) -> list[list[str]]:
        """Return the words that were said in each row: after the prompt, up to the end token."""
        return [text.split() for text in self.texts(tokens[:, self.prompt :])]

    def given(self, tokens: Rows) -> list[list[str]]:
        """Return the words of each row's prompt."""
        return [text.split() for text in self.texts(tokens[:, : self.prompt].flip(1), backwards=True)]

    def texts(self, tokens: Rows, *, backwards: bool = False) -> list[str]:
        """Return the text of each row up to its end token."""
        rows = (row[: row.index(self.end)] if self.end in row else row for row in tokens.tolist())
        return [self.tokenizer.decode(row[::-1] if backwards else row) for row in rows]


def read_examples(
    source: str, *, prompt: str = "prompt", completion: str = "completion", split: str = "train", most: int = 0
) -> list[Example]:
    """Return the examples of a file (.jsonl, .parquet, .tsv; .gz but of parquet) or of `hf:NAME`, the first `most`.

    0 is all. Raises InputError, naming file and line, for a row without both texts.
    """
    if source.endswith((".tsv", ".tsv.gz")):
        return [Example(*pair) for pair in islice(read_pairs(Path(source)), most or None)]
    rows = json_rows(Path(source)) if source.endswith((".jsonl", ".jsonl.gz")) else library_rows(source, split, most)
    examples = [example(place, row, prompt, completion) for place, row in islice(rows, most or None)]
    if not examples:
        raise InputError(f"{source}: no example in it")
    return examples


def example(place: str, row: Mapping[str, Any], prompt: str, completion: str) -> Example:
    """Check one row."""
    for column in (prompt, completion):
        if column not in row:
            raise InputError(f"{place}: no column {column!r} (there: {', '.join(map(str, row)) or 'none'})")
        if not isinstance(row[column], str):
            raise InputError(f"{place}: {column} is {type(row[column]).__name__}, expected text")
    if not row[completion].strip():
        raise InputError(f"{place}: {completion} is empty")
    others = {name: value for name, value in row.items() if name not in (prompt, completion)}
    return Example(place, row[prompt], row[completion], others)


def json_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the objects of a file of JSON lines, each with its place."""
    for place, line in numbered_lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{place}: not JSON ({error.msg}, column {error.colno})") from None
        if not isinstance(row, dict):
            raise InputError(f"{place}: {type(row).__name__}, expected an object with columns")
        yield place, row


def library_rows(source: str, split: str, most: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the rows of a parquet file or of the hub by `datasets`; streamed where only some are wanted."""
    if not source.startswith("hf:") and not source.endswith(".parquet"):
        raise InputError(f"{source}: expected a .jsonl, .jsonl.gz, .parquet, .tsv or .tsv.gz file, or hf:NAME")
    if not source.startswith("hf:") and not Path(source).is_file():
        raise InputError(f"{source}: no such file")
    try:
        import datasets
    except ImportError:
        raise InputError(f"{source}: needs the package datasets (pip install 'sparring[lm]')") from None
    try:
        if source.startswith("hf:"):
            rows = datasets.load_dataset(source.removeprefix("hf:"), split=split, streaming=most > 0)
        else:
            rows = datasets.load_dataset("parquet", data_files=source, split="train", streaming=True)
        for number, row in enumerate(rows):
            yield f"{source}[{number}]", row
    except Exception as error:  # the library raises dozens of types, none of its own
        raise InputError(f"{source}: split {split}: {one_line(error)}") from None


def word_tokenizer(texts: Iterable[str], *, at_least: int = 1) -> Any:
    """Return a tokenizer of transformers for words apart by blanks, those of `texts`; the most frequent come first."""
    return tokenizer_of(Vocabulary.of((text.split() for text in texts), "word", at_least=at_least))


def tokenizer_of(vocabulary: Vocabulary) -> Any:
    """Return transformers' tokenizer of a text's words or characters; it begins a text with the boundary.

    Raises ValueError for a vocabulary of bare ids.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    if vocabulary.words[: len(SPECIAL)] != SPECIAL:
        raise ValueError(f"a text's first two words are {', '.join(SPECIAL)}, not {vocabulary.words[:2]}")
    end, unknown = SPECIAL
    ids = {word: number for number, word in enumerate(vocabulary.words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=unknown))
    if vocabulary.joiner:
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"), decoders.Fuse()
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{end} $A", special_tokens=[(end, 0)])
    special = {"bos_token": end, "eos_token": end, "pad_token": end, "unk_token": unknown}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **special)


def prompt_corpus(
    train: Sequence[Example],
    test: Sequence[Example],
    tokenizer: Any,
    *,
    prompt: int = 0,
    length: int = 0,
    valid: int,
    seed: int,
) -> PromptCorpus:
    """Return rows of `prompt` columns and `length` more (0: as the longest; an end token needs no column of its own).

    Examples of `train` that stand in `test` are left out; without `test` a tenth of `train` is held out for it. Raises
    InputError, naming the place, for what is too long, and where nothing would be read before a completion.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise InputError(f"{type(tokenizer).__name__}: has no end-of-text token")
    tested = {(each.prompt, each.completion) for each in test}
    examples = [*(each for each in train if (each.prompt, each.completion) not in tested), *test]
    picked = dealt(len(examples) - len(test), len(test), valid, seed)
    rows, prompt, start = encode(examples, tokenizer, prompt, length)
    return PromptCorpus(
        **{name: rows[places] for name, places in picked.items()},
        vocabulary=Vocabulary(tuple(tokenizer.convert_ids_to_tokens(range(len(tokenizer))))),
        end=end,
        prompt=prompt,
        tokenizer=tokenizer,
        start=start,
        others={name: [examples[each].others for each in places.tolist()] for name, places in picked.items()},
    )


def encode(examples: Sequence[Example], tokenizer: Any, prompt: int, length: int) -> tuple[Rows, int, int]:
    """Return rows, their prompt columns, and the token that is read before them."""
    begun = tokenizer("").input_ids[:1]
    start = begun[0] if begun and begun[0] == tokenizer.bos_token_id else -1
    ids = [(encoded(tokenizer, each.prompt), encoded(tokenizer, each.completion)) for each in examples]
    prompt = prompt or max((len(before) for before, _ in ids), default=0)
    length = length or max((len(after) for _, after in ids), default=0)
    rows = torch.full((len(ids), prompt + length), tokenizer.eos_token_id)
    for each, (before, after), row in zip(examples, ids, rows, strict=True):
        for what, tokens, most in (("prompt", before, prompt), ("completion", after, length)):
            if len(tokens) > most:
                raise InputError(f"{each.place}: a {what} of {len(tokens)} tokens, expected {most} or fewer")
        if not before and start < 0:
            raise InputError(f"{each.place}: empty prompt, and the tokenizer has no token to begin with")
        row[prompt - len(before) : prompt + len(after)] = torch.tensor(before + after)
    return rows, prompt, start


def dealt(train: int, test: int, valid: int, seed: int) -> dict[str, Int[Tensor, "rows"]]:
    """Return which examples are for what: the first `train` are dealt at random, the other ones are the test."""
    held = 0 if test else max(1, train // 10)
    if train <= valid + held:
        raise InputError(f"--valid {valid}: there are {train} examples to learn from, {held} of them held out for test")
    order = torch.randperm(train, generator=torch.Generator().manual_seed(seed))
    tested = torch.arange(train, train + test) if test else order[valid : valid + held]
    return {"train": order[valid + held :], "valid": order[:valid], "test": tested}


def encoded(tokenizer: Any, text: str) -> list[int]:
    """Return a text's ids, nothing added at either end."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids
