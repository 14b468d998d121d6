"""What was done so far, to learn from again: a ring of steps in preallocated memory."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.control.transitions import Transitions

if TYPE_CHECKING:  # the layouts need gymnasium, their users do not
    from rl.control.spaces import Actions, Observations


class Replay:
    """The last `capacity` steps, the oldest overwritten first; `rewards` are the environment's own."""

    def __init__(self, capacity: int, observations: "Observations", actions: "Actions") -> None:
        self.capacity, self.filled, self.position = capacity, 0, 0
        discrete = actions.kind == "discrete"
        acts = torch.empty(capacity, dtype=torch.int64) if discrete else torch.empty(capacity, actions.size)
        self.steps = Transitions(
            torch.empty(capacity, observations.width, dtype=observations.dtype),
            acts,
            torch.empty(capacity, observations.width, dtype=observations.dtype),
            torch.empty(capacity, dtype=torch.bool),
        )
        self.rewards = torch.empty(capacity)

    def __len__(self) -> int:
        return self.filled

    def add(self, steps: Transitions, rewards: Float[Tensor, "rows"]) -> None:
        """Take steps in; of more than `capacity` the last ones stay."""
        rows, start = steps.rows, 0
        while start < rows:  # up to the end of the ring, then from its beginning
            taken = min(rows - start, self.capacity - self.position)
            place, part = slice(self.position, self.position + taken), slice(start, start + taken)
            for held, new in zip((*self.steps, self.rewards), (*steps, rewards), strict=True):
                held[place] = new[part]
            self.position = (self.position + taken) % self.capacity
            start += taken
        self.filled = min(self.filled + rows, self.capacity)

    def sample(self, rows: int) -> tuple[Transitions, Int[Tensor, "rows"]]:
        """Draw steps uniformly with replacement; the index finds their `rewards`. Raises ValueError while empty."""
        if self.filled == 0:
            raise ValueError("Replay: there is nothing to sample yet")
        index = torch.randint(self.filled, (rows,))
        return Transitions(*(field.index_select(0, index) for field in self.steps)), index

    def state_dict(self) -> dict[str, Any]:
        """Give what has been filled; the tensors are the ring's own memory."""
        held = {name: field[: self.filled] for name, field in self.steps._asdict().items()}
        return {**held, "rewards": self.rewards[: self.filled], "position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the steps where they were; raises ValueError where they do not fit."""
        self.filled, self.position = len(state["rewards"]), state["position"]
        for name, field in {**self.steps._asdict(), "rewards": self.rewards}.items():
            saved = state[name]
            if self.filled > self.capacity or saved.shape[1:] != field.shape[1:] or saved.dtype != field.dtype:
                raise ValueError(f"Replay: {name}: {tuple(saved.shape)} {saved.dtype} does not fit this replay")
            field[: self.filled] = saved
