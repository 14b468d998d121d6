"""What a retrieval run is made of: its configuration, and its collection."""

import gzip
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from experiments import config
from rl.retrieval.collection import Collection
from rl.retrieval.letor import letor
from rl.retrieval.numbers import Numbers
from rl.retrieval.qa import qa
from rl.retrieval.ratings import ratings
from rl.retrieval.relevance import Relevance
from rl.retrieval.synthetic import synthetic
from rl.retrieval.text_scorers import HEADS
from rl.retrieval.variants import VARIANTS
from rl.runtime import Engine, InputError, Runtime

MAY_BE_ZERO = (
    "steps", "lr_decay", "pretrain_epochs", "pretrain_decay", "layers", "d_layers", "d_width", "d_epochs", "d_decay",
    "g_epochs", "g_decay", "adversarial", "likelihood", "list", "documents", "seed", "data_seed", "save_seconds",
    "threads",
)  # fmt: skip
SHARES = ("hold_out", "positive_share", "dropout", "d_dropout")
SIGNED = ("positive",)
Format = Literal["auto", "ratings", "letor", "qa"]


@dataclass(frozen=True)
class Experiment:
    """A run of adversarial retrieval."""

    variant: tyro.conf.Suppress[str]
    numbers: Annotated[Numbers, tyro.conf.arg(name="")]
    preset: Literal["default", "demo", "paper"] = "default"
    """which numbers to start from: minutes on two cores, a fifth of that, the released code's schedule"""
    data: str = "synthetic"
    """a file to learn from, or `synthetic`: a catalogue of our own making"""
    test: Path | None = None
    """a file to measure on at the end; none: a share of the data"""
    validation: Path | None = None
    """a file to choose the round on; none: a share of the data"""
    format: Format = "auto"
    """of the files: lines `user item rating`, LETOR's `grade qid:Q 1:x ...`, or a table of questions and answers"""
    positive: float = 4.0
    """ratings: the least that counts as relevant"""
    documents: int = 0
    """ratings: how many items there are, rated or not; 0: up to the largest id"""
    mask: Literal["positives", "all_seen"] = "positives"
    """ratings: what a ranking leaves out: what the user rated well in training, or rated at all"""
    pool: Literal["judged", "all"] = "judged"
    """questions: whether its own answers are ranked, or those of all questions"""
    hold_out: float = 0.2
    """share of the data that the round is chosen on; 0: the last round is measured"""
    data_seed: int = 0
    """of what is held out, and of the synthetic catalogue"""
    ties: Literal["higher_id", "lower_id", "last"] = "higher_id"
    """who comes first of equal scores: the higher number (IRGAN's rule), the lower, or the relevant last"""
    select_by: Literal["p@5", "ndcg@5", "map", "mrr"] = "ndcg@5"
    """what the round is chosen by"""
    select_on_test: bool = False
    """choose it on the test data, as IRGAN did: such a score is none; it is here to repeat the paper's"""
    refit: bool = False
    """learn anew on training and validation data together, for as many epochs and rounds as validation chose; rates
    that fall reach zero with the last of them"""
    seed: int = 0
    """of the weights and the draws"""
    run_dir: Path | None = None
    """where the run is kept; none: runs/FAMILY-VARIANT-DATE"""
    evaluate_every: int = 5
    """epochs of pretraining, or of the generator, between measurements"""
    save_seconds: float = 60.0
    """seconds between checkpoints"""
    runtime: Runtime = field(default_factory=Runtime)


def kind_of(data: str, asked: str) -> str:
    """Tell the kind of data: by --format, else by how the file begins. Raises InputError for a file of no kind."""
    if asked != "auto":
        return asked
    if data == "synthetic":
        return "ratings"
    first = first_line(Path(data))
    if first.startswith("qid\t"):
        return "qa"
    return "letor" if re.match(r"\S+\s+qid:", first) else "ratings"


def first_line(path: Path) -> str:
    """Return how a file begins, comments and blank lines left out; raise InputError if it cannot be read."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig") as file:
            lines = iter(lambda: str(file.readline(1 << 20)), "")
            return next((line for line in lines if line.strip() and not line.startswith("#")), "")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be read: {reason}") from None


def load_data(e: Experiment) -> Collection:
    """Return the collection that the flags name; raise InputError naming the file and the place."""
    held = 0.0 if e.select_on_test else e.hold_out
    if e.data == "synthetic":
        return synthetic(e.data_seed, hold_out=held)
    train, held_out = Path(e.data), {"hold_out": held or 0.0, "seed": e.data_seed}
    match kind_of(e.data, e.format):
        case "letor":
            return letor(train, e.validation, e.test, **held_out)
        case "qa":
            return qa(train, e.validation, e.test, pool=e.pool, **held_out)
    return ratings(
        train, e.test, valid=e.validation, positive=e.positive, mask=e.mask, documents=e.documents, **held_out
    )


def joined(collection: Collection) -> Collection:
    """Return the same data, what was held out for validation learned from as well."""
    nothing = Relevance.nothing(collection.queries).to(collection.train.ids.device)
    return replace(collection, train=collection.train.union(collection.valid), valid=nothing)


def check(e: Experiment) -> None:
    """Raise InputError for a number out of its range, or settings that do not fit each other."""
    config.check_numbers(e, may_be_zero=MAY_BE_ZERO, shares=SHARES, signed=SIGNED)
    for name in ("adversarial", "lr_decay"):
        if (share := getattr(e.numbers, name)) > 1:
            raise InputError(f"--{name.replace('_', '-')} {share}: must be at most 1")
    for name in ("steps", "d_epochs", "g_epochs"):
        if (number := getattr(e.numbers, name)) and name not in VARIANTS[e.variant].plays:
            raise InputError(f"--{name.replace('_', '-')} {number}: must be zero, {e.variant} has no such part")
    if e.refit and e.select_on_test:
        raise InputError("--refit: learns on what was held out, and --select-on-test holds nothing out")
    if e.data == "synthetic":
        if e.format not in ("auto", "ratings"):
            raise InputError(f"--format {e.format}: --data synthetic are ratings")
        for flag, path in (("test", e.test), ("validation", e.validation)):
            if path is not None:
                raise InputError(f"--{flag} {path}: --data synthetic makes its own")


def check_fit(e: Experiment, data: Collection, engine: Engine) -> None:
    """Raise InputError for settings that do not fit the data or the machine: before a folder is made."""
    row = VARIANTS[e.variant]
    if data.kind not in row.kinds:
        raise InputError(f"--data {e.data}: {data.kind}, and {e.variant} learns from {' or '.join(row.kinds)}")
    if engine.world > 1:
        raise InputError(f"{engine.world} ranks: a retrieval run has one")
    for split in ("train", "test"):
        if not len(data.judged(split).answered):
            raise InputError(f"--data {e.data}: nothing is relevant in the {split} data")
    if e.refit and not len(data.valid.answered):
        raise InputError("--refit: no validation data to choose the round on")
    check_documents(e, joined(data) if e.refit else data)
    check_nets(e.numbers, data)


def check_documents(e: Experiment, data: Collection) -> None:
    """Raise InputError where nothing can be told apart, or no other document be found."""
    n, relevant = e.numbers, data.train.positive.counts
    listed = data.train.counts if data.pool == "judged" else data.documents - data.shown.counts
    if not ((relevant > 0) & (relevant < listed)).any():
        raise InputError(f"--data {e.data}: no query of the training data has relevant documents and others")
    alike = (relevant == data.documents).nonzero()
    if len(alike) and n.pretrain_epochs and n.pretraining != "mle":
        known = f"all documents are relevant to {data.query_name(int(alike[0]))}"
        raise InputError(f"--data {e.data}: {known}, and --pretraining {n.pretraining} needs others")
    if n.list and data.pool == "judged":
        raise InputError(f"--list {n.list}: where a query's own documents are ranked, none are retrieved")


def check_nets(n: Numbers, data: Collection) -> None:
    """Raise InputError for a width that the data's nets cannot have."""
    if data.kind != "ratings" and n.d_width == 0:
        raise InputError("--d-width 0: only where users rate items")
    if data.kind == "qa":
        for name in ("width", "d_width"):
            if (width := getattr(n, name)) % HEADS:
                raise InputError(
                    f"--{name.replace('_', '-')} {width}: must be a multiple of {HEADS}, attention's heads"
                )


def saved_experiment(run_dir: Path, saved: dict[str, object]) -> Experiment:
    """Return the experiment of a run; raise InputError naming the file and the setting that is wrong."""
    return config.of_run(Experiment, VARIANTS, check, run_dir, saved)
