"""Changes that the discriminator sees on real and fake pictures alike, differentiable, so that it cannot learn by heart."""

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Augmentation(Protocol):
    """Changes samples on their way to the discriminator."""

    def __call__(self, sample: Any, /) -> Any:
        """Change every picture of a sample in its own random way; the gradient flows through."""
        ...

    def observe(self, logits: Float[Tensor, "..."], /) -> None:
        """Take note of how real samples are judged; an adaptive augmentation sets its strength by that."""
        ...


class Unchanged:
    """No change."""

    def __call__(self, sample: Any) -> Any:
        """Give the sample."""
        return sample

    def observe(self, logits: Float[Tensor, "..."]) -> None:
        """Ignore."""
