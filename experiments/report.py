"""The page of one run, `report.html`: what its family has to show, and its configuration."""

from pathlib import Path

from experiments import (
    page,
    records,
    report_gail,
    report_image,
    report_irgan,
    report_lm,
    report_parts,
    report_text,
)
from experiments.records import Run

FAMILIES = {
    "text_gan": report_text.sections,
    "gail": report_gail.sections,
    "irgan": report_irgan.sections,
    "lm_gan": report_lm.sections,
    "image_gan": report_image.sections,
}
BODY = """
<h1>{{ run.description.variant }}</h1>
<p class="soft">{{ run.description.family }}, seed {{ run.description.seed }} · {{ run.folder.name }} · {{ state }}</p>

{% for section in sections %}{{ section }}{% endfor %}
<h2>Configuration</h2>
<p><code>{{ run.description.get("command") or "command line unknown" }}</code></p>
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
    description = run.description
    about = [*dict(description.get("versions") or {}).items()]
    about += [(name, description[name]) for name in ("commit", "platform", "threads") if name in description]
    values = {
        "title": f"{description['variant']}, seed {description['seed']}",
        "run": run,
        "state": state(run),
        "sections": FAMILIES.get(description["family"], report_parts.sections)(run),
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
