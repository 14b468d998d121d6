"""Sections of a report that more than one family has: a table of the summary, figures over the steps."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from experiments import page, records
from experiments.page import MEANING
from experiments.plots import Line, Phase, over_steps
from experiments.records import Run

SUMMARY = """{% if table %}
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
{% if published %}<p class="soft">{{ source }}</p>{% endif %}
{% endif %}

"""
PANELS = """{% if panels %}
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

"""
Values = Mapping[str, float]


def sections(run: Run) -> list[Markup]:
    """Return what can be said of a run of any family."""
    return [
        summary(run, {"": "last step"}),
        panels([(key, over_steps([Line(*run.series(key), "c0")], [])) for key in run.metrics()]),
    ]


def summary(
    run: Run,
    names: Mapping[str, str],
    published: Sequence[tuple[str, Values]] = (),
    source: str = "",
    meaning: Mapping[str, str] = MEANING,
) -> Markup:
    """Return the table of the summary, a row for each prefix; `names` has the first rows' words."""
    keys, table = summary_table(run.summary, names)
    values = {"keys": keys, "table": table, "published": published, "source": source, "meaning": meaning}
    return page.fragment(SUMMARY, values)


def summary_table(summary: Values, names: Mapping[str, str]) -> tuple[list[str], list[tuple[str, dict[str, float]]]]:
    """Return the metrics and, for each prefix, its values: the last step first."""
    rows: dict[str, dict[str, float]] = {prefix: {} for prefix in names}
    for key, value in summary.items():
        prefix, _, bare = key.rpartition("/")
        rows.setdefault(prefix, {})[bare] = value
    keys = records.in_order({key for values in rows.values() for key in values})
    return keys, [(names.get(prefix, prefix), values) for prefix, values in rows.items() if values]


def panels(
    figures: Sequence[tuple[str, Markup]],
    phases: Sequence[Phase] = (),
    levels: Sequence[tuple[str, str]] = (),
    meaning: Mapping[str, str] = MEANING,
) -> Markup:
    """Return figures by metric, under a legend of the phases and levels (colour, name) that are drawn in them."""
    return page.fragment(PANELS, {"panels": figures, "phases": phases, "levels": levels, "meaning": meaning})
