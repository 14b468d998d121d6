"""A text run's generator for transformers: `python -m experiments.export RUN_DIR FOLDER [--step N]`.

`seqgan.pretrained.register()`, then `AutoModelForCausalLM.from_pretrained(FOLDER)` and `AutoTokenizer` read it.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from torch import Tensor

from experiments import text_gan
from experiments.config import one_line_errors
from experiments.text_data import kind_of
from experiments.text_setup import HEADS
from rl.runtime import InputError, checkpoints, exit_codes, rundir
from seqgan.corpus import BOUNDARY, Vocabulary
from seqgan.generators import Generator, LSTMGenerator, TransformerGenerator


@dataclass(frozen=True)
class Arguments:
    """What to take, and where to."""

    run_dir: tyro.conf.Positional[Path]
    """a folder of a text run"""
    folder: tyro.conf.Positional[Path]
    """where the model and its tokenizer go; a new folder, or an empty one"""
    step: int | None = None
    """the checkpoint to take; none: the newest good one"""


def generator_of(state: Mapping[str, Tensor], *, dropout: float, end: int) -> Generator:
    """Return the generator that a state is of, its sizes read off the shapes; raise InputError for another kind."""
    words = len(state["head.weight"]) if "head.weight" in state else 0
    if {"lstm.weight_hh_l0", "embedding.weight"} < state.keys():
        (_, embedding), (_, hidden) = state["embedding.weight"].shape, state["lstm.weight_hh_l0"].shape
        layers = sum(name.startswith("lstm.weight_hh_l") for name in state)
        net: Generator = LSTMGenerator(
            words, embedding=embedding, hidden=hidden, layers=layers, dropout=dropout, end=end
        )
    elif "positions.weight" in state:
        length, width = state["positions.weight"].shape
        layers = sum(name.endswith("query_key_value.weight") for name in state)
        net = TransformerGenerator(
            words, length=length, width=width, layers=layers, heads=HEADS, dropout=dropout, end=end
        )
    else:
        raise InputError("neither an LSTM nor a transformer")
    try:
        net.load_state_dict(dict(state))
    except RuntimeError:
        raise InputError("no plain language model") from None
    return net.eval()


def export(run_dir: Path, folder: Path, step: int | None = None) -> None:
    """Write the run's generator, with a tokenizer where its corpus is a text.

    Raises InputError for a run of another family, for a generator that is neither an LSTM nor a transformer, and for
    one that reads what fills up its prompts, which a mask of transformers hides.
    """
    from seqgan.pretrained import pretrained
    from seqgan.prompts import SPECIAL, tokenizer_of

    saved = rundir.read_config(run_dir)
    if saved["family"] != text_gan.FAMILY:
        raise InputError(f"{run_dir / 'config.json'}: a run of {saved['family']}, expected one of {text_gan.FAMILY}")
    corpus, before_tab = str(saved["config"]["corpus"]), saved["config"]["before_tab"]
    if kind_of("--corpus", corpus) == "pairs" and before_tab == "prompt":
        raise InputError(f"{run_dir}: its prompts are filled up on the left, and it has learned to read that")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: there is something in it")
    at = checkpoints.at(run_dir, step)
    vocabulary = vocabulary_of(run_dir / "vocabulary.json")
    text = vocabulary.words[: len(SPECIAL)] == SPECIAL
    try:
        dropout = saved["config"]["numbers"]["dropout"]
        generator = generator_of(checkpoints.load(at)["generator"], dropout=dropout, end=BOUNDARY if text else -1)
    except InputError as error:
        raise InputError(f"{at / 'generator.json'}: {error}") from None
    pretrained(generator).save_pretrained(folder)
    if text:
        tokenizer_of(vocabulary).save_pretrained(folder)
    print(f"{folder}: {type(generator).__name__} of {at}")


def vocabulary_of(path: Path) -> Vocabulary:
    """Read the words of a run."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Vocabulary(tuple(kept["words"]), kept["joiner"])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not a vocabulary") from None


def main(arguments: Sequence[str]) -> None:
    """Export."""
    a = one_line_errors(
        lambda: tyro.cli(Arguments, args=arguments, prog="python -m experiments.export", description=__doc__)
    )
    export(a.run_dir, a.folder, a.step)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
