"""Prompts and completions as rows of token ids: what a discriminator of text is shown, whatever form they came in.

A prompt is text, a chat (a list of messages) or ids; so is a completion. Ids say themselves whether a completion is
finished: they end with the end token or they do not. Text and chats have lost it, and count as finished.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from rl.runtime.errors import InputError, one_line

Ids = tuple[int, ...]
Columns = Mapping[str, Any]
"""What a trainer hands to a reward: lists of equal length under `prompts`, `completions`, `completion_ids`, ..."""


class Tokenizer(Protocol):
    """What is used of a tokenizer of transformers."""

    @property
    def eos_token_id(self) -> Any:
        """The id that ends a completion."""

    def __call__(self, text: str, /, *, add_special_tokens: bool = True) -> Any:
        """Turn text into ids, under "input_ids"."""

    def apply_chat_template(
        self, conversation: Any, /, *, add_generation_prompt: bool, tokenize: bool, return_dict: bool
    ) -> Any:
        """Turn messages into ids, under "input_ids"."""


class Row(NamedTuple):
    """A prompt and what was said after it; the end token stands last where the completion is finished."""

    prompt: Ids
    said: Ids


class Batch(NamedTuple):
    """Rows side by side: the ids, which places hold one, and which of those were said."""

    tokens: Int[Tensor, "rows time"]
    mask: Bool[Tensor, "rows time"]
    said: Bool[Tensor, "rows time"]

    @classmethod
    def of(cls, rows: Sequence[Row], device: torch.device) -> "Batch":
        """Put rows side by side, filled up on the right."""
        lengths = torch.tensor([[len(row.prompt), len(row.prompt) + len(row.said)] for row in rows])
        longest = max(1, int(lengths[:, 1].max()))
        tokens = torch.zeros(len(rows), longest, dtype=torch.long)
        for held, row in zip(tokens, rows, strict=True):
            held[: len(row.prompt) + len(row.said)] = torch.tensor([*row.prompt, *row.said], dtype=torch.long)
        places = torch.arange(longest)
        mask = places < lengths[:, 1:]
        return cls(tokens.to(device), mask.to(device), (mask & (places >= lengths[:, :1])).to(device))


class Reader:
    """Turns what a trainer hands over into rows, by the policy's own tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Raise ValueError for a tokenizer without an end token."""
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end token (eos_token): nothing would tell finished from cut")
        self._tokenizer, self._end = tokenizer, int(tokenizer.eos_token_id)

    def completions(self, columns: Columns) -> list[Row]:
        """Return the rows to be paid, from `completion_ids` where there are any, else from the completions."""
        prompts = columns["prompts"]
        if "completion_ids" in columns:
            ids = columns["completion_ids"]
            return [Row(self.prompt(prompt), tuple(said)) for prompt, said in zip(prompts, ids, strict=True)]
        return [self.finished(prompt, said) for prompt, said in zip(prompts, columns["completions"], strict=True)]

    def prompt(self, prompt: Any) -> Ids:
        """Return a prompt's ids; a chat's end where the answer begins. Raises InputError for what is none of these."""
        if isinstance(prompt, str):
            return tuple(self._tokenizer(prompt)["input_ids"])
        if _is_chat(prompt):
            return self._chat(prompt, open_answer=True)
        return _ids(prompt)

    def finished(self, prompt: Any, completion: Any) -> Row:
        """Return the row of a finished completion; ids stay as they are.

        Raises InputError for what cannot be read, a chat after anything but a chat, and a template that does not keep
        the prompt.
        """
        asked = self.prompt(prompt)
        if _is_chat(completion) and not _is_chat(prompt):
            raise InputError("a chat as the completion of a prompt that is none")
        if _is_chat(prompt) and (isinstance(completion, str) or _is_chat(completion)):
            answer = completion if _is_chat(completion) else [{"role": "assistant", "content": completion}]
            whole = self._chat([*prompt, *answer], open_answer=False)
            if whole[: len(asked)] != asked:
                raise InputError("chat template: the ids of prompt and answer do not begin with those of the prompt")
            return Row(asked, self._ended(whole[len(asked) :]))
        if isinstance(completion, str):
            return Row(asked, self._ended(tuple(self._tokenizer(completion, add_special_tokens=False)["input_ids"])))
        return Row(asked, _ids(completion))

    def _ended(self, said: Ids) -> Ids:
        """End with the last end token: templates write a line break after it, which no policy says."""
        if self._end not in said:
            return (*said, self._end)
        return said[: len(said) - said[::-1].index(self._end)]

    def _chat(self, messages: Any, *, open_answer: bool) -> Ids:
        for message in messages:
            if not (isinstance(message, Mapping) and "role" in message and {"content", "tool_calls"} & message.keys()):
                raise InputError("chat: a message has a role and content")
        try:
            told = self._tokenizer.apply_chat_template(
                messages, add_generation_prompt=open_answer, tokenize=True, return_dict=True
            )
        except Exception as error:  # a template is a program of its own, and raises what it likes
            raise InputError(f"chat template: {type(error).__name__}: {one_line(error)[:200]}") from error
        return tuple(told["input_ids"])


def _ids(x: Any) -> Ids:
    try:
        return tuple(map(int, x))
    except (TypeError, ValueError):
        raise InputError(f"{type(x).__name__} is neither text, a chat nor ids") from None


def _is_chat(x: Any) -> bool:
    return isinstance(x, list | tuple) and len(x) > 0 and isinstance(x[0], Mapping)
