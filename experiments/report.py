"""The page of one run, `report.html`: curves, samples, the summary beside the published numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import page, records
from experiments.plots import Line, Mark, Phase, Side, over_steps, trade_off
from experiments.records import Run

ROWS = {"": "last step", "mle": "maximum-likelihood start", "real": "REAL", "uniform": "uniform tokens"}
LEVELS = {"mle": ("c1", "maximum-likelihood start"), "real": ("c2", "REAL")}
PLAYERS = {"mle": ("c1", "maximum-likelihood start"), "last": ("c0", "last step")}
# nll_oracle for the SeqGAN paper's oracle (5,000 tokens, sentences of 20): Yu et al. 2017, Lin et al. 2017, Guo et al.
# 2018, at temperature 1.
PUBLISHED = {"MLE": 9.038, "SeqGAN": 8.736, "RankGAN": 8.247, "LeakGAN": 7.038, "real": 5.750}
# (nll_oracle, nll_test) at temperature 1 on the same oracle: Caccia et al. 2020, "Language GANs Falling Short".
FALLING_SHORT = {"MLE": (9.40, 7.61), "SeqGAN": (9.62, 9.22), "LeakGAN": (10.59, 11.27)}
SENTENCES = 40
EARLIER = 4

BODY = """
<h1>{{ run.description.variant }}</h1>
<p class="soft">{{ run.description.family }}, seed {{ run.description.seed }} · {{ run.folder.name }} · {{ state }}</p>

{% if table %}
<h2>Summary</h2>
<div class="wide"><table><thead><tr><th></th>
{% for key in keys %}<th title="{{ meaning.get(key, '') }}">{{ key | breakable }}</th>{% endfor %}</tr></thead><tbody>
{% for name, values in table %}<tr{% if loop.first %} class="strong"{% endif %}><th>{{ name }}</th>
{% for key in keys %}<td>{{ values.get(key) | number }}</td>{% endfor %}</tr>
{% endfor %}
{% for name, values in published %}<tr class="published{% if loop.first %} first{% endif %}">
<th>{{ name }}, published</th>
{% for key in keys %}<td>{% if key in values %}{{ values[key] | number }}{% endif %}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% if published %}<p class="soft">Published: Yu et al. 2017, Lin et al. 2017, Guo et al. 2018, on the SeqGAN paper's
oracle. Quality alone: a generator that repeats a few good sentences does better still.</p>{% endif %}
{% endif %}

{% for title, words, figure, legend in trade_offs %}
<h2>{{ title }}</h2>
<p class="soft">{{ words }}</p>
<ul class="legend">{% for colour, dashed, sign, name in legend %}
<li>{% if sign %}<b style="color: var(--{{ colour }})">{{ sign }}</b>{% else %}
<i {% if dashed %}class="dashed" {% endif %}style="color: var(--{{ colour }})"></i>{% endif %}{{ name }}</li>
{% endfor %}</ul>
<div class="large">{{ figure }}</div>
{% endfor %}

{% if panels %}
<h2>Over the steps</h2>
<ul class="legend">{% for phase in phases %}
<li><i class="area" style="background: var(--{{ phase.colour }})"></i>{{ phase.name }}</li>{% endfor %}
{% for colour, name in levels %}
<li><i class="dashed" style="color: var(--{{ colour }})"></i>{{ name }}</li>{% endfor %}</ul>
<div class="grid">{% for key, figure in panels %}
<figure><figcaption>{{ key }}{% if key in meaning %}<small>{{ meaning[key] }}</small>{% endif %}</figcaption>
{{ figure }}</figure>
{% endfor %}</div>
{% endif %}

{% if samples %}
<h2>Samples</h2>
{% for step, sentences in samples %}
<details{% if loop.first %} open{% endif %}><summary>step {{ step }}</summary>
<ol>{% for sentence in sentences %}<li>{{ sentence }}</li>{% endfor %}</ol></details>
{% endfor %}
{% endif %}

<h2>Configuration</h2>
<p><code>{{ run.description.command or "command line unknown" }}</code></p>
<ul class="settings">
{% for name, value in settings %}<li><span>{{ name }}</span><span>{{ value }}</span></li>{% endfor %}</ul>
<details><summary>Versions</summary>
<ul class="settings">
{% for name, value in versions %}<li><span>{{ name }}</span><span>{{ value }}</span></li>{% endfor %}</ul>
</details>
"""


def write(run_dir: Path) -> Path:
    """Write `report.html` of a run, finished or not: a section that has nothing to show is left out.

    Raises InputError naming the file and place of what cannot be read.
    """
    run = records.read(run_dir)
    phases = find_phases(run)
    shown = {prefix: LEVELS[prefix] for prefix in LEVELS if any(key.startswith(f"{prefix}/") for key in run.summary)}
    description = run.description
    about = [*dict(description.get("versions") or {}).items()]
    about += [(name, description[name]) for name in ("commit", "platform", "threads") if name in description]
    keys, table = summary_table(run.summary)
    reported = PUBLISHED if on_the_papers_oracle(run) and "nll_oracle" in keys else {}
    values = {
        "title": f"{description['variant']}, seed {description['seed']}",
        "run": run,
        "state": state(run),
        "keys": keys,
        "table": table,
        "published": [(name, {"nll_oracle": value}) for name, value in reported.items()],
        "trade_offs": trade_offs(run),
        "phases": phases,
        "levels": list(shown.values()),
        "panels": [(key, panel(run, key, phases)) for key in run.metrics()],
        "samples": [(step, records.read_samples(run_dir, step, SENTENCES)) for step in chosen_steps(run_dir)],
        "settings": [
            (name, "none" if value is None else value) for name, value in records.flatten(description["config"]).items()
        ],
        "versions": about,
    }
    return page.save(run_dir / "report.html", page.render(BODY, values))


def state(run: Run) -> str:
    """Return in words how far the run is."""
    if not run.rows:
        return "nothing logged yet"
    last, seconds = run.rows[-1]["step"], run.rows[-1].get("seconds") or 0
    minutes = f"{seconds / 60:.1f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
    return f"step {last}, {minutes}" + ("" if run.summary else ", not finished")


def find_phases(run: Run) -> list[Phase]:
    """Return the phases of a text run, from its configuration; for other families none."""
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


def summary_table(summary: dict[str, float]) -> tuple[list[str], list[tuple[str, dict[str, float]]]]:
    """Return the metrics and, for each prefix, its values: the last step first."""
    rows: dict[str, dict[str, float]] = {prefix: {} for prefix in ROWS}
    for key, value in summary.items():
        prefix, _, bare = key.rpartition("/")
        rows.setdefault(prefix, {})[bare] = value
    keys = records.in_order({key for values in rows.values() for key in values})
    return keys, [(ROWS.get(prefix, prefix), values) for prefix, values in rows.items() if values]


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
