"""Masks: which places of a sentence are missing, drawn by chance or written as blanks in a line."""

import difflib
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from rl.runtime import InputError
from seqgan.corpus import Vocabulary
from seqgan.sampling import BLANK

Mask = Literal["contiguous", "random"]


class Filled(NamedTuple):
    """Whole sentences, and which of their places were missing: those were spoken, the rest was given."""

    tokens: Int[Tensor, "rows time"]
    missing: Bool[Tensor, "rows time"]


def blanked(filled: Filled) -> Int[Tensor, "rows time"]:
    """Return the masked sentences: BLANK where a place is missing."""
    return filled.tokens.masked_fill(filled.missing, BLANK)


def draw_missing(
    said: Bool[Tensor, "rows time"], *, share: float, whole: float, mask: Mask
) -> Bool[Tensor, "rows time"]:
    """Draw which places of each row are missing: `share` of what was said, rounded, and at least one place.

    Contiguous ones are neighbours; of random ones every set is as likely as any other. A row is missing as a whole with
    probability `whole`. Where the last place that was said is missing, so is all that follows it: what
    fills a row after its end would tell where the end was.
    """
    rows, time = said.shape
    lengths = said.sum(1, keepdim=True)
    sizes = (share * lengths).round().clamp(min=1)
    places = torch.arange(time, device=said.device)
    if mask == "contiguous":
        first = (torch.rand(rows, 1, device=said.device) * (lengths - sizes + 1)).floor()
        missing = (places >= first) & (places < first + sizes)
    else:
        order = torch.rand(rows, time, device=said.device).masked_fill(~said, 2.0).argsort(1)
        missing = torch.zeros_like(said).scatter(1, order, places < sizes)
    missing = missing | (missing.gather(1, lengths - 1) & ~said)
    return missing | (torch.rand(rows, 1, device=said.device) < whole)


def blanks(line: str, vocabulary: Vocabulary, length: int, end: int) -> Int[Tensor, "1 length"]:
    """Return a line with blanks, such as `a man ___ a horse`, as a context; what follows it is the end.

    Where sentences have one length (end -1) what follows is blank. Raises InputError in one line for a word that the
    vocabulary has not, for too many words, and for a line without a blank.
    """
    words = line.split() if vocabulary.joiner else list(line)
    ids = {word: number for number, word in enumerate(vocabulary.words) if number != end}
    if len(words) > length:
        raise InputError(f"--fill {line!r}: {len(words)} tokens, the length is {length}")
    context = torch.full((1, length), BLANK if end < 0 else end)
    for place, word in enumerate(words):
        if set(word) == {"_"}:
            context[0, place] = BLANK
        elif word in ids:
            context[0, place] = ids[word]
        else:
            near = "".join(f"; did you mean {other!r}?" for other in difflib.get_close_matches(word, ids, n=1))
            raise InputError(f"--fill {line!r}:{place + 1}: {word!r} is no word of the corpus{near}")
    if not (context == BLANK).any():
        raise InputError(f"--fill {line!r}: no blank (___) in it")
    return context
