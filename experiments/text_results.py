"""What a text run leaves: samples, summary.json, curves.json and the report."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from experiments import report
from experiments.remembered import remembered
from rl.runtime import seeded
from rl.runtime.rundir import write_json
from rl.runtime.weights import digest
from seqgan.corpus import Corpus
from seqgan.evaluation import bounds, measure, sweep_temperatures
from seqgan.metrics.instruments import Instruments
from seqgan.players import Players
from seqgan.speakers import Speaker

SHOWN = 100  # sentences in a sample file
TABLE = ("nll_oracle", "nll_test", "lm_kn", "reverse_lm_kn", "bleu_4", "self_bleu_4", "distinct_2", "unique", "fbd")
ROWS = {"last step": "", "start": "mle/", "5-gram": "kn5/", "REAL": "real/", "uniform": "uniform/"}


def write_samples(run_dir: Path, step: int, speaker: Speaker, corpus: Corpus, seed: int) -> None:
    """Write `samples/step-N.txt`, one sentence a line."""
    with seeded(seed):
        said = speaker.speak(SHOWN)
    folder = run_dir / "samples"
    folder.mkdir(exist_ok=True)
    rows = zip(corpus.given(said), corpus.sentences(said), strict=True)
    lines = (corpus.vocabulary.joiner.join([*given, *sentence]) + "\n" for given, sentence in rows)
    (folder / f"step-{step}.txt").write_text("".join(lines), encoding="utf-8")


@dataclass(frozen=True)
class Measurement:
    """How the last step is measured."""

    samples: int
    sweep_samples: int
    seed: int
    data_seed: int
    cache: Path
    """where instruments and shared scores are kept"""


def summarise(run_dir: Path, players: Players, corpus: Corpus, m: Measurement) -> dict[str, float]:
    """Write summary.json and curves.json: the generator, its start, and the rows that every score stands between."""
    instruments = Instruments.of(corpus.learned, corpus.tested, cache=m.cache)
    write_json(run_dir / "features.json", {"name": instruments.encoder.name, "sha256": instruments.sha256})
    full = partial(measure, corpus=corpus, samples=m.samples, seed=m.seed, instruments=instruments)
    sweep = partial(
        sweep_temperatures, corpus=corpus, samples=m.sweep_samples, seed=m.seed, instruments=instruments.quick
    )
    known = (instruments.sha256, digest({"train": corpus.train, "test": corpus.test}), repr(m))

    def row_and_curve(speaker: Speaker) -> dict[str, Any]:
        return {"row": full(speaker), "curve": sweep(speaker)}

    last, start = players.speaker(players.generator), players.speaker(players.start)
    what = (*known, repr(start), digest(players.start.state_dict()))  # its form, prompts and masks beside its weights
    measured = {"last": row_and_curve(last)}
    measured["mle"] = remembered(m.cache, "start", what, lambda: row_and_curve(start))
    rows = {name: found["row"] for name, found in measured.items()}
    rows |= remembered(
        m.cache, "bounds", (*known[:2], f"{m.samples} {m.data_seed}"),
        lambda: bounds(corpus, instruments, samples=m.samples, seed=m.data_seed),
    )  # fmt: skip
    summary = {f"{row}/{key}": value for row, values in rows.items() for key, value in values.items()}
    summary = {key.removeprefix("last/"): value for key, value in summary.items()}
    began = time.perf_counter()
    with seeded(m.seed):
        last.speak(m.samples)
    summary["sentences_per_second"] = m.samples / (time.perf_counter() - began)
    write_json(run_dir / "curves.json", {name: found["curve"] for name, found in measured.items()})
    write_json(run_dir / "summary.json", summary)
    return summary


def show(summary: dict[str, float]) -> str:
    """Return the main numbers as a small table; a row without a number of a kind shows a dash there."""
    keys = [key for key in TABLE if any(prefix + key in summary for prefix in ROWS.values())]
    lines = [f"{'':20}" + "".join(f"{key:>15}" for key in keys)]
    for name, prefix in ROWS.items():
        if any(prefix + key in summary for key in keys):
            cells = [f"{summary[prefix + key]:15.3f}" if prefix + key in summary else f"{'-':>15}" for key in keys]
            lines.append(f"{name:20}" + "".join(cells))
    return "\n".join(lines)


def finish(run_dir: Path, players: Players, corpus: Corpus, m: Measurement) -> None:
    """Measure at the last step, write the report, and print where it is and the numbers in one small table."""
    summary = summarise(run_dir, players, corpus, m)
    page = report.write(run_dir)
    print(f"\n{show(summary)}\n\nreport: {page}", flush=True)
