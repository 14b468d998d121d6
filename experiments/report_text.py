"""The sections of a text run's report: the summary beside the published numbers, trade-offs, metrics, samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from experiments import page, records, report_parts
from experiments.plots import Line, Mark, Phase, Side, over_steps, trade_off
from experiments.published_text import ORACLE
from experiments.records import Run

ROWS = {
    "": "last step",
    "mle": "maximum-likelihood start",
    "real": "REAL",
    "kn5": "5-gram",
    "uniform": "uniform tokens",
}
LEVELS = {"mle": ("c1", "maximum-likelihood start"), "real": ("c2", "REAL")}
PLAYERS = {"mle": ("c1", "maximum-likelihood start"), "last": ("c0", "last step")}
# nll_oracle for the SeqGAN paper's oracle (5,000 tokens, sentences of 20): Yu et al. 2017, Lin et al. 2017, Guo et al.
# 2018 (at inverse temperature 1.5).
SHOWN = ("MLE", "SeqGAN", "RankGAN", "LeakGAN", "real")
PUBLISHED = {row.method: row.values["nll_oracle"][0] for row in ORACLE.rows if row.method in SHOWN}
# (nll_oracle, nll_test) at temperature 1 on the same oracle: Caccia et al. 2020, "Language GANs Falling Short".
FALLING_SHORT = {"MLE": (9.40, 7.61), "SeqGAN": (9.62, 9.22), "LeakGAN": (10.59, 11.27)}
SENTENCES = 40
EARLIER = 4
SOURCE = (
    "Published: Yu et al. 2017, Lin et al. 2017, Guo et al. 2018, on the SeqGAN paper's\n"
    "oracle. Quality alone: a generator that repeats a few good sentences does better still."
)

TRADE_OFFS = """{% for title, words, figure, legend in trade_offs %}
<h2>{{ title }}</h2>
<p class="soft">{{ words }}</p>
<ul class="legend">{% for colour, dashed, sign, name in legend %}
<li>{% if sign %}<b style="color: var(--{{ colour }})">{{ sign }}</b>{% else %}
<i {% if dashed %}class="dashed" {% endif %}style="color: var(--{{ colour }})"></i>{% endif %}{{ name }}</li>
{% endfor %}</ul>
<div class="large">{{ figure }}</div>
{% endfor %}

"""
SAMPLES = """{% if samples %}
<h2>Samples</h2>
{% for step, sentences in samples %}
<details{% if loop.first %} open{% endif %}><summary>step {{ step }}</summary>
<ol>{% for sentence in sentences %}<li>{{ sentence }}</li>{% endfor %}</ol></details>
{% endfor %}
{% endif %}

"""


def sections(run: Run) -> list[Markup]:
    """Return what a text run has to show."""
    phases = find_phases(run)
    levels = [LEVELS[prefix] for prefix in LEVELS if any(key.startswith(f"{prefix}/") for key in run.summary)]
    measured = {key.rpartition("/")[2] for key in run.summary}
    reported = PUBLISHED if on_the_papers_oracle(run) and "nll_oracle" in measured else {}
    published = [(name, {"nll_oracle": value}) for name, value in reported.items()]
    samples = [(step, records.read_samples(run.folder, step, SENTENCES)) for step in chosen_steps(run.folder)]
    return [
        report_parts.summary(run, ROWS, published, SOURCE),
        page.fragment(TRADE_OFFS, {"trade_offs": trade_offs(run)}),
        report_parts.panels([(key, panel(run, key, phases)) for key in run.metrics()], phases, levels),
        page.fragment(SAMPLES, {"samples": samples}),
    ]


def find_phases(run: Run) -> list[Phase]:
    """Return the phases from a run's configuration; none if it does not name them."""
    config = records.flatten(run.description["config"])
    mle, judge, argue = (config.get(key) for key in ("mle_epochs", "d_pretrain", "steps"))
    if not (isinstance(mle, int) and isinstance(judge, int) and isinstance(argue, int)):
        return []
    steps = max((row["step"] for row in run.rows), default=0)
    ends = [0, mle, mle + judge, max(mle + judge + argue, steps)]
    names = ("maximum likelihood", "discriminator", "adversarial")
    return [
        Phase(f"{name}, steps {first + 1} to {last}", first, last, f"phase{i}")
        for i, (name, first, last) in enumerate(zip(names, ends[:-1], ends[1:], strict=True))
        if last > first
    ]


def on_the_papers_oracle(run: Run) -> bool:
    """Return whether the SeqGAN paper's numbers belong beside this run's: its oracle is from a file and as hard."""
    config = run.description["config"]
    length = records.flatten(config).get("length")
    real = run.summary.get("real/nll_oracle", PUBLISHED["real"])
    return bool(config.get("oracle_params")) and length in (0, 20) and abs(real - PUBLISHED["real"]) < 0.1


def chosen_steps(run_dir: Path) -> list[int]:
    """Return the latest step that has samples, then some earlier ones, evenly spread."""
    steps = records.sample_steps(run_dir)[::-1]
    earlier = steps[1:]
    stride = max(1, -(-len(earlier) // EARLIER))
    return steps[:1] + earlier[stride - 1 :: stride]


def panel(run: Run, key: str, phases: Sequence[Phase]) -> Any:
    """Return the figure of one metric over the steps."""
    x, y = run.series(key)
    config = run.description["config"]
    # All but a likelihood depend on how many sentences are measured.
    same = key.startswith("nll_") or config.get("evaluate_samples") == config.get("final_samples")
    levels = [(run.summary[f"{p}/{key}"], colour) for p, (colour, _) in LEVELS.items() if f"{p}/{key}" in run.summary]
    return over_steps([Line(x, y, "c0")], phases, levels if same else [])


def trade_offs(run: Run) -> list[tuple[str, str, Any, list[tuple[str, bool, str, str]]]]:
    """Return title, words, figure and legend of each quality-diversity curve that the run has."""
    found = []
    below = "Each curve is one generator over temperatures, 1.0 marked; lower is better at equal"
    for x, y in records.TRADE_OFFS:
        words = f"{below} {x}." + (" REAL is the oracle itself." if x == "nll_oracle" else "")
        lines: list[Line] = []
        marks: list[Mark] = []
        legend: list[tuple[str, bool, str, str]] = []
        curves = {name: [p for p in run.curves.get(name, []) if x in p and y in p] for name in ("mle", "last")}
        heights = {name: sum(p[y] for p in points) / len(points) for name, points in curves.items() if points}
        for name in heights:
            (colour, label), dashed, points = PLAYERS[name], name == "mle", curves[name]
            lines.append(Line([p[x] for p in points], [p[y] for p in points], colour, dashed=dashed, width=2))
            lower = heights[name] == min(heights.values())  # below it is room for words
            marks += temperature_marks(points, x, y, colour, words=lower)
            legend.append((colour, dashed, "", label))
        if not lines:
            continue
        real = records.real_point(run, x, y)
        if real:
            marks.append(Mark(*real, "c2", sign="*"))
            legend.append(("c2", False, "★", "REAL"))
        if x == "nll_oracle" and on_the_papers_oracle(run):
            marks += [Mark(*place, "soft", sign="D", words=name) for name, place in FALLING_SHORT.items()]
            legend.append(("soft", False, "◆", "published: Caccia et al. 2020"))
        found.append((f"{x} against {y}", words, trade_off(lines, marks, x, y), legend))
    return found


def temperature_marks(points: Sequence[records.Point], x: str, y: str, colour: str, *, words: bool) -> list[Mark]:
    """Return a dot at temperature 1 and, if `words`, the inverse temperature there and at the curve's ends."""
    rising = (points[-1][x] - points[0][x]) * (points[-1][y] - points[0][y]) > 0
    leftmost = min(points, key=lambda point: point[x])
    marks = []
    for i, point in enumerate(points):
        inverse = point.get("inverse_temperature", 1.0)
        one = abs(inverse - 1) < 1e-9
        if one or (words and i in (0, len(points) - 1)):
            said = f"1/T = {inverse:g}" if words else ""
            side: Side = "below right" if rising else "below left" if point is leftmost else "below"
            marks.append(Mark(point[x], point[y], colour, "o" if one else "", said, side))
    return marks
