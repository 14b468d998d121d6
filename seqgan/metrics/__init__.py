"""Metrics of text."""

from seqgan.metrics.collapse import collapse_warnings
from seqgan.metrics.instruments import NO_INSTRUMENTS, Instruments
from seqgan.metrics.text import evaluate_text, read_sentences, treebank
