"""The adversarial reward on lists of texts, as loops in which a reward function is a plain function call it."""

from collections.abc import Sequence
from typing import Any, Protocol

from rl.adapters.adversarial_reward import AdversarialReward

Texts = Sequence[Any]
"""Texts, chats or ids"""


class PaysTexts(Protocol):
    """Pays completions: `Here` in this process, `rl.adapters.client.Client` in another."""

    def score(self, prompts: Texts, completions: Texts, demonstrations: Texts) -> list[float]:
        """Pay; nothing changes."""
        ...

    def score_and_update(self, prompts: Texts, completions: Texts, demonstrations: Texts) -> list[float]:
        """Pay, then learn."""
        ...


class Here:
    """A reward in this process. `demonstrations` go into its column; a reward with a pool needs none: give ()."""

    def __init__(self, reward: AdversarialReward, column: str = "demonstrations") -> None:
        self.reward, self.column = reward, column
        self.metrics: dict[str, float] = {}
        """numbers of the last update"""

    def score(self, prompts: Texts, completions: Texts, demonstrations: Texts = ()) -> list[float]:
        """Pay; nothing changes."""
        return self._floats(self.reward.score(self._columns(prompts, completions, demonstrations)))

    def score_and_update(self, prompts: Texts, completions: Texts, demonstrations: Texts = ()) -> list[float]:
        """Pay, then learn."""
        paid, self.metrics = self.reward.score_and_update(self._columns(prompts, completions, demonstrations))
        return self._floats(paid)

    def _columns(self, prompts: Texts, completions: Texts, demonstrations: Texts) -> dict[str, Texts]:
        given = {"prompts": prompts, "completions": completions}
        return given | {self.column: demonstrations} if len(demonstrations) else given

    @staticmethod
    def _floats(paid: Any) -> list[float]:
        numbers: list[float] = paid.tolist()
        return numbers
