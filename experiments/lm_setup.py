"""What a run with demonstrations is made of: its configuration, and everything in it that has a state."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments import config
from experiments.origin import Origin
from experiments.text_results import Measurement
from experiments.text_setup import EVALUATION_SEED, HEADS
from rl.runtime import Engine, InputError, Log, Meter, Position, Runtime, Shuffled, checkpoints
from seqgan.lm.choosing import Choice
from seqgan.lm.health import Outside, instruments_of
from seqgan.lm.numbers import Numbers
from seqgan.lm.task import Task
from seqgan.lm.variants import VARIANTS
from seqgan.pretraining import Best

MAY_BE_ZERO = (
    "steps", "prompt", "longest", "valid", "demonstrations", "dropout", "mle_epochs", "mle_decay", "kl_weight",
    "beta1",
    "d_dropout", "d_steps", "d_warm", "lora", "d_old", "patience", "seed", "data_seed", "save_seconds", "threads",
    "lam",
)  # fmt: skip
SHARES = ("dropout", "d_dropout", "d_old", "beta1")


@dataclass(frozen=True)
class Experiment:
    """A run with demonstrations."""

    variant: tyro.conf.Suppress[str]
    numbers: Annotated[Numbers, tyro.conf.arg(name="")]
    preset: Literal["default", "demo", "text"] = "default"
    """which numbers: minutes on one core for the grammar, a minute, minutes for captions"""
    data: str = "grammar"
    """`grammar`, or sentences one a line (.txt, .txt.gz), or prompts and completions: lines with a tab (.tsv, .tsv.gz),
    columns (.jsonl, .jsonl.gz, .parquet, hf:NAME)"""
    test: str = ""
    """held-out sentences of the same kind; empty: a tenth of --data"""
    prompt: int = 0
    """leading words of every sentence that are given; of prompts and completions: 0"""
    prompt_column: str = "prompt"
    """of columns, the one with the prompts"""
    completion_column: str = "completion"
    """of columns, the one with the completions"""
    model: Path | None = None
    """a folder with a language model of transformers and its tokenizer, to begin with; none: a net of ours"""
    judge: Path | None = None
    """a folder with a transformer whose states are judged, of the same tokenizer; none: a net of ours"""
    longest: int = 0
    """words of the longest sentence, prompt included; longer ones are left out; 0: none"""
    verifier: str | None = None
    """words, apart by commas, that a completion should mention; none: a fox in the grammar; otherwise, and where it is
    empty, every completion passes"""
    verifier_count: int = 3
    """mentions, repeated ones too, that the verifier pays in full"""
    sentences: int = 2_000
    """sentences of the grammar that maximum likelihood reads"""
    demonstrations: int = 400
    """sentences that pass the verifier, to become like; 0: all that --data has"""
    valid: int = 400
    """others of them that no player sees"""
    test_sentences: int = 2_000
    """others of the grammar, to be measured against"""
    seed: int = 0
    """of the weights and the draws"""
    data_seed: int = 0
    """of the grammar's sentences, and of which are held out"""
    run_dir: Path | None = None
    """where the run is kept; none: runs/FAMILY-VARIANT-DATE"""
    evaluate_every: int = 25
    """rounds between measurements"""
    evaluate_samples: int = 1_000
    """answers in each of them"""
    final_samples: int = 4_000
    """answers in the measurement at the end"""
    sweep_samples: int = 2_000
    """answers at each temperature of the quality-diversity curves"""
    cache: Path = config.CACHE
    """where language models of a text, and scores that runs share, are kept"""
    start_from: Path | None = None
    """a run of the same --data-seed whose start to begin with, instead of maximum likelihood"""
    save_seconds: float = 60.0
    """seconds between checkpoints"""
    runtime: Runtime = field(default_factory=Runtime)

    @property
    def words(self) -> str:
        """Words that the verifier looks for, apart by commas."""
        return ("fox" if self.data == "grammar" else "") if self.verifier is None else self.verifier


def check(e: Experiment) -> None:
    """Raise InputError for a number out of its range, and for flags that ask for nothing."""
    config.check_numbers(e, may_be_zero=MAY_BE_ZERO, shares=SHARES)
    if VARIANTS[e.variant].verified and not e.words:
        raise InputError(f"--verifier: {e.variant} pays for words, and none are named for {e.data}")
    if e.numbers.lora and not e.model:
        raise InputError(f"--lora {e.numbers.lora}: adapters are for a --model")


def check_fit(e: Experiment, task: Task, engine: Engine) -> None:
    """Raise InputError for numbers that do not fit each other, the data or the machine: before a folder is made."""
    n = e.numbers
    if e.start_from:
        checkpoints.newest(e.start_from)
    if n.generator == "transformer" and n.hidden % HEADS:
        raise InputError(f"--hidden {n.hidden}: not divisible by the {HEADS} heads of a transformer")
    if engine.precision == "fp16" and engine.device.type == "cpu":
        raise InputError("--runtime.precision fp16: not on a CPU; take bf16 or fp32")
    for flag in ("evaluate_samples", "final_samples", "sweep_samples"):
        if getattr(e, flag) < 2:
            raise InputError(f"--{flag.replace('_', '-')} {getattr(e, flag)}: a distance needs at least 2 answers")
    if n.d_batch < 2 * engine.world:
        raise InputError(f"--d-batch {n.d_batch}: fewer than a demonstration and an answer for each rank")
    if n.mle_batch < engine.world:
        raise InputError(f"--mle-batch {n.mle_batch}: fewer than {engine.world} ranks")
    if n.batch % (n.group * engine.world):
        ranks = f" on each of {engine.world} ranks" if engine.world > 1 else ""
        raise InputError(f"--batch {n.batch}: no whole number of groups of {n.group}{ranks} (--group)")
    if n.advantage in ("group", "rloo") and n.group < 2:
        raise InputError(f"--group {n.group}: a group of one has nobody to be compared with (--advantage)")
    config.make_cache(e.cache)


class Cast:
    """Everything in a run that has a state, made from its configuration."""

    def __init__(self, e: Experiment, task: Task, engine: Engine) -> None:
        n = e.numbers
        rows = (task.text.train, *(getattr(task.shown, part) for part in ("train", "valid", "test")))
        self.origin = Origin(e.variant, e.data, rows, task.text.vocabulary.words)
        self.players = VARIANTS[e.variant].players(n, task, engine)
        self.sentences = Shuffled(len(task.text.train), n.mle_batch, seed=e.seed)
        self.best, self.choice = Best(self.players.generator), Choice(self.players.generator)
        self.at, self.meter, self.engine = Position(), Meter(), engine
        self.instruments = instruments_of(task, e.cache.expanduser())
        held = task.shown.sentences(task.shown.valid)
        self.outside = Outside(self.instruments.kn, self.instruments.words, held)

    def parts(self, log: Log) -> dict[str, checkpoints.Stateful]:
        """Return what a checkpoint holds."""
        stateful = {
            name: part for name, part in vars(self).items() if name not in ("players", "instruments", "outside")
        }
        return stateful | self.players.parts() | {"log": log}

    def settle(self, e: Experiment) -> int:
        """Let the chosen round be measured, and return it."""
        if e.numbers.pick == "last":
            return self.choice.last
        self.players.generator.load_state_dict(self.choice.weights)
        return self.choice.round


def measurement(e: Experiment) -> Measurement:
    """Return how the end is measured."""
    return Measurement(
        e.final_samples, e.sweep_samples, e.seed + EVALUATION_SEED, e.data_seed + EVALUATION_SEED, e.cache.expanduser()
    )


def saved_experiment(run_dir: Path, saved: dict[str, object]) -> Experiment:
    """Return the experiment of a run; raise InputError naming the file and the setting that is wrong."""
    return config.of_run(Experiment, VARIANTS, check, run_dir, saved)
