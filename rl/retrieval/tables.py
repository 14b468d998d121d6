"""The weights of matrix factorisation as two tables, for derivatives that are written out."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from rl.retrieval.scorers import Factors
from rl.runtime.errors import Diverged

ROWS = 128
"""queries whose scores of all documents stand in memory, and in the cache, at a time"""


class Tables:
    """The weights as [users, 1] and [items, bias], whose inner products are the scores; copies, until `write`."""

    def __init__(self, factors: Factors) -> None:
        self.factors = factors
        self.users = F.pad(factors.users.detach(), (0, 1), value=1.0)
        self.items = torch.cat([factors.items.detach(), factors.bias.detach().unsqueeze(1)], 1)
        width = factors.users.shape[1]
        # neither the column of ones nor what is frozen moves
        self.user_rates = self.users.new_tensor([float(factors.users.requires_grad)] * width + [0.0])
        items_learn = [float(factors.items.requires_grad)] * width
        self.item_rates = self.users.new_tensor([*items_learn, float(factors.bias.requires_grad)])

    def descend(
        self, of_users: Float[Tensor, "queries width"], of_items: Float[Tensor, "documents width"], rate: float
    ) -> None:
        """Step down the gradients."""
        self.users.addcmul_(of_users, self.user_rates, value=-rate)
        self.items.addcmul_(of_items, self.item_rates, value=-rate)

    def hand_over(self, of_users: Float[Tensor, "queries width"], of_items: Float[Tensor, "documents width"]) -> None:
        """Give the gradients to the weights that are not frozen, for an optimizer to step; raises Diverged."""
        factors = self.factors
        parts = ((factors.users, of_users[:, :-1]), (factors.items, of_items[:, :-1]), (factors.bias, of_items[:, -1]))
        _finite("gradient", of_users, of_items)
        for weight, gradient in parts:
            weight.grad = gradient.contiguous() if weight.requires_grad else None

    def write(self) -> None:
        """Put the weights back; raises Diverged, and leaves them as they were, where one is not finite."""
        _finite("weight", self.users, self.items)
        self.factors.users.detach().copy_(self.users[:, :-1])
        self.factors.items.detach().copy_(self.items[:, :-1])
        self.factors.bias.detach().copy_(self.items[:, -1])


def _finite(what: str, users: Tensor, items: Tensor) -> None:
    for name, table in (("users", users), ("items", items)):
        if not bool(table.isfinite().all()):
            raise Diverged(f"factors: a {what} of the {name} is not finite")


def softmaxes(
    tables: Tables, query: Int[Tensor, "queries"], temperature: float = 1.0, rows: int = ROWS
) -> Iterator[tuple[Int[Tensor, "rows"], Float[Tensor, "rows documents"]]]:
    """Yield `rows` queries at a time and softmax(scores / temperature) over all documents."""
    items = tables.items.T / temperature
    for start in range(0, len(query), rows):
        part = query[start : start + rows]
        yield part, (tables.users[part] @ items).softmax(-1)
