"""What a run with demonstrations leaves: samples, summary.json, curves.json and the report."""

from functools import partial
from pathlib import Path
from typing import Any

from experiments import report
from experiments.remembered import remembered
from experiments.text_results import Measurement
from rl.runtime import seeded
from rl.runtime.rundir import write_json
from rl.runtime.weights import digest
from seqgan.evaluation import measure, measure_sentences, sweep_temperatures
from seqgan.lm.health import divergence_of
from seqgan.lm.players import Learner
from seqgan.lm.task import Task, there
from seqgan.metrics.instruments import Instruments
from seqgan.speakers import Speaker

TABLE = (
    "verified", "grammatical", "verified_right", "nll_test", "lm_kn", "reverse_lm_kn", "bleu_4", "self_bleu_4", "fbd",
)  # fmt: skip
HEATED = 8  # answers whose tokens are shown one by one
ROWS = {"measured": "", "start": "mle/", "REAL": "real/"}


def summarise(
    run_dir: Path, learner: Learner, task: Task, instruments: Instruments, m: Measurement, chosen: int
) -> dict[str, float]:
    """Write summary.json, curves.json and heat.json: the policy, its start, and the demonstrations themselves.

    What was said is compared with test demonstrations; REAL's own likelihood is theirs, which no model has read.
    """
    shown = task.shown
    write_json(run_dir / "features.json", {"name": instruments.encoder.name, "sha256": instruments.sha256})
    quick = instruments.quick
    full = partial(measure, corpus=shown, samples=m.samples, seed=m.seed, instruments=quick)
    sweep = partial(sweep_temperatures, corpus=shown, samples=m.sweep_samples, seed=m.seed, instruments=quick)

    def row_and_curve(speaker: Speaker) -> dict[str, Any]:
        with seeded(m.seed):
            rows = speaker.speak(m.samples)
        return {"row": full(speaker) | task.scores(rows), "curve": sweep(speaker)}

    start = learner.speaker(learner.start)
    held = {"text": task.text.train, "train": shown.train, "test": shown.test}
    known = (instruments.sha256, digest(held), repr(m), repr(task.verifier))
    what = (*known, repr(start), digest(learner.start.state_dict()))
    measured = {"last": row_and_curve(learner.speaker(learner.generator))}
    measured["mle"] = remembered(m.cache, "lm-start", what, lambda: row_and_curve(start))
    real = measure_sentences(shown.train[: m.samples], shown, quick) | task.scores(shown.test[: m.samples])
    if len(shown.test) < m.samples:
        del real["verified_right"]  # of fewer sentences a larger share are different
    real["lm_kn"] = instruments.kn.nll(shown.tested)
    rows = {name: found["row"] for name, found in measured.items()} | {"real": real}
    summary = {f"{row}/{key}".removeprefix("last/"): value for row, each in rows.items() for key, value in each.items()}
    with seeded(m.seed):
        said = learner.speaker(learner.generator).speak(m.sweep_samples)
    summary |= {"kl": divergence_of(said, learner.generator, learner.start), "chosen": float(chosen)}
    write_json(run_dir / "curves.json", {name: found["curve"] for name, found in measured.items()})
    write_json(run_dir / "heat.json", heat_of(learner, task, m.seed))
    write_json(run_dir / "summary.json", summary)
    return summary


def heat_of(learner: Learner, task: Task, seed: int) -> list[list[tuple[str, float]]]:
    """Return some answers token by token, each token beside what it is worth to the discriminator; none without one."""
    shown = task.shown
    with seeded(seed):
        rows = learner.speaker(learner.generator).speak(HEATED)
    found = []
    for row, read, said in zip(rows, there(rows, shown.end, shown.prompt), task.said(rows), strict=True):
        ids = row[said].tolist()
        numbers = learner.heat(row[read & ~said].tolist(), ids)
        words = (shown.vocabulary.words[token] for token in ids)
        found.append(list(zip(words, numbers, strict=False)))  # no numbers where nobody judges
    return [row for row in found if row]


def show(summary: dict[str, float]) -> str:
    """Return the main numbers as a small table; a row without a number of a kind shows a dash there."""
    keys = [key for key in TABLE if key in summary]
    lines = [f"{'':12}" + "".join(f"{key:>15}" for key in keys)]
    for name, prefix in ROWS.items():
        cells = [f"{summary[prefix + key]:15.3f}" if prefix + key in summary else f"{'-':>15}" for key in keys]
        lines.append(f"{name:12}" + "".join(cells))
    return "\n".join(lines)


def finish(run_dir: Path, learner: Learner, task: Task, instruments: Instruments, m: Measurement, chosen: int) -> None:
    """Measure, write the report, and print where it is and the numbers in one small table."""
    summary = summarise(run_dir, learner, task, instruments, m, chosen)
    page = report.write(run_dir)
    print(f"\n{show(summary)}\n\nreport: {page}", flush=True)
