"""A generation out of single completions, for loops that ask for the reward of each by itself."""

from rl.adapters.adversarial_reward import AdversarialReward
from rl.adapters.texts import Here, Texts


class Gathering(Here):
    """A reward in this process that learns once `rows` completions have been paid, however they came.

    Between two completions of one prompt nothing is learned: their rewards would say which of them came first. What
    waits to be learned from is lost with the process.
    """

    def __init__(self, reward: AdversarialReward, rows: int, column: str = "demonstrations") -> None:
        super().__init__(reward, column)
        self.rows = rows
        self._waiting: tuple[list[object], ...] = ([], [], [])

    def score_and_update(self, prompts: Texts, completions: Texts, demonstrations: Texts = ()) -> list[float]:
        """Pay by the discriminator as it stands, then learn if enough have come; no metrics where it did not."""
        paid = self.score(prompts, completions, demonstrations)
        if self.reward.warming_up:
            paid = [0.0] * len(paid)
        for waiting, new in zip(self._waiting, (prompts, completions, demonstrations), strict=True):
            waiting.extend(new)
        self.metrics = {}
        if len(self._waiting[0]) >= self.rows:
            generation, self._waiting = self._waiting, ([], [], [])
            super().score_and_update(*generation)
        return paid
