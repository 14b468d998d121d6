"""A task so small that a round takes milliseconds: the grammar's sentences, a verifier of foxes."""

from dataclasses import replace

from rl.runtime import Engine, Runtime
from seqgan.corpus import Corpus
from seqgan.lm import grammar
from seqgan.lm.numbers import Numbers
from seqgan.lm.task import Task
from seqgan.lm.verifiers import mentions

TINY = Numbers(
    steps=2, embedding=4, hidden=8, mle_epochs=1, mle_batch=8, batch=8, group=4, minibatch=8, rollouts=2,
    d_embedding=4, d_dropout=0.0, d_steps=1, d_batch=8, d_warm=2, d_memory=16, spin_every=2,
)  # fmt: skip


def engine(seed: int = 0) -> Engine:
    return Engine(Runtime(device="cpu", precision="fp32"), seed)


def task(prompt: int = 0, rows: int = 300) -> Task:
    """The first words of every row are given, if asked; demonstrations are what mentions a fox."""
    drawn = grammar.draw(rows, seed=1)
    text = Corpus(drawn[: rows // 2], drawn[:20], drawn[:0], grammar.VOCABULARY, 0, prompt=prompt)
    whole = Task(text, text, mentions("fox", 3, text), {"grammatical": grammar.grammatical})
    passing = drawn[whole.verdicts(drawn) > 0]
    parts = passing.split([len(passing) - 20, 10, 10])
    shown = replace(text, train=parts[0], valid=parts[1], test=parts[2])
    return replace(whole, shown=shown)
