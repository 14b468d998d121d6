"""Auxiliary losses: what the players want besides the objective. A term is a loss, to be made small."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from image_gans.judging import Seen

Scalar = Float[Tensor, ""]


@runtime_checkable
class Terms(Protocol):
    """Named losses that are added to the players' own; a name is the key under which it is logged."""

    def of_discriminator(self, latent: Any, real: Seen, fake: Seen, /) -> Mapping[str, Scalar]:
        """Give what the discriminator wants besides; the fakes carry no gradient to the generator."""
        ...

    def of_generator(self, latent: Any, real: Seen, fake: Seen, /) -> Mapping[str, Scalar]:
        """Give what the generator wants besides; the discriminator's weights take no gradient."""
        ...


class NoTerms:
    """Nothing besides."""

    def of_discriminator(self, latent: Any, real: Seen, fake: Seen) -> Mapping[str, Scalar]:
        """Give nothing."""
        return {}

    def of_generator(self, latent: Any, real: Seen, fake: Seen) -> Mapping[str, Scalar]:
        """Give nothing."""
        return {}
