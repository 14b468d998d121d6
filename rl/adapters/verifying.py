"""What a verifier says of completions, and how that and the learned reward become one."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from rl.objectives import Objective

Numbers = Float[Tensor, "rows"]
Composed: TypeAlias = Literal["gate", "add"]
Verifier: TypeAlias = Callable[..., Sequence[float]]
"""Says 0 (wrong) to 1 (right) for each row, called with the columns by name, as TRL calls a reward function."""


def everything(**columns: Any) -> list[float]:
    """Verify nothing: every row is right."""
    return [1.0] * len(columns["prompts"])


def verdicts(told: Sequence[float], rows: int, compose: Composed) -> Numbers:
    """Return what a verifier says. Raises ValueError for another number of rows, no number, or a gate beyond 0 to 1."""
    right = torch.as_tensor(told, dtype=torch.float32)
    if right.shape != (rows,) or not right.isfinite().all():
        raise ValueError(f"verifier: gave shape {list(right.shape)}, expected {rows} finite numbers")
    if compose == "gate" and not ((right >= 0) & (right <= 1)).all():
        low, high = right.aminmax()
        raise ValueError(f"verifier: gave {float(low):g} to {float(high):g}; a gate is 0 (wrong) to 1 (right)")
    return right


def composed(right: Numbers, paid: Numbers, compose: Composed, weight: float) -> Numbers:
    """Return verdict * reward ("gate") or verdict + weight * reward ("add")."""
    return right * paid if compose == "gate" else right + weight * paid


def teaching(right: Numbers, compose: Composed) -> list[bool]:
    """Say which completions a discriminator learns from: behind a gate those that passed (2607.01181), else all."""
    return [compose == "add" or verdict > 0 for verdict in right.tolist()]


def require_composable(objective: Objective, verifier: Verifier, compose: str) -> None:
    """Raise ValueError for an unknown composition, or a gate before rewards that may be negative.

    A wrong answer earns zero, which would then be better than a right one.
    """
    if compose not in ("gate", "add"):
        raise ValueError(f"compose: {compose!r} is neither 'gate' nor 'add'")
    logits = torch.linspace(-20, 20, 41)
    negative = bool((objective.reward(logits, torch.zeros_like(logits)) < 0).any())
    if compose == "gate" and negative and verifier is not everything:
        raise ValueError(
            f"compose 'gate': {type(objective).__name__} pays less than a wrong answer's zero at times: "
            "use SeqGAN() or Minimax(), or compose 'add'"
        )
