"""What a text run is made of: its configuration, its sentences, and everything in it that has a state."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import Tensor

from experiments import config
from experiments.origin import Origin
from experiments.text_results import Measurement
from rl.runtime import Engine, InputError, Log, Meter, Position, Runtime, Shuffled, checkpoints
from seqgan.corpus import Corpus, Units
from seqgan.numbers import Numbers
from seqgan.pretraining import Best
from seqgan.speakers import Speaker
from seqgan.variants import VARIANTS

MAY_BE_ZERO = (
    "steps", "length", "classes", "prompt", "valid", "mle_epochs", "mle_decay", "g_steps", "kl_weight",
    "entropy_weight", "d_l2", "d_pretrain", "d_rounds", "discount", "beta1", "curriculum", "teacher_weight",
    "interleave", "mask_whole", "gp_weight", "matching_weight", "seed", "data_seed", "save_seconds", "threads",
)  # fmt: skip
SHARES = ("dropout", "d_dropout", "beta1", "baseline_decay")
HEADS = 4  # of a transformer
EVALUATION_SEED = 1_000_003  # added to the seed of a run: what is measured never repeats what was trained on


@dataclass(frozen=True)
class Experiment:
    """A run of a text GAN."""

    variant: tyro.conf.Suppress[str]
    numbers: Annotated[Numbers, tyro.conf.arg(name="")]
    preset: Literal["default", "demo", "paper", "paper-cpu", "protocol", "text"] = "default"
    """which numbers: minutes on two cores, two minutes, the paper's, the paper's for a CPU, those that methods are
    compared by, the same for text"""
    corpus: str = "oracle"
    """`oracle`, one sentence a line (.txt, .txt.gz), pairs apart by a tab (.tsv, .tsv.gz), ids (.npy, .npz), hf:NAME"""
    test: str = ""
    """held-out sentences, of the same kind as --corpus; empty: a tenth of the corpus (of an oracle: fresh draws)"""
    oracle_params: Path | None = None
    """an .npz with an oracle's weights, such as the SeqGAN paper's; none: an oracle drawn from the seed"""
    before_tab: Literal["label", "prompt"] = "label"
    """what stands before the tab of a .tsv: the sentence's kind, or words that it continues"""
    units: Units = "word"
    """what a text is split into"""
    at_least: int = 1
    """a rarer word becomes <unk>"""
    hub_split: str = "train"
    """split of an hf:NAME data set"""
    hub_column: str = "text"
    """column of an hf:NAME data set"""
    seed: int = 0
    """of the weights and the draws"""
    data_seed: int = 0
    """of an oracle, what it says, and which sentences are held out"""
    run_dir: Path | None = None
    """where the run is kept; none: runs/FAMILY-VARIANT-DATE"""
    evaluate_every: int = 10
    """adversarial rounds between measurements"""
    evaluate_samples: int = 2_000
    """sentences in each of them"""
    final_samples: int = 10_000
    """sentences in the measurement at the end"""
    sweep_samples: int = 2_000
    """sentences at each temperature of the quality-diversity curves"""
    cache: Path = config.CACHE
    """where language models of a text, and scores that runs share, are kept"""
    start_from: Path | None = None
    """a run of the same --data-seed whose pretrained generator to start from, instead of pretraining one"""
    save_seconds: float = 60.0
    """seconds between checkpoints"""
    runtime: Runtime = field(default_factory=Runtime)


def check(e: Experiment) -> None:
    """Raise InputError for a number out of its range, and for a net that the variant cannot have."""
    config.check_numbers(e, may_be_zero=MAY_BE_ZERO, shares=SHARES)
    for name in ("mask_share", "mask_whole", "curriculum"):
        if (share := getattr(e.numbers, name)) > 1:
            raise InputError(f"--{name.replace('_', '-')} {share}: must be at most 1")
    if VARIANTS[e.variant].own_net and e.numbers.generator != "lstm":
        raise InputError(f"--generator {e.numbers.generator}: {e.variant} has a net of its own")


def check_fit(e: Experiment, corpus: Corpus, engine: Engine) -> None:
    """Raise InputError for numbers that do not fit each other, the corpus or the machine: before a folder is made."""
    n = e.numbers
    if e.start_from:
        checkpoints.newest(e.start_from)
    if n.mle_best and not len(corpus.valid):
        raise InputError("--mle-best: needs validation sentences (--valid)")
    if n.generator == "transformer" and n.hidden % HEADS:
        raise InputError(f"--hidden {n.hidden}: not divisible by the {HEADS} heads of a transformer")
    if engine.precision == "fp16" and engine.device.type == "cpu":
        raise InputError("--runtime.precision fp16: not on a CPU; take bf16 or fp32")
    if (fewest := min(e.evaluate_samples, e.final_samples, e.sweep_samples)) < 2:
        flags = ("evaluate_samples", "final_samples", "sweep_samples")
        flag = next(flag for flag in flags if getattr(e, flag) == fewest).replace("_", "-")
        raise InputError(f"--{flag} {fewest}: a distance needs at least 2 sentences")
    config.make_cache(e.cache)
    for flag, rows in (("batch", n.batch), ("d-sentences", n.d_sentences)):
        if rows % engine.world:
            raise InputError(f"--{flag} {rows}: not divisible by {engine.world} ranks")
    for flag, rows in (("mle-batch", min(n.mle_batch, len(corpus.train))), ("d-batch", n.d_batch // 2)):
        if engine.world > max(1, rows):
            raise InputError(f"--{flag}: {rows} sentences of a kind cannot be shared by {engine.world} ranks")


def origin_of(e: Experiment, corpus: Corpus) -> Origin:
    """Return what a checkpoint of this run belongs to."""
    # What an oracle draws may differ by a rounding on another machine; what was read from a file may not differ.
    read = (corpus.train, corpus.valid, corpus.test) if corpus.oracle is None else ()
    weights = tuple(corpus.oracle.state_dict().values()) if corpus.oracle and e.oracle_params else ()
    return Origin(e.variant, str(e.oracle_params or e.corpus), (*read, *weights), corpus.vocabulary.words)


class Fakes:
    """The sentences that the discriminator learns from until the next resampling; part of a checkpoint."""

    def __init__(self, rows: int, length: int) -> None:
        self.sentences = torch.zeros(rows, length, dtype=torch.long)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sentences."""
        return {"sentences": self.sentences.int()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take sentences."""
        if state["sentences"].shape != self.sentences.shape:
            shapes = f"{list(state['sentences'].shape)}, not {list(self.sentences.shape)}"
            raise InputError(f"fake sentences {shapes}: --d-sentences or --length has changed since this checkpoint")
        self.sentences = state["sentences"].long()


class Cast:
    """Everything in a run that has a state, made from its configuration."""

    def __init__(self, e: Experiment, corpus: Corpus, engine: Engine) -> None:
        self.origin, n = origin_of(e, corpus), e.numbers
        self.players = VARIANTS[e.variant].players(n, corpus, engine)
        half = max(1, n.d_batch // 2)
        self.sentences = Shuffled(len(corpus.train), n.mle_batch, seed=e.seed)
        self.reals = Shuffled(len(corpus.train), half, seed=e.seed + 1)
        self.fake_rows = Shuffled(n.d_sentences, half, seed=e.seed + 2)
        self.fakes = Fakes(n.d_sentences, self.players.width)
        self.best, self.at, self.meter, self.engine = Best(self.players.generator), Position(), Meter(), engine

    def parts(self, log: Log) -> dict[str, checkpoints.Stateful]:
        """Return what a checkpoint holds."""
        return (
            {name: part for name, part in vars(self).items() if name != "players"} | self.players.parts() | {"log": log}
        )

    def speaker(self) -> Speaker:
        """Return the generator as it is, to be measured."""
        return self.players.speaker(self.players.generator)


def measurement(e: Experiment) -> Measurement:
    """Return how the last step is measured."""
    return Measurement(
        e.final_samples, e.sweep_samples, e.seed + EVALUATION_SEED, e.data_seed + EVALUATION_SEED, e.cache.expanduser()
    )


def saved_experiment(run_dir: Path, saved: dict[str, object]) -> Experiment:
    """Return the experiment of a run; raise InputError naming the file and the setting that is wrong."""
    return config.of_run(Experiment, VARIANTS, check, run_dir, saved)
