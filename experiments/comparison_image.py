"""Image runs side by side: distances and modes over seeds beside REAL, and what each method paints."""

from collections.abc import Sequence

from markupsafe import Markup

from experiments import comparison, page, records, report_image
from experiments.comparison import Group, Section, Table, cell
from experiments.page import number
from experiments.report_image import MEANING
from experiments.statistics import interval

COLUMNS = (
    "fid", "kid", "precision", "recall", "inception_score", "class_accuracy", "modes", "mode_kl", "high_quality",
    "reverse_kl", "nearest_train", "cpu_seconds",
)  # fmt: skip
NOTE = (
    "Means over seeds ± half of their 95 % t-interval, at the last step, of the averaged generator. REAL: test "
    "pictures measured as the painted ones are."
)
PAINTED = """
<h2>What they paint</h2>
<div class="grid">{% for name, grid in painted %}
<figure><figcaption>{{ name }}</figcaption>{{ grid }}</figure>{% endfor %}</div>

"""


def sections(groups: Sequence[Group]) -> list[Section]:
    """Return the table at the last step, pictures of one run of each group, and the curves."""
    return [comparison.tables([at_the_end(groups)], MEANING), painted(groups), comparison.panels(groups)]


def at_the_end(groups: Sequence[Group]) -> Table:
    """Return a row for each group, and REAL for comparison."""
    runs = [run for group in groups for run in group.runs]
    keys = [key for key in COLUMNS if any(key in run.summary for run in runs)]
    rows = []
    for group in groups:
        values = {key: [run.summary[key] for run in group.runs if key in run.summary] for key in keys}
        cells = (cell(interval(values[key]), len(group.runs)) if values[key] else number(None) for key in keys)
        rows.append((group.name, [str(len(group.runs)), *cells]))
    real = {key: [run.summary[f"real/{key}"] for run in runs if f"real/{key}" in run.summary] for key in keys}
    rows.append(("REAL", ["", *(number(interval(real[key]).mean if real[key] else None) for key in keys)]))
    return Table("At the last step", ["n", *keys], [("", rows)], NOTE)


def painted(groups: Sequence[Group]) -> Section:
    """Return the last sample grid of the first run of each group."""
    found: list[tuple[str, Markup]] = []
    for group in groups:
        run = group.runs[0]
        name, steps = f"{group.name}, seed {run.description['seed']}", records.sample_steps(run.folder, ".png")
        found += [(name, report_image.grid(run.folder, step)) for step in steps[-1:]]
    return Section(page.fragment(PAINTED, {"painted": found}) if found else Markup(""))
