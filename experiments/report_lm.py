"""The sections of a report on a run with demonstrations: the summary, trade-offs, the health of the game, samples."""

import json
from pathlib import Path

from markupsafe import Markup

from experiments import page, records, report_parts, report_text
from experiments.comparison_lm import MEANING
from experiments.plots import Line, Phase, over_steps
from experiments.records import Run, flatten
from rl.runtime.errors import InputError, one_line
from seqgan.reranking import heat_html

HEAT = """{% if heat %}
<h2>What the discriminator sees</h2>
<p class="soft">Answers to test prompts: green tokens speak for a demonstration, red ones against it.</p>
{% for row in heat %}{{ row }}{% endfor %}
{% endif %}

"""
ROWS = {"": "the round that is measured", "mle": "start", "real": "REAL"}


def sections(run: Run) -> list[Markup]:
    """Return what a run with demonstrations has to show."""
    phases = find_phases(run)
    figures = [(key, over_steps([Line(*run.series(key), "c0")], phases)) for key in run.metrics()]
    steps = report_text.chosen_steps(run.folder)
    heat = [Markup(heat_html(row)) for row in read_heat(run.folder / "heat.json")]
    samples = [(step, records.read_samples(run.folder, step, report_text.SENTENCES)) for step in steps]
    return [
        report_parts.summary(run, ROWS, meaning=MEANING),
        page.fragment(report_text.TRADE_OFFS, {"trade_offs": report_text.trade_offs(run)}),
        report_parts.panels(figures, phases, meaning=MEANING),
        page.fragment(HEAT, {"heat": heat}),
        page.fragment(report_text.SAMPLES, {"samples": samples}),
    ]


def read_heat(path: Path) -> list[list[tuple[str, float]]]:
    """Return answers token by token with their numbers; none if there is no such file. InputError for another one."""
    if not path.exists():
        return []
    try:
        return [[(str(word), float(number)) for word, number in row] for row in json.loads(path.read_text("utf-8"))]
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: rows of [word, number] are expected ({one_line(error)})") from None


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
