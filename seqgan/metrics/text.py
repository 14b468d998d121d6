"""The text protocol: read sentences from a file, and all scores of a set of samples in one flat dictionary.

On raw captions and with the `treebank` split this is Texygen's protocol: lower case, every sample against every test
sentence, and its published table comes back to the third decimal.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rl.runtime.errors import InputError
from rl.runtime.lines import numbered_lines
from seqgan.metrics.bleu import BleuIndex, Hits, self_bleu
from seqgan.metrics.copying import copying
from seqgan.metrics.diversity import distinct_n, tokens_used, unigram_entropy, unique_share
from seqgan.metrics.grams import Sentences
from seqgan.metrics.instruments import NO_INSTRUMENTS, Measures
from seqgan.metrics.lengths import lengths

SACREBLEU_ORDER = 4


def evaluate_text(
    samples: Sentences,
    references: Sentences,
    *,
    train: Sentences | None = None,
    instruments: Measures = NO_INSTRUMENTS,
    max_order: int = 5,
    self_bleu_limit: int = 10_000,
) -> dict[str, float]:
    """Score samples against references.

    `bleu_n`: mean sentence BLEU against ALL references; `self_bleu_n`: each of the first `self_bleu_limit` samples
    against the others of them (both numbers depend on how many sentences they are measured against).
    `sacrebleu_corpus`: corpus BLEU-4 from 0 to 100, see `corpus_bleu`. `distinct_n`, `unique`, `tokens_used`, `entropy`
    (of single tokens, nats), `length_mean` and what `lengths` tells. With `train` also `train_bleu_n`, `novel`, the
    share of samples that are no training sentence, and what `copying` tells. With `Instruments.of(train, references)`
    also what they measure: likelihoods in both directions, distances of features.

    Raises InputError for fewer than two samples or no reference.
    """
    if len(samples) < 2:
        raise InputError(f"samples: {len(samples)} sentences: Self-BLEU needs at least two")
    if not len(references):
        raise InputError("references: no sentence: BLEU needs at least one")
    hits = BleuIndex(references, max(max_order, SACREBLEU_ORDER)).hits(samples)
    scores = _by_order("bleu", hits.sentence_bleu()[:, :max_order])
    scores |= _by_order("self_bleu", self_bleu(samples[:self_bleu_limit], max_order))
    scores["sacrebleu_corpus"] = corpus_bleu(hits)
    scores |= {f"distinct_{n}": distinct_n(samples, n) for n in range(1, 5)}
    scores["unique"] = unique_share(samples)
    scores["tokens_used"] = float(tokens_used(samples))
    scores["entropy"] = unigram_entropy(samples)
    scores["length_mean"] = float(hits.lengths.mean())
    scores |= lengths(samples, references)
    if train is not None:
        scores |= beside_train(samples, train, max_order)
    return scores | instruments.measure(samples, references)


def beside_train(samples: Sentences, train: Sentences, max_order: int = 5) -> dict[str, float]:
    """Return `train_bleu_n`, `novel`, the share of samples that are no training sentence, and what `copying` tells."""
    known = set(map(tuple, train))
    novel = float(np.mean([tuple(sample) not in known for sample in samples]))
    bleu = _by_order("train_bleu", BleuIndex(train, max_order).score(samples))
    return bleu | {"novel": novel} | copying(samples, train)


def corpus_bleu(hits: Hits) -> float:
    """Corpus BLEU-4 (0 to 100) of unconditional samples: every sample has all references, as in sentence BLEU.

    It is what `sacrebleu.corpus_bleu(samples, streams, tokenize="none")` returns when each reference is a stream of its
    own that stands beside every sample: the counts come from the index (with 10,000 references sacrebleu would take
    hours), the formula and its smoothing from sacrebleu.
    """
    from sacrebleu.metrics.bleu import BLEU

    score = BLEU.compute_bleu(
        correct=hits.found[:, :SACREBLEU_ORDER].sum(0).astype(int).tolist(),
        total=hits.tries()[:, :SACREBLEU_ORDER].sum(0).tolist(),
        sys_len=int(hits.lengths.sum()),
        ref_len=int(hits.reference_lengths.sum()),
        smooth_method="exp",
    )
    return float(score.score)


def _by_order(name: str, scores: np.ndarray) -> dict[str, float]:
    means = scores.mean(axis=0)
    return {f"{name}_{n}": float(means[n - 1]) for n in range(2, len(means) + 1)}


def read_sentences(
    path: str | Path, split: Callable[[str], list[str]] = str.split, *, empty_allowed: bool = False
) -> list[list[str]]:
    """Read one sentence a line from a .txt or .txt.gz file in UTF-8, in lower case, split at blanks.

    Text that is not tokenised yet needs `split=treebank`. Raises InputError, naming file and place, for a file that is
    missing, unreadable, not UTF-8 or empty, and for an empty line before the last; a generator's samples may hold
    empty sentences, which count (and score 0): `empty_allowed=True`.
    """
    sentences = []
    for place, line in numbered_lines(Path(path)):
        words = split(line.lower())
        if not words and not empty_allowed:
            raise InputError(f"{place}: empty sentence")
        sentences.append(words)
    return sentences


_OPENING_QUOTE = re.compile(r'(?<![^\s(\[{<])"')
_APART = re.compile(r"\.\.\.|--|[][(){}<>;@#$%&?!]|``|''")
_PAUSE = re.compile(r"[,:](?!\d)")
_FINAL_PERIOD = re.compile(r"(?<!\.)\.(?=[\s\])}>']*$)")
_ENDING = re.compile(r"(?i)(?<![\s'])('s|'m|'d|'ll|'re|'ve|n't|')(?!\S)")
_TWO_WORDS = re.compile(r"(?i)\b(can)(not)\b|\b(gon|wan)(na)\b|\b(got)(ta)\b")


def treebank(line: str) -> list[str]:
    """Split raw English as the Penn Treebank does: punctuation, quotes and clitics ('s, n't) become words of their own.

    Only a period at the line's end is one; the captions' published scores come from text split so.
    """
    line = _OPENING_QUOTE.sub(" `` ", line).replace('"', " '' ")
    for pattern in (_APART, _PAUSE, _FINAL_PERIOD):
        line = pattern.sub(r" \g<0> ", line)
    line = _ENDING.sub(r" \g<0>", line)
    return _TWO_WORDS.sub(lambda match: " ".join(filter(None, match.groups())), line).split()
