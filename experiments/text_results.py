"""What a text run leaves: samples, summary.json, curves.json and the report."""

import time
from pathlib import Path

from experiments import report
from rl.runtime import seeded
from rl.runtime.rundir import write_json
from seqgan.corpus import Corpus
from seqgan.evaluation import bounds, measure, sweep_temperatures
from seqgan.players import Players
from seqgan.speakers import Speaker

SHOWN = 100  # sentences in a sample file
TABLE = ("nll_oracle", "nll_test", "distinct_2", "unique", "bleu_2", "bleu_4", "self_bleu_4")
ROWS = {"last step": "", "maximum likelihood": "mle/", "REAL": "real/", "uniform": "uniform/"}


def write_samples(run_dir: Path, step: int, speaker: Speaker, corpus: Corpus, seed: int) -> None:
    """Write `samples/step-N.txt`, one sentence a line."""
    with seeded(seed):
        sentences = corpus.vocabulary.decode(speaker.speak(SHOWN), corpus.end)
    folder = run_dir / "samples"
    folder.mkdir(exist_ok=True)
    lines = (corpus.vocabulary.joiner.join(sentence) + "\n" for sentence in sentences)
    (folder / f"step-{step}.txt").write_text("".join(lines), encoding="utf-8")


def summarise(
    run_dir: Path,
    players: Players,
    corpus: Corpus,
    *,
    samples: int,
    sweep_samples: int,
    seed: int,
) -> dict[str, float]:
    """Write summary.json and curves.json: the generator, its maximum-likelihood start, REAL and uniform sentences."""
    speakers = {"last": players.speaker(players.generator), "mle": players.speaker(players.start)}
    rows = {name: measure(speaker, corpus, samples=samples, seed=seed) for name, speaker in speakers.items()}
    rows |= bounds(corpus, samples=samples, seed=seed + 1)
    summary = {f"{row}/{key}": value for row, values in rows.items() for key, value in values.items()}
    summary = {key.removeprefix("last/"): value for key, value in summary.items()}
    began = time.perf_counter()
    with seeded(seed):
        speakers["last"].speak(samples)
    summary["sentences_per_second"] = samples / (time.perf_counter() - began)
    curves = {
        name: sweep_temperatures(speaker, corpus, samples=sweep_samples, seed=seed)
        for name, speaker in speakers.items()
    }
    write_json(run_dir / "curves.json", curves)
    write_json(run_dir / "summary.json", summary)
    return summary


def show(summary: dict[str, float]) -> str:
    """Return the main numbers as a small table; a row without a number of a kind shows a dash there."""
    keys = [key for key in TABLE if any(prefix + key in summary for prefix in ROWS.values())]
    lines = [f"{'':20}" + "".join(f"{key:>13}" for key in keys)]
    for name, prefix in ROWS.items():
        if any(prefix + key in summary for key in keys):
            cells = [f"{summary[prefix + key]:13.3f}" if prefix + key in summary else f"{'-':>13}" for key in keys]
            lines.append(f"{name:20}" + "".join(cells))
    return "\n".join(lines)


def finish(
    run_dir: Path,
    players: Players,
    corpus: Corpus,
    *,
    samples: int,
    sweep_samples: int,
    seed: int,
) -> None:
    """Measure at the last step, write the report, and print where it is and the numbers in one small table."""
    summary = summarise(run_dir, players, corpus, samples=samples, sweep_samples=sweep_samples, seed=seed)
    page = report.write(run_dir)
    print(f"\n{show(summary)}\n\nreport: {page}", flush=True)
