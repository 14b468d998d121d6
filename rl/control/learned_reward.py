"""A reward that was learned, with all it needs to be paid elsewhere: kept in a folder, checked against its spaces."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rl.control import discriminators
from rl.control.discriminators import embed
from rl.control.earning import Earned
from rl.control.encoder import Encoder
from rl.control.spaces import Actions, Observations, Part
from rl.control.transitions import Transitions
from rl.discriminator import evaluating
from rl.objectives import AnyObjective, MaliGAN, Objective, Relativistic, RelativisticAverage
from rl.runtime import checkpoints
from rl.runtime.errors import InputError, closest, one_line

_DTYPES = {"float32": torch.float32, "uint8": torch.uint8}


@dataclass(frozen=True)
class LearnedReward:
    """What a step earns from a discriminator behind an encoder, both as they stand, in eval mode.

    If they go on learning it pays anew; a loaded one stands still. Raises InputError for an objective whose reward of a
    step depends on the other steps of its batch.
    """

    encoder: Encoder
    discriminator: nn.Module
    """one that `discriminators.build` makes: on steps whose observations the encoder read"""
    objective: Objective
    observations: Observations
    actions: Actions
    limit: float = 10.0
    """logits beyond it, of either sign, count as it"""
    ending: float = 0.0
    """what a termination, never a time limit, earns besides"""

    def __post_init__(self) -> None:
        if isinstance(self.objective, MaliGAN | Relativistic | RelativisticAverage):
            raise InputError(
                f"learned reward: objective: {type(self.objective).__name__} pays a step by the others of its batch"
            )

    @torch.no_grad()
    def __call__(self, steps: Transitions) -> Float[Tensor, "*places"]:
        """Pay steps [rows] or [batch time]. Raises InputError for steps of another form than the spaces have."""
        self._expect(steps)
        places = steps.terminated.shape
        rows = steps.flat() if len(places) > 1 else steps
        with evaluating(self.encoder), evaluating(self.discriminator):
            return Earned(self._judge, self.objective, self.limit, self.ending)(rows).reshape(places)

    def require(self, observations: Observations, actions: Actions, *, where: str) -> "LearnedReward":
        """Return the reward itself; raise InputError, beginning with `where`, if it was made for other spaces."""
        here, there = _seen(observations, actions), _seen(self.observations, self.actions)
        for what, found in here.items():
            if found != there[what]:
                raise InputError(f"{where}: {what}: {found}, the reward was made for {there[what]}")
        return self

    def save(self, folder: Path) -> None:
        """Write a folder of safetensors and JSON under a manifest of hashes; it stands whole or not at all.

        A reward that stands there is replaced. Raises InputError where the folder holds anything else or cannot be
        written.
        """
        if folder.name.startswith("step-"):
            raise InputError(f"{folder}: names a checkpoint, not a reward")
        parts: dict[str, checkpoints.Stateful] = {
            "reward": _Description(self._description()),
            "discriminator": self.discriminator,
            "encoder": self.encoder,
        }
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
                written = checkpoints.save(Path(temporary), 0, parts)
                if (folder / "reward.json").exists():
                    folder.rename(Path(temporary) / "before")
                written.rename(folder)
        except OSError as error:
            raise InputError(f"{folder}: cannot write the reward: {error.strerror}") from error

    @classmethod
    def load(cls, folder: Path) -> "LearnedReward":
        """Read what `save` wrote, on the CPU, to pay the same bit by bit.

        Raises InputError, naming the file, where a byte differs or the reward is of another version.
        """
        parts = checkpoints.load(folder)
        try:
            loaded = _build(parts["reward"])
            loaded.encoder.load_state_dict(parts["encoder"])
            loaded.discriminator.load_state_dict(parts["discriminator"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise InputError(f"{folder}: no reward that can be read: {one_line(repr(error))[:200]}") from error
        for net in (loaded.encoder, loaded.discriminator):
            net.eval().requires_grad_(False)
        return loaded

    def _judge(self, steps: Transitions) -> Tensor:
        logits: Tensor = self.discriminator(embed(self.encoder, steps, self.actions))
        return logits

    def _expect(self, steps: Transitions) -> None:
        row = ((self.observations.width,), self.observations.dtype)
        action = (self.actions.shape, torch.int64 if self.actions.kind == "discrete" else torch.float32)
        for name, rows, (shape, dtype) in (
            ("obs", steps.obs, row), ("actions", steps.actions, action), ("next_obs", steps.next_obs, row),
        ):  # fmt: skip
            if rows.shape != (*steps.terminated.shape, *shape) or rows.dtype != dtype:
                expected = f"{[*steps.terminated.shape, *shape]} of {dtype}"
                raise InputError(f"learned reward: {name}: {list(rows.shape)} of {rows.dtype}, expected {expected}")

    def _description(self) -> dict[str, Any]:
        return {
            "discriminator": self.discriminator.description,
            "encoder": _encoder_numbers(self.encoder),
            "objective": {"name": _known(type(self.objective).__name__).__name__, "numbers": vars(self.objective)},
            "observations": asdict(self.observations) | {"dtype": str(self.observations.dtype).removeprefix("torch.")},
            "actions": asdict(self.actions),
            "limit": self.limit,
            "ending": self.ending,
        }


@dataclass(frozen=True)
class _Description:
    """A part of a checkpoint that is numbers and names alone."""

    content: dict[str, Any]

    def state_dict(self) -> dict[str, Any]:
        return self.content

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        raise NotImplementedError  # a reward is made from its description


def _build(description: Mapping[str, Any]) -> LearnedReward:
    observations = _observations(description["observations"])
    actions = Actions(**description["actions"])
    return LearnedReward(
        _encoder(observations, **description["encoder"]),
        discriminators.build(description["discriminator"], actions),
        _known(description["objective"]["name"])(**description["objective"]["numbers"]),
        observations,
        actions,
        description["limit"],
        description["ending"],
    )


def _encoder_numbers(encoder: Encoder) -> dict[str, float]:
    statistics, images = encoder.normaliser, len(encoder.convolutions)
    hidden = (encoder.features - len(statistics.mean)) // max(images, 1)
    return {"hidden": hidden, "floor": statistics.floor, "limit": statistics.limit}


def _encoder(observations: Observations, hidden: int, floor: float, limit: float) -> Encoder:
    encoder = Encoder(observations, hidden)
    encoder.normaliser.floor, encoder.normaliser.limit = floor, limit
    return encoder


def _observations(description: Mapping[str, Any]) -> Observations:
    parts = tuple(Part(**part) for part in description["parts"])
    return Observations(description["width"], _DTYPES[description["dtype"]], parts)


def _known(objective: str) -> type[AnyObjective]:
    known = {kind.__name__: kind for kind in get_args(AnyObjective)}
    if objective not in known:
        raise InputError(f"learned reward: objective: {objective!r} is not in the table{closest(objective, known)}")
    found: type[AnyObjective] = known[objective]
    return found


def _seen(observations: Observations, actions: Actions) -> dict[str, object]:
    """Return what a reward sees of the spaces; not how the environment counts its choices or orders its channels."""
    return {
        "observations: width": observations.width,
        "observations: type": observations.dtype,
        "observations: parts": [(part.name, part.kind, part.shape, part.choices) for part in observations.parts],
        "actions: kind": actions.kind,
        "actions: size": actions.size,
        "actions: low": actions.low,
        "actions: high": actions.high,
    }
