"""Everything in a retrieval run that has a state: the players, who was best, what was measured on the way."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from experiments.clock import Clock
from experiments.irgan_setup import Experiment, joined
from experiments.origin import Origin
from rl.retrieval.collection import Collection, Split
from rl.retrieval.players import Players
from rl.retrieval.relevance import Relevance
from rl.retrieval.variants import VARIANTS
from rl.runtime import Diverged, Engine, Log, Meter, Position, checkpoints

LARGEST_WEIGHT = 1e15  # a product of two stays finite


def learned_by(players: Players) -> dict[str, nn.Parameter]:
    """Return the weights of both players by name."""
    nets = {"generator": players.generator, "discriminator": players.discriminator}
    named = ((f"{who}.{name}", weight) for who, net in nets.items() for name, weight in net.named_parameters())
    return {name: weight for name, weight in named if weight.requires_grad}


class Best:
    """The weights that validation likes best so far, and where they stood; part of a checkpoint."""

    def __init__(self) -> None:
        self.score, self.turn, self.epoch, self.weights = -float("inf"), 0, 0, {}

    def offer(self, score: float, turn: int, epoch: int, players: Players) -> None:
        """Keep the players as they are if they are better, or the first."""
        if score <= self.score:
            return
        self.score, self.turn, self.epoch = score, turn, epoch
        self.weights = {name: weight.detach().clone() for name, weight in learned_by(players).items()}

    @torch.no_grad()
    def put_back(self, players: Players) -> None:
        """Give the players these weights, if there are any."""
        for name, weight in learned_by(players).items():
            if name in self.weights:
                weight.copy_(self.weights[name])

    def state_dict(self) -> dict[str, Any]:
        """Return everything."""
        return dict(vars(self))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it."""
        vars(self).update(state)


class Found:
    """Numbers that were measured on the way and stand in the summary; part of a checkpoint."""

    def __init__(self) -> None:
        self.numbers: dict[str, float] = {}

    def state_dict(self) -> dict[str, float]:
        """Return them."""
        return dict(self.numbers)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Take them."""
        self.numbers = dict(state)


class Cast:
    """Everything in a run that has a state, made from its configuration.

    `stage` 0 learns from the training data; 1, with --refit, anew from what was held out as well.
    """

    def __init__(self, e: Experiment, data: Collection, engine: Engine, stage: int = 0) -> None:
        self.origin = Origin(e.variant, e.data, tensors_of(data), data.words)
        self.engine, self.at, self.meter, self.clock = engine, Position(), Meter(), Clock()
        self.found, self.plan = Found(), Found()
        self.e, self.data = e, data.to(engine.device)
        self.enter(stage)

    def enter(self, stage: int) -> None:
        """Make fresh players for a stage, unless they are in it."""
        if getattr(self, "stage", -1) == stage:
            return
        self.plan.numbers["stage"] = stage
        self.stage, self.collection = stage, joined(self.data) if stage else self.data
        torch.manual_seed(self.e.seed)  # both stages begin alike
        build = VARIANTS[self.e.variant].build
        self.players = build(self.e.numbers, self.collection, self.engine, self.e.seed)
        self.start, self.best = Best(), Best()

    @property
    def judges_by(self) -> Split:
        """Return the split that the round is chosen on."""
        return "test" if self.e.select_on_test else "valid"

    def chooses(self) -> bool:
        """Return whether there is anything to choose the round on."""
        return bool(len(self.collection.judged(self.judges_by).answered))

    def check(self, step: int) -> None:
        """Raise Diverged where a weight is NaN, or so large that scores overflow: before it is measured, or saved."""
        for name, weight in learned_by(self.players).items():
            if not bool((weight.abs() < LARGEST_WEIGHT).all()):
                raise Diverged(f"step {step}: {name} is NaN or beyond {LARGEST_WEIGHT:g}; a smaller rate may help")

    def parts(self, log: Log) -> dict[str, checkpoints.Stateful]:
        """Return what a checkpoint holds."""
        fixed = ("e", "data", "collection", "players", "stage")
        own = {name: part for name, part in vars(self).items() if name not in fixed}
        return own | {f"players.{name}": part for name, part in self.players.parts().items()} | {"log": log}


def tensors_of(data: Collection) -> list[Tensor]:
    """Return what was read."""
    judged = [tensor for split in (data.train, data.valid, data.test, data.shown) for tensor in vars_of(split)]
    return [*judged, data.features, data.query_tokens, data.document_tokens]


def vars_of(judged: Relevance) -> tuple[Tensor, Tensor, Tensor]:
    """Return the tensors of a table."""
    return judged.offsets, judged.ids, judged.grades
