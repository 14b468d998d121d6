"""The sections of an image run's report: the summary beside REAL, pictures over training, metrics."""

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from experiments import page, records, report_parts
from experiments.page import MEANING as COMMON
from experiments.plots import Line, over_steps
from experiments.records import Run

ROWS = {"": "last step", "real": "REAL against REAL"}
LEVELS = {"real": ("c2", "REAL against REAL")}
EARLIER = 5  # grids of earlier steps
MEANING = COMMON | {
    "fid": "Fréchet distance of features to the train pictures': lower is better",
    "fid_real": "of as many test pictures to the train pictures",
    "kid": "kernel distance of features",
    "inception_score": "1: one class; as many as there are classes: sure of each, and even",
    "precision": "share of painted pictures that lie among real ones",
    "recall": "share of real pictures that lie among painted ones",
    "modes": "classes, or Gaussians, that are painted at all",
    "mode_kl": "from the classes painted to an even spread, nats",
    "high_quality": "share of points within 3 standard deviations of a Gaussian's centre",
    "class_accuracy": "share of pictures that the classifier takes for the class asked for",
    "nearest_train": "median distance to the nearest train picture over that of test pictures: far below 1 is copying",
    "memorised": "share of pictures nearer to a train picture than the nearest hundredth of test pictures",
    "images_per_second": "real pictures that the discriminator learned from, for each CPU second of training",
    "cpu_seconds": "of training, over all threads; measuring left out",
    "d/accuracy": "of the discriminator on its own batches",
    "d/balance": "BEGAN's k: weight of the fakes",
    "d/convergence": "BEGAN's measure M",
    "d/strength": "ADA's probability of each change",
}
SAMPLES = """{% if grids %}
<h2>Pictures</h2>
<p class="soft">{{ words }}</p>
<div class="large">{{ grids[0][1] }}</div>
<div class="grid">{% for step, grid in grids[1:] %}
<figure><figcaption>step {{ step }}</figcaption>{{ grid }}</figure>{% endfor %}</div>
{% endif %}

"""
WORDS = (
    "The averaged generator's pictures of the same noise; the first is step {}. Where classes can be asked for, a row "
    "is a class. Points: the real ones grey, the painted ones blue."
)


def sections(run: Run) -> list[Markup]:
    """Return what an image run has to show."""
    steps = records.sample_steps(run.folder, ".png")
    grids = [(step, grid(run.folder, step)) for step in chosen(steps)]
    words = WORDS.format(grids[0][0]) if grids else ""
    levels = [LEVELS[prefix] for prefix in LEVELS if any(key.startswith(f"{prefix}/") for key in run.summary)]
    figures = [(key, over_steps([Line(*run.series(key), "c0")], [], real_level(run, key))) for key in run.metrics()]
    return [
        report_parts.summary(run, ROWS, meaning=MEANING),
        page.fragment(SAMPLES, {"grids": grids, "words": words}),
        report_parts.panels(figures, (), levels, MEANING),
    ]


def grid(folder: Path, step: int) -> Markup:
    """Return the sample grid of a step."""
    return page.picture((folder / "samples" / f"step-{step}.png").read_bytes(), f"samples of step {step}")


def chosen(steps: Sequence[int]) -> list[int]:
    """Return the last step, then some earlier ones from the first on, evenly spread."""
    earlier = list(steps[:-1])
    stride = max(1, -(-len(earlier) // EARLIER))
    return [*steps[-1:], *earlier[::stride]]


def real_level(run: Run, key: str) -> list[tuple[float, str]]:
    """Return where REAL stands in a metric, if it was measured on as many pictures."""
    config = run.description["config"]
    same = config.get("evaluate_samples") == config.get("final_samples")
    return [(run.summary[f"real/{key}"], "c2")] if same and f"real/{key}" in run.summary else []
