import pytest
import torch

from rl.adapters.demonstrated import Column, Pool, is_held_out
from rl.adapters.memory import Memory, Pair
from rl.adapters.rows import Batch, Reader, Row
from rl.runtime import InputError
from tests.rl.adapters.bags import END, Words
from tests.rl.adapters.tiny_lm import tokenizer

TOKENIZERS = [pytest.param(tokenizer(), id="transformers"), pytest.param(Words(), id="words")]


def ids(text: str) -> tuple[int, ...]:
    return tuple(Words()(text)["input_ids"])


@pytest.mark.parametrize("words", TOKENIZERS)
def test_text_counts_as_finished_and_ids_say_it_themselves(words) -> None:
    reader = Reader(words)
    asked = {text: tuple(words(text)["input_ids"]) for text in ("", "a", "b", "a b")}  # begun as the tokenizer begins
    assert reader.finished("a b", "c d") == Row(asked["a b"], (*ids("c d"), END))
    assert reader.finished("a b", "c </s>") == Row(asked["a b"], (*ids("c"), END))
    assert reader.finished("a b", [4, 5]) == Row(asked["a b"], (4, 5))
    columns = {"prompts": ["a", "b"], "completions": ["c", "c"], "completion_ids": [[5, END], [5]]}
    assert reader.completions(columns) == [Row(asked["a"], (5, END)), Row(asked["b"], (5,))]
    del columns["completion_ids"]
    assert reader.completions(columns) == [Row(asked["a"], (5, END)), Row(asked["b"], (5, END))]
    assert reader.prompt([3, 4]) == (3, 4)
    assert reader.prompt("") == asked[""]


@pytest.mark.parametrize("words", TOKENIZERS)
def test_a_chats_answer_ends_with_its_end_token_and_not_with_what_the_template_adds(words) -> None:
    asked = [{"role": "h", "content": "b c"}]
    template = "h b c </s> <unk> a" if isinstance(words, Words) else "h b c </s> a"
    reader = Reader(words)
    for answer in ("d e", [{"role": "assistant", "content": "d e"}]):
        row = reader.finished(asked, answer)
        assert row.prompt == ids(template)
        assert row.said == (*ids("d e"), END)
    assert reader.completions({"prompts": [asked], "completions": [[]], "completion_ids": [[5]]}) == [
        Row(ids(template), (5,))
    ]


@pytest.mark.parametrize("words", TOKENIZERS)
def test_ids_after_a_chat_stay_as_they_are(words) -> None:
    chat = [{"role": "h", "content": "b c"}]
    reader = Reader(words)
    assert reader.finished(chat, [6, 7]) == Row(reader.prompt(chat), (6, 7))


@pytest.mark.parametrize("words", TOKENIZERS)
@pytest.mark.parametrize(
    ("prompt", "completion", "message"),
    [
        ("a", [{"role": "u", "content": "b"}], "a chat as the completion of a prompt that is none"),
        ([3], [{"role": "u", "content": "b"}], "a chat as the completion of a prompt that is none"),
        ([{"content": "b"}], "b", "a message has a role and content"),
        ([{"role": "u"}], "b", "a message has a role and content"),
        ([{"role": "u", "content": "b"}, "c"], "b", "a message has a role and content"),
        (1, "b", "int is neither text, a chat nor ids"),
        ("a", None, "NoneType is neither text, a chat nor ids"),
        ("a", ["b"], "list is neither text, a chat nor ids"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(words, prompt, completion, message: str) -> None:
    with pytest.raises(InputError, match=message) as told:
        Reader(words).finished(prompt, completion)
    assert "\n" not in str(told.value)


def test_what_a_template_raises_is_said_in_one_line() -> None:
    class Refuses(Words):
        def apply_chat_template(self, conversation, /, **options):
            raise RuntimeError("no\nsystem")

    with pytest.raises(InputError, match="chat template: RuntimeError: no system"):
        Reader(Refuses()).prompt([{"role": "u", "content": "a"}])


def test_a_template_that_changes_the_prompt_is_refused() -> None:
    class Forgets(Words):
        def apply_chat_template(self, conversation, /, **options):
            return self(conversation[-1]["content"])

    with pytest.raises(InputError, match="do not begin with those of the prompt"):
        Reader(Forgets()).finished([{"role": "u", "content": "a"}], "b")


def test_a_tokenizer_needs_an_end() -> None:
    endless = Words()
    endless.eos_token_id = None
    with pytest.raises(ValueError, match="no end token"):
        Reader(endless)


def test_rows_lie_side_by_side() -> None:
    batch = Batch.of([Row((3, 4), (5,)), Row((), (6, 7, 1)), Row((8,), ())], torch.device("cpu"))
    assert batch.tokens.tolist() == [[3, 4, 5], [6, 7, 1], [8, 0, 0]]
    assert batch.mask.tolist() == [[True, True, True], [True, True, True], [True, False, False]]
    assert batch.said.tolist() == [[False, False, True], [True, True, True], [False, False, False]]


def test_columns_and_pools_give_one_demonstration_a_row() -> None:
    reader = Reader(Words())
    columns = {"prompts": ["a", "b"], "answer": ["c", "d"]}
    assert Column("answer", reader)(columns) == [reader.finished("a", "c"), reader.finished("b", "d")]
    with pytest.raises(InputError, match="the data have no column 'anwser'; did you mean 'answer'"):
        Column("anwser", reader)(columns)
    with pytest.raises(InputError, match="answer: row 1 of the batch has none"):
        Column("answer", reader)({"prompts": ["a", "b"], "answer": ["c", None]})
    with pytest.raises(InputError, match="number 1: needs prompt and completion"):
        Pool.of([{"prompt": "a", "completion": "b"}, {"prompt": "a"}], reader)
    with pytest.raises(InputError, match="there are none"):
        Pool.of([], reader)
    pool = Pool.of([{"prompt": "a", "completion": word} for word in "bcd"], reader)
    torch.manual_seed(0)
    drawn = pool({"prompts": ["e"] * 600})
    assert set(drawn) == {reader.finished("a", word) for word in "bcd"}
    assert min(drawn.count(row) for row in pool.rows) > 140  # of 200; chance below 1e-6


def test_a_share_of_demonstrations_is_held_out_always_the_same() -> None:
    rows = [Row((number,), (number * 7, END)) for number in range(4000)]
    held = [is_held_out(row, 0.1) for row in rows]
    assert 300 < sum(held) < 500  # 5 standard deviations
    assert held == [is_held_out(row, 0.1) for row in rows]
    assert all(is_held_out(row, 0.2) for row, out in zip(rows, held, strict=True) if out)
    assert not any(is_held_out(row, 0.0) for row in rows)
    assert all(is_held_out(row, 1.0) for row in rows)
    assert is_held_out(Row((1,), (2,)), 0.5) == is_held_out(Row((1,), (2,)), 0.5)


def pair(number: int) -> Pair:
    return Pair(Row((number,), (number, number, END)), Row((), (number,) * (number % 3)))


def test_memory_forgets_the_oldest_and_comes_back_from_a_state() -> None:
    memory = Memory(4)
    memory.add(map(pair, range(6)))
    assert len(memory) == 4
    torch.manual_seed(0)
    drawn = memory.draw(10)
    assert sorted(drawn) == sorted(map(pair, range(2, 6)))
    assert len(set(memory.draw(2))) == 2
    again = Memory(4)
    again.add([pair(9)])
    again.load_state_dict(memory.state_dict())
    torch.manual_seed(0)
    assert again.draw(10) == drawn
    empty = Memory(4)
    empty.load_state_dict(Memory(4).state_dict())
    assert empty.draw(3) == []


def test_a_rank_that_was_not_there_remembers_nothing(capsys) -> None:
    memory = Memory(4)
    memory.add([pair(1)])
    memory.load_state_dict({"ids": [], "lengths": []})
    assert len(memory) == 0
    assert "more ranks than it had" in capsys.readouterr().err
