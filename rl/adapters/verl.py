"""The adversarial reward as verl's `compute_score`, for its batch reward manager and for its naive one.

verl hands over text without special tokens, so completions count as finished, cut ones too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rl.adapters.texts import PaysTexts

Scores = list[dict[str, float]]


def batch(payer: PaysTexts, *, prompt: str = "prompt", learn: bool = True) -> Callable[..., Scores]:
    """Return compute_score(data_sources, solution_strs, ground_truths, extra_infos): `reward_manager=batch`.

    Ground truths are the demonstrations, `prompt` names a row's prompt in its extra info. verl scores on several
    workers: let them ask one service (`rl.adapters.client.Client`). With `learn` False nothing changes.
    """
    pay = payer.score_and_update if learn else payer.score

    def compute_score(
        data_sources: Sequence[str],
        solution_strs: Sequence[str],
        ground_truths: Sequence[Any],
        extra_infos: Sequence[Mapping[str, Any]],
        **others: Any,
    ) -> Scores:
        prompts = [_prompt(info, prompt, row) for row, info in enumerate(extra_infos)]
        demonstrations = () if any(truth is None for truth in ground_truths) else ground_truths
        return [{"score": reward} for reward in pay(prompts, solution_strs, demonstrations)]

    return compute_score


def single(payer: PaysTexts, *, prompt: str = "prompt") -> Callable[..., float]:
    """Return compute_score(data_source, solution_str, ground_truth, extra_info), which scores and never learns.

    One completion is no generation to learn from.
    """
    many = batch(payer, prompt=prompt, learn=False)

    def compute_score(
        data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any], **others: Any
    ) -> float:
        return many([data_source], [solution_str], [ground_truth], [extra_info])[0]["score"]

    return compute_score


def _prompt(info: Mapping[str, Any], name: str, row: int) -> Any:
    if name not in info:
        raise ValueError(f"extra info {row} has no {name!r}: the discriminator judges a completion after its prompt")
    return info[name]
