"""The adversarial reward as OpenRLHF's `reward_func`: a file that it is given holds `reward_func = of(payer)`."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rl.adapters.texts import PaysTexts

Told = dict[str, Tensor | dict[str, Tensor]]
RewardFunc = Callable[..., Told]


def of(payer: PaysTexts, *, learn: bool) -> RewardFunc:
    """Return reward_func(queries, prompts, labels): labels are the demonstrations, a query is prompt and completion.

    OpenRLHF calls with one completion at a time, from several threads and processes: let them ask one service
    (`rl.adapters.client.Client`) that gathers a generation. It evaluates by the same function and does not say so: with
    `learn` True evaluation would teach, with False nothing changes. Scores, which OpenRLHF filters by, are the rewards
    held between 0 and 1.
    """
    pay = payer.score_and_update if learn else payer.score

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **others: Any) -> Told:
        completions = [
            _after(prompt, query, row) for row, (prompt, query) in enumerate(zip(prompts, queries, strict=True))
        ]
        demonstrations = () if any(label is None for label in labels) else labels
        rewards = torch.tensor(pay(prompts, completions, demonstrations))
        return {
            "rewards": rewards,
            "scores": rewards.clamp(0, 1),
            "extra_logs": {"adversarial_reward": rewards},
        }

    return reward_func


def _after(prompt: str, query: str, row: int) -> str:
    if not query.startswith(prompt):
        raise ValueError(f"query {row} does not begin with its prompt")
    return query.removeprefix(prompt)
