"""A discriminator as a product: the best of many candidates, and what each token does to the verdict."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn

from rl.discriminator import evaluating, row_means
from seqgan.packed import padded

Ids = Sequence[int]


class Ranked(NamedTuple):
    """A candidate by its place in what was given, and its logit: of a token-level judge the mean over what was said."""

    candidate: int
    logit: float


@torch.no_grad()
def verdicts(judge: nn.Module, prompt: Ids, candidates: Sequence[Ids], *, chunk: int = 64) -> list[float]:
    """Judge each candidate after the prompt, `chunk` rows at a time; dropout off."""
    device, found = next(judge.parameters()).device, []
    with evaluating(judge):
        for some in (candidates[first : first + chunk] for first in range(0, len(candidates), chunk)):
            tokens, mask = padded([[*prompt, *candidate] for candidate in some])
            logits = judge(tokens.to(device), mask.to(device))
            if logits.dim() == 2:
                said = mask.to(device)
                said[:, : len(prompt)] = False
                logits = row_means(logits, said)
            found += logits.tolist()
    return found


def rerank(judge: nn.Module, prompt: Ids, candidates: Sequence[Ids]) -> list[Ranked]:
    """Return the candidates, the one that looks most real first; equal ones keep their order.

    A candidate's ids end with the end token where it is finished.
    """
    ranked = [Ranked(place, logit) for place, logit in enumerate(verdicts(judge, prompt, candidates))]
    return sorted(ranked, key=lambda one: -one.logit)


@torch.no_grad()
def token_logits(judge: nn.Module, prompt: Ids, said: Ids) -> list[float]:
    """Return one number for each token that was said, high where it looks real; dropout off.

    Of a token-level judge its logits; of any other what the token adds to the verdict on the row up to it, so that the
    numbers sum to the logit of the row minus that of the prompt.
    """
    device = next(judge.parameters()).device
    tokens, mask = padded([[*prompt, *said]])
    with evaluating(judge):
        logits = judge(tokens.to(device), mask.to(device))
    if logits.dim() == 2:
        return logits[0, len(prompt) :].tolist()
    steps = verdicts(judge, prompt, [said[:length] for length in range(len(said) + 1)])
    return [after - before for before, after in pairwise(steps)]


def heat_map(words: Sequence[str], numbers: Sequence[float]) -> list[tuple[str, float]]:
    """Put each token beside its number."""
    return list(zip(words, numbers, strict=True))


def heat_html(heat: Sequence[tuple[str, float]]) -> str:
    """Return an HTML fragment: each token on green where it looks real and red where not, the strongest one full."""
    strongest = max((abs(number) for _, number in heat), default=0.0) or 1.0
    spans = (
        f'<span style="background:rgba({"46,160,67" if number >= 0 else "218,54,51"},{abs(number) / strongest:.2f})"'
        f' title="{number:+.3f}">{escape(word)}</span>'
        for word, number in heat
    )
    return f'<p class="heat">{" ".join(spans)}</p>'
