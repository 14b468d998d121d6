import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rl.runtime import InputError
from seqgan.corpus import Vocabulary
from seqgan.likelihood import counted
from seqgan.prompts import Example, dealt, prompt_corpus, read_examples, tokenizer_of, word_tokenizer

ROWS = [
    {"prompt": "a man", "completion": "rides a horse", "answer": 3},
    {"prompt": "two", "completion": "dogs", "answer": 1},
    {"prompt": "a cat on a", "completion": "red mat", "answer": 2},
]
EXAMPLES = [
    Example(f"f:{n}", row["prompt"], row["completion"], {"answer": row["answer"]}) for n, row in enumerate(ROWS)
]


def written(path: Path, rows: list[Any]) -> str:
    text = "\n".join(json.dumps(row) if not isinstance(row, str) else row for row in rows) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def words() -> Any:
    return word_tokenizer(f"{row['prompt']} {row['completion']}" for row in ROWS)


def pieces() -> Any:
    """A tokenizer of parts of words, whose end of text is not its first token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    texts = [f"{row['prompt']} {row['completion']}" for row in ROWS]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=60, special_tokens=["<pad>", "<|end|>"]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<pad>")


@pytest.mark.parametrize("name", ["demos.jsonl", "demos.jsonl.gz"])
def test_json_lines_keep_their_other_columns_and_their_places(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, ROWS)
    examples = read_examples(path)
    assert [(each.prompt, each.completion) for each in examples] == [(r["prompt"], r["completion"]) for r in ROWS]
    assert [each.others for each in examples] == [{"answer": 3}, {"answer": 1}, {"answer": 2}]
    assert [each.place for each in examples] == [f"{path}:1", f"{path}:2", f"{path}:3"]
    assert read_examples(path, most=2) == examples[:2]


def test_other_names_of_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "qa.jsonl", [{"question": "q", "solution": "s", "prompt": 1}])
    assert read_examples(path, prompt="question", completion="solution") == [
        Example(f"{path}:1", "q", "s", {"prompt": 1})
    ]


def test_parquet_and_pairs_say_the_same(tmp_path: Path) -> None:
    import datasets

    parquet = str(tmp_path / "demos.parquet")
    datasets.Dataset.from_list(ROWS).to_parquet(parquet)
    pairs = written(tmp_path / "demos.tsv", [f"{row['prompt']}\t{row['completion']}" for row in ROWS])
    said = [[(each.prompt, each.completion) for each in read_examples(path)] for path in (parquet, pairs)]
    assert said[0] == said[1] == [(row["prompt"], row["completion"]) for row in ROWS]
    assert read_examples(parquet)[2] == Example(f"{parquet}[2]", "a cat on a", "red mat", {"answer": 2})
    assert read_examples(pairs, most=1) == [Example(f"{pairs}:1", "a man", "rides a horse")]


BAD = [
    ({"prompt": "a"}, r":2: no column 'completion' \(there: prompt\)"),
    ({"prompt": "a", "completion": None}, ":2: completion is NoneType, expected text"),
    ({"prompt": ["a"], "completion": "b"}, ":2: prompt is list, expected text"),
    ({"prompt": "a", "completion": " "}, ":2: completion is empty"),
    ('{"prompt": "a", ', r":2: not JSON \(.*, column \d+\)"),
    ("[1, 2]", ":2: list, expected an object with columns"),
]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_a_bad_row_is_named(row: Any, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "demos.jsonl", [ROWS[0], row])
    with pytest.raises(InputError, match=message) as caught:
        read_examples(path)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("none.jsonl", "none.parquet", "none.tsv"):
        with pytest.raises(InputError, match=f"{name}: no such file"):
            read_examples(str(tmp_path / name))
    with pytest.raises(InputError, match=r"demos\.csv: expected a \.jsonl"):
        read_examples("demos.csv")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 is not enough")
    with pytest.raises(InputError, match=r"broken\.parquet: split train: "):
        read_examples(str(tmp_path / "broken.parquet"))
    (tmp_path / "words.tsv").write_text("a\tb\nno tab\n")
    with pytest.raises(InputError, match=r"words\.tsv:2: 0 tabs"):
        read_examples(str(tmp_path / "words.tsv"))


def test_a_data_set_of_the_hub_is_streamed_where_some_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(name: str, *, split: str, streaming: bool) -> Any:
        asked.append((name, split, streaming))
        return iter(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(read_examples("hf:some/thing", split="validation")) == 3
    assert [each.place for each in read_examples("hf:some/thing", most=2)] == ["hf:some/thing[0]", "hf:some/thing[1]"]
    assert asked == [("some/thing", "validation", False), ("some/thing", "train", True)]

    def offline(name: str, **_: Any) -> Any:
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(InputError, match=r"hf:some/thing: split train: .*no network") as caught:
        read_examples("hf:some/thing")
    assert "\n" not in str(caught.value)


def test_rows_are_filled_up_on_both_sides() -> None:
    tokenizer = words()
    corpus = prompt_corpus(EXAMPLES[:2], EXAMPLES[2:], tokenizer, prompt=5, length=4, valid=0, seed=0)
    ids = tokenizer.get_vocab()
    by_prompt = {tuple(row[:5].tolist()): row[5:].tolist() for row in corpus.train}
    assert by_prompt == {
        (0, 0, 0, ids["a"], ids["man"]): [ids["rides"], ids["a"], ids["horse"], 0],
        (0, 0, 0, 0, ids["two"]): [ids["dogs"], 0, 0, 0],
    }
    assert corpus.test.tolist() == [[0, *(ids[w] for w in ["a", "cat", "on", "a", "red", "mat"]), 0, 0]]
    assert (corpus.end, corpus.prompt, corpus.start, corpus.length) == (0, 5, 0, 9)
    assert len(corpus.vocabulary.words) == len(tokenizer)
    assert corpus.vocabulary.words[ids["horse"]] == "horse"


@pytest.mark.parametrize("make", [words, pieces])
def test_what_is_encoded_can_be_read_again(make: Any) -> None:
    tokenizer = make()
    corpus = prompt_corpus(EXAMPLES, [], tokenizer, valid=1, seed=3)
    seen = {}
    for name in ("train", "valid", "test"):
        rows = getattr(corpus, name)
        assert len(rows) == 1
        for given, said, others in zip(corpus.given(rows), corpus.sentences(rows), corpus.others[name], strict=True):
            seen[" ".join(given)] = (" ".join(said), others["answer"])
    assert seen == {row["prompt"]: (row["completion"], row["answer"]) for row in ROWS}
    assert corpus.tested == corpus.sentences(corpus.test)
    longest = max(len(tokenizer(row["prompt"], add_special_tokens=False).input_ids) for row in ROWS)
    assert corpus.prompt == longest


def test_a_tokenizer_of_pieces_has_its_own_end_and_no_start() -> None:
    tokenizer = pieces()
    corpus = prompt_corpus(EXAMPLES, [], tokenizer, length=12, valid=1, seed=0)
    assert corpus.start == -1
    assert corpus.end == tokenizer.eos_token_id == 1
    rows = torch.cat([corpus.train, corpus.valid, corpus.test])
    assert not (rows == tokenizer.pad_token_id).any()
    assert (rows[:, -1] == 1).all()
    said = counted(rows, 1, corpus.prompt)
    ended = rows.masked_select(said & (rows == 1))
    assert len(ended) == 3


def test_what_stands_in_test_never_teaches() -> None:
    corpus = prompt_corpus(EXAMPLES, EXAMPLES[1:2], words(), valid=0, seed=0)
    assert len(corpus.train) == 2
    assert ["dogs"] not in corpus.learned
    assert corpus.tested == [["dogs"]]


def test_examples_are_dealt_once() -> None:
    for test in (0, 7):
        places = dealt(40, test, 5, seed=2)
        assert sorted(torch.cat([*places.values()]).tolist()) == list(range(40 + test))
        assert [len(places[name]) for name in ("train", "valid", "test")] == [35 - (0 if test else 4), 5, test or 4]
        assert places["train"].tolist() != sorted(places["train"].tolist())
        assert all(map(torch.equal, places.values(), dealt(40, test, 5, seed=2).values()))
        assert not dealt(40, test, 5, seed=3)["train"].equal(places["train"])


TOO_LONG = [
    ({"prompt": 3}, "f:2: a prompt of 4 tokens, expected 3 or fewer"),
    ({"length": 2}, "f:0: a completion of 3 tokens, expected 2 or fewer"),
]


@pytest.mark.parametrize(("sizes", "message"), TOO_LONG)
def test_what_is_too_long_is_named(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prompt_corpus(EXAMPLES, [], words(), **sizes, valid=1, seed=0)


def test_an_empty_prompt_needs_a_start() -> None:
    free = [Example("f:9", "", "a man rides"), *EXAMPLES]
    assert prompt_corpus(free, [], words(), valid=1, seed=0).start == 0
    with pytest.raises(InputError, match="f:9: empty prompt, and the tokenizer has no token to begin with"):
        prompt_corpus(free, [], pieces(), valid=1, seed=0)


def test_too_few_examples_and_a_tokenizer_without_an_end() -> None:
    with pytest.raises(InputError, match="--valid 2: there are 3 examples to learn from, 1 of them held out"):
        prompt_corpus(EXAMPLES, [], words(), valid=2, seed=0)
    endless = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    with pytest.raises(InputError, match="has no end-of-text token"):
        prompt_corpus(EXAMPLES, [], endless, valid=1, seed=0)


@pytest.mark.parametrize("units", ["word", "char"])
def test_a_texts_own_tokenizer_is_saved_and_loaded(units: Any, tmp_path: Path) -> None:
    sentences = [row["completion"].split() if units == "word" else list(row["completion"]) for row in ROWS]
    vocabulary = Vocabulary.of(sentences, units)
    tokenizer_of(vocabulary).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for row, sentence in zip(ROWS, sentences, strict=True):
        ids = tokenizer(row["completion"]).input_ids
        assert ids[0] == tokenizer.bos_token_id == tokenizer.eos_token_id == tokenizer.pad_token_id == 0
        assert [vocabulary.words[number] for number in ids[1:]] == sentence
        assert tokenizer.decode(ids, skip_special_tokens=True) == row["completion"]
    assert tokenizer("zebra" if units == "word" else "z").input_ids == [0, 1]
    batch = tokenizer(["rides a", "mat"] if units == "word" else ["ab", "a"], padding=True)
    assert batch.attention_mask == [[1, 1, 1], [0, 1, 1]]


def test_bare_ids_have_no_tokenizer() -> None:
    with pytest.raises(ValueError, match="a text's first two words are </s>, <unk>"):
        tokenizer_of(Vocabulary.numbers(5))
