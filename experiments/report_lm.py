"""The sections of a report on a run with demonstrations: the summary, trade-offs, the health of the game, samples."""

from markupsafe import Markup

from experiments import page, records, report_parts, report_text
from experiments.comparison_lm import MEANING
from experiments.plots import Line, Phase, over_steps
from experiments.records import Run, flatten

ROWS = {"": "the round that is measured", "mle": "start", "real": "REAL"}


def sections(run: Run) -> list[Markup]:
    """Return what a run with demonstrations has to show."""
    phases = find_phases(run)
    figures = [(key, over_steps([Line(*run.series(key), "c0")], phases)) for key in run.metrics()]
    steps = report_text.chosen_steps(run.folder)
    samples = [(step, records.read_samples(run.folder, step, report_text.SENTENCES)) for step in steps]
    return [
        report_parts.summary(run, ROWS, meaning=MEANING),
        page.fragment(report_text.TRADE_OFFS, {"trade_offs": report_text.trade_offs(run)}),
        report_parts.panels(figures, phases, meaning=MEANING),
        page.fragment(report_text.SAMPLES, {"samples": samples}),
    ]


def find_phases(run: Run) -> list[Phase]:
    """Return maximum likelihood and the rounds; the discriminator's warm-up is one step between them."""
    config = flatten(run.description["config"])
    read = 0 if config.get("start_from") else int(config["mle_epochs"])
    last = max((row["step"] for row in run.rows), default=0)
    ends = [0, read, max(last, read)]
    names = ("maximum likelihood", "rounds")
    return [
        Phase(f"{name}, steps {first + 1} to {end}", first, end, f"phase{i}")
        for i, (name, first, end) in enumerate(zip(names, ends[:-1], ends[1:], strict=True))
        if end > first
    ]
