"""Where a text run's sentences come from: the corpus that its flags name."""

from pathlib import Path
from typing import Literal

from experiments.text_setup import Experiment
from rl.runtime import InputError
from seqgan.conditional import (
    labelled_corpus,
    labelled_oracle,
    labelled_oracle_corpus,
    paired_corpus,
    prompted,
    read_pairs,
)
from seqgan.corpus import Corpus, ids_corpus, oracle_corpus, read_hub, read_ids, read_lines, text_corpus
from seqgan.oracle import draw_oracle, load_oracle

Kind = Literal["oracle", "ids", "hub", "pairs", "text"]


def load_corpus(e: Experiment) -> Corpus:
    """Return the corpus that the flags name; raise InputError naming the file and the place."""
    n, kind = e.numbers, kind_of("--corpus", e.corpus)
    if kind != "oracle" and e.oracle_params:
        raise InputError(f"--oracle-params {e.oracle_params}: needs --corpus oracle, not {e.corpus}")
    if kind != "oracle" and n.classes:
        raise InputError(f"--classes {n.classes}: needs --corpus oracle; a .tsv names its labels itself")
    if e.test and kind == "oracle":
        raise InputError(f"--test {e.test}: the oracle draws test sentences itself (--test-sentences)")
    if e.test and kind_of("--test", e.test) != kind:
        raise InputError(f"--test {e.test}: expected the same kind of source as --corpus {e.corpus}")
    corpus = said_by_oracle(e) if kind == "oracle" else read(e, kind)
    return prompted(corpus, n.prompt) if n.prompt else corpus


def said_by_oracle(e: Experiment) -> Corpus:
    """Return sentences of the oracle that the flags name, or of one for each label."""
    n = e.numbers
    if n.valid >= n.sentences:
        raise InputError(f"--valid {n.valid}: only {n.sentences} sentences (--sentences)")
    if n.classes == 1 or (n.classes and e.oracle_params):
        raise InputError(f"--classes {n.classes}: two kinds or more, each with an oracle from the seed")
    sizes = {"sentences": n.sentences, "valid": n.valid, "test": n.test_sentences, "length": n.length or 20}
    if n.classes:
        many = labelled_oracle(n.classes, n.vocabulary, seed=e.data_seed)
        return labelled_oracle_corpus(many, seed=e.data_seed, **sizes)
    oracle = load_oracle(e.oracle_params) if e.oracle_params else draw_oracle(n.vocabulary, seed=e.data_seed)
    return oracle_corpus(oracle, seed=e.data_seed, **sizes)


def read(e: Experiment, kind: Kind) -> Corpus:
    """Return the sentences of files, or of data sets on the hub."""
    n, files = e.numbers, [name for name in (e.corpus, e.test) if name]
    if kind == "ids":
        ids = [read_ids(Path(name)) for name in files]
        if n.length not in (0, ids[0].shape[1]):
            raise InputError(f"--length {n.length}: the sentences of {e.corpus} have {ids[0].shape[1]} tokens")
        return ids_corpus(ids[0], ids[1] if e.test else ids[0][:0], valid=n.valid, seed=e.data_seed)
    how = {"units": e.units, "at_least": e.at_least, "length": n.length, "valid": n.valid, "seed": e.data_seed}
    if kind == "pairs":
        pairs = [read_pairs(Path(name)) for name in files]
        build = labelled_corpus if e.before_tab == "label" else paired_corpus
        return build(pairs[0], pairs[1] if e.test else [], **how)
    if kind == "hub":
        lines = [read_hub(name.removeprefix("hf:"), e.hub_split, e.hub_column, e.units) for name in files]
    else:
        lines = [read_lines(Path(name), e.units) for name in files]
    return text_corpus(lines[0], lines[1] if e.test else [], **how)


def kind_of(flag: str, source: str) -> Kind:
    """Tell what a flag names; raise InputError for what is no source of sentences."""
    if source == "oracle" and flag == "--corpus":
        return "oracle"
    if source.startswith("hf:"):
        return "hub"
    for kind, endings in SOURCES.items():
        if source.endswith(endings):
            return kind
    raise InputError(f"{flag} {source}: expected oracle, a .txt, .txt.gz, .tsv, .tsv.gz, .npy or .npz file, or hf:NAME")


SOURCES: dict[Kind, tuple[str, ...]] = {
    "ids": (".npy", ".npz"),
    "pairs": (".tsv", ".tsv.gz"),
    "text": (".txt", ".txt.gz"),
}
