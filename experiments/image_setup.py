"""What an image run is made of: its configuration, its pictures, and everything in it that has a state."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor, nn

from experiments import config
from experiments.clock import Clock
from experiments.origin import Origin
from image_gans import augmentation
from image_gans.data import Data, load
from image_gans.latent import Game, Rules
from image_gans.metrics.evaluation import Reference
from image_gans.numbers import Facts, Numbers
from image_gans.samples import as_floats
from image_gans.variants import VARIANTS
from rl.runtime import Average, Engine, InputError, Log, Meter, Position, Runtime, Shuffled, checkpoints

MAY_BE_ZERO = (
    "steps", "size", "channels", "beta1", "lr_decay", "average", "penalty_weight", "slope", "term_weight",
    "continuous_weight", "continuous", "mixing", "labels_seed", "seed", "save_seconds", "threads",
)  # fmt: skip
SHARES = ("beta1", "beta2", "mixing")
EVALUATION_SEED = 1_000_003  # added to the seed of a run: what is measured never repeats what was trained on
FEWEST = 4  # pictures of which each has three neighbours
NARROWEST = 0.01  # bound of noise: one draw in a hundred lies within


@dataclass(frozen=True)
class Experiment:
    """A run of an image GAN."""

    variant: tyro.conf.Suppress[str]
    numbers: Annotated[Numbers, tyro.conf.arg(name="")]
    preset: Literal["default", "demo", "paper"] = "default"
    """which numbers to start from: minutes on two cores, two minutes, the paper's"""
    data: str = "digits"
    """`digits` (bundled, 8x8), a folder (idx files as MNIST's; a folder for each class; pictures alone), an .npz with
    `images` and `labels`, hf:NAME, or points of a plane: `ring`, `grid`"""
    test: str = ""
    """held-out pictures, of the same kind; empty: the folder's own test files, or a tenth"""
    size: int = 0
    """side that pictures are cut and resized to; 0: their own, padded to a power of two"""
    channels: int = 0
    """1: grey; 3: colours; 0: as they are"""
    stack: int = 1
    """3: stacked MNIST, each channel another picture"""
    hub_split: str = "train"
    """split of an hf:NAME data set"""
    hub_image: str = "image"
    """column of its pictures"""
    hub_label: str = "label"
    """column of its classes"""
    seed: int = 0
    """of the weights and the draws"""
    run_dir: Path | None = None
    """where the run is kept; none: runs/FAMILY-VARIANT-DATE"""
    log_every: int = 50
    """steps between rows of metrics.jsonl"""
    evaluate_every: int = 500
    """steps between measurements and sample grids"""
    evaluate_samples: int = 2_000
    """pictures in each of them"""
    final_samples: int = 10_000
    """pictures in the measurement at the end"""
    cache: Path = config.CACHE
    """where the classifier whose features are compared is kept"""
    save_seconds: float = 60.0
    """seconds between checkpoints"""
    runtime: Runtime = field(default_factory=Runtime)


def load_data(e: Experiment) -> Data:
    """Return the data that the flags name, the same for every seed; raise InputError naming the file and the place."""
    return load(
        e.data, test=e.test, size=e.size, channels=e.channels, stack=e.stack, hub_split=e.hub_split,
        hub_image=e.hub_image, hub_label=e.hub_label,
    )  # fmt: skip


def kind_of(source: str) -> str:
    """Tell points from pictures before anything is read: the defaults of the numbers depend on it."""
    return "points" if source in ("ring", "grid", "origin") else "pictures"


def check(e: Experiment) -> None:
    """Raise InputError for a number out of its range."""
    config.check_numbers(e, may_be_zero=MAY_BE_ZERO, shares=SHARES)
    for name in ("average", "lr_decay", "growing"):
        if (share := getattr(e.numbers, name)) > 1:
            raise InputError(f"--{name.replace('_', '-')} {share}: must be at most 1")
    check_bound(e.numbers.bound)


def check_bound(bound: float) -> None:
    """Raise InputError for a bound within which noise would have to be drawn for minutes."""
    if bound < NARROWEST:
        raise InputError(f"--bound {bound}: must be at least {NARROWEST}")


def check_fit(e: Experiment, data: Data, engine: Engine) -> None:
    """Raise InputError for settings that do not fit the data or the machine: before a folder is made."""
    n, row = e.numbers, VARIANTS[e.variant]
    if "labels" in row.needs and not data.classes:
        raise InputError(f"--data {e.data}: no labels, which {e.variant} needs")
    if "pictures" in row.needs and data.kind != "pictures":
        raise InputError(f"--data {e.data}: points, and {e.variant} needs pictures")
    if n.augmentation != "none" and data.kind != "pictures":
        raise InputError(f"--augmentation {n.augmentation}: changes pictures, and --data {e.data} are points")
    if n.augmentation != "none" and not row.augments:
        raise InputError(f"--augmentation {n.augmentation}: {e.variant} compares pictures, which must stay as they are")
    for what, pictures in (("train", data.train.images), ("test", data.test.images)):
        if len(pictures) < FEWEST:
            raise InputError(f"--data {e.data}: {len(pictures)} {what} pictures, measuring needs at least {FEWEST}")
    if n.batch > len(data.train.images):
        raise InputError(f"--batch {n.batch}: only {len(data.train.images)} pictures in {e.data}")
    if n.batch < 2 and n.d_norm == "batch":
        raise InputError(f"--batch {n.batch}: batch normalisation needs at least 2 pictures")
    if n.batch % engine.world:
        raise InputError(f"--batch {n.batch}: not divisible by {engine.world} ranks")
    if engine.precision == "fp16" and engine.device.type == "cpu":
        raise InputError("--runtime.precision fp16: not on a CPU; take bf16 or fp32")
    for flag, number in (("evaluate-samples", e.evaluate_samples), ("final-samples", e.final_samples)):
        if number < FEWEST:
            raise InputError(f"--{flag} {number}: a distance needs at least {FEWEST} pictures")
    config.make_cache(e.cache)


class Cast:
    """Everything in a run that has a state, made from its configuration."""

    def __init__(self, e: Experiment, data: Data, engine: Engine) -> None:
        n, row = e.numbers, VARIANTS[e.variant]
        self.data, self.engine, self.at, self.meter, self.clock = data, engine, Position(), Meter(), Clock()
        self.origin = Origin(e.variant, e.data, data.train)
        self.images, self.labels = data.train.images.to(engine.device), data.train.labels.to(engine.device)
        self.players = row.build(n, Facts(data.shape, data.classes, data.train.images, data.train.labels))
        self.generator = engine.place(self.players.generator.to(memory_format=torch.channels_last))
        self.discriminator = engine.place(self.players.discriminator.to(memory_format=torch.channels_last))
        rules = Rules(
            row.objective(n), row.penalty(n), self.players.terms, augmentation.of(n), row.reward_weight, row.compares
        )
        self.game = Game(self.generator, self.discriminator, rules, engine)
        stateful = (rules.objective, rules.penalty, rules.augmentation)
        self.rules = engine.place(nn.ModuleList(part for part in stateful if isinstance(part, nn.Module)))
        self.average = Average(self.generator, n.average)
        self.g_optimizer = optimizer_of(n, self.generator, n.g_lr)
        self.d_optimizer = optimizer_of(n, self.discriminator, n.d_lr)
        self.order = Shuffled(len(self.images), n.batch, seed=e.seed)

    def parts(self, log: Log) -> dict[str, checkpoints.Stateful]:
        """Return what a checkpoint holds."""
        fixed = ("data", "images", "labels", "players", "game")
        return {name: part for name, part in vars(self).items() if name not in fixed} | {"log": log}

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return this rank's share of the next pictures, from -1 to 1, and their labels."""
        rows = self.engine.shard(next(self.order)).to(self.engine.device)
        pictures = as_floats(self.images[rows])
        if pictures.dim() == 4:
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        return pictures, self.labels[rows]

    def agree(self) -> None:
        """Let all ranks remember the same: each moved an equilibrium's balance or ADA's strength by its own share."""
        if self.engine.world == 1:
            return
        held = {name: value for name, value in self.rules.named_buffers() if value.is_floating_point()}
        for name, value in self.engine.gather(held).items():
            held[name].fill_(value)

    def remembered(self) -> dict[str, Tensor]:
        """Return the numbers that the rules keep from step to step: an equilibrium's balance, ADA's strength."""
        return {f"d/{name.rpartition('.')[2]}": value for name, value in self.rules.named_buffers() if value.dim() == 0}


def optimizer_of(n: Numbers, net: nn.Module, rate: float) -> torch.optim.Optimizer:
    """Return the optimizer that the numbers name."""
    weights = list(net.parameters())
    match n.optimizer:
        case "rmsprop":
            return torch.optim.RMSprop(weights, rate)
        case "sgd":
            return torch.optim.SGD(weights, rate)
    return torch.optim.Adam(weights, rate, (n.beta1, n.beta2), fused=weights[0].device.type in ("cpu", "cuda"))


def set_rates(cast: Cast, n: Numbers, step: int) -> None:
    """Let both rates fall to zero over the last `lr_decay` of the run."""
    share = min(1.0, (1 - step / n.steps) / n.lr_decay) if n.lr_decay else 1.0
    for optimizer, rate in ((cast.g_optimizer, n.g_lr), (cast.d_optimizer, n.d_lr)):
        for group in optimizer.param_groups:
            group["lr"] = rate * share


def reference_of(e: Experiment, cast: Cast) -> Reference:
    """Return what painted pictures are measured against; the classifier is trained once and kept."""
    return Reference(cast.data, e.cache.expanduser(), cast.engine.device)


def saved_experiment(run_dir: Path, saved: dict[str, object]) -> Experiment:
    """Return the experiment of a run; raise InputError naming the file and the setting that is wrong."""
    return config.of_run(Experiment, VARIANTS, check, run_dir, saved)
