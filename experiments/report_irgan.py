"""The sections of a retrieval run's report: who ranks how well, what no ranking shows, curves, and some rankings."""

from collections.abc import Mapping

from markupsafe import Markup

from experiments import page, records, report_parts
from experiments.page import MEANING as COMMON
from experiments.plots import Line, over_steps
from experiments.published_retrieval import MOVIELENS, SOURCE
from experiments.records import Run

ROWS = {
    "": "the round chosen on validation",
    "held": "before learning from the validation data too",
    "last": "last round",
    "start": "start of the game",
    "discriminator": "the discriminator as a ranker",
    "popularity": "popularity",
}
ON_TEST = "the round chosen ON TEST: no score"
LAST = "the last round, nothing chosen"
MEANING = COMMON | {
    "map": "mean average precision",
    "mrr": "mean reciprocal rank of the first relevant document",
    "ndcg@5": "of the first 5, binary gains",
    "p@5": "share of the first 5 that are relevant",
    "hit@10": "share of queries with a relevant document among the first 10",
    "coverage@10": "share of documents that any ranking's first 10 show",
    "g/entropy": "of what the generator draws, nats",
    "d/share_of_item": "how much of the verdicts' variance the document alone explains; 1: whoever asks",
    "d/norm_users": "mean length of the discriminator's codes; near 0 beside a bias: it only learned what is popular",
    "g/hardness": "-log of the chance that the ranker prefers a relevant document to a drawn one",
    "g/nll": "of relevant documents among all that can be ranked, nats",
    "d/pairs_right": "share of pairs whose relevant document has the higher logit",
    "cpu_seconds": "of training, over all threads; measuring left out",
}
PLAYERS = ("g", "d")
FACTS = """{% if facts %}
<h2>What no ranking shows</h2>
{% if warning %}<p class="warning">{{ warning }}</p>{% endif %}
<ul class="settings">{% for key, value in facts %}
<li title="{{ meaning.get(key, '') }}"><span>{{ key }}</span><span>{{ value | number }}</span></li>{% endfor %}</ul>
{% endif %}

"""
RANKINGS = """{% if rankings %}
<h2>Rankings</h2>
<p class="soft">The best documents for some test queries; relevant ones are marked with +.</p>
{% for step, lines in rankings %}
<details{% if loop.first %} open{% endif %}><summary>step {{ step }}</summary>
<ol>{% for line in lines %}<li>{{ line }}</li>{% endfor %}</ol></details>
{% endfor %}
{% endif %}

"""
NOT_PERSONAL = 0.9
WARNING = "The discriminator's verdicts hardly depend on who asks: it has learned which documents are popular."
LINES = 40


def sections(run: Run) -> list[Markup]:
    """Return what a retrieval run has to show."""
    ranked, facts = parted(run.summary)
    words = ROWS | {"": what_stands(run.summary)}
    beside = list(MOVIELENS.items()) if like_published(run) else []
    shown = Run(run.folder, run.description, run.rows, ranked, run.curves)
    figures = [(key, over_steps([Line(*run.series(key), "c0")], [])) for key in run.metrics()]
    warning = WARNING if facts.get("d/share_of_item", 0.0) > NOT_PERSONAL else ""
    values = {"facts": [(key, facts[key]) for key in records.in_order(facts)], "meaning": MEANING, "warning": warning}
    steps = records.sample_steps(run.folder)[::-1]
    rankings = [(step, records.read_samples(run.folder, step, LINES)) for step in steps]
    return [
        report_parts.summary(shown, words, beside, SOURCE, MEANING),
        page.fragment(FACTS, values),
        report_parts.panels(figures, meaning=MEANING),
        page.fragment(RANKINGS, {"rankings": rankings}),
    ]


def what_stands(summary: Mapping[str, float]) -> str:
    """Return which players the first row measures."""
    if summary.get("selected_on_test"):
        return ON_TEST
    return ROWS[""] if any(key.removeprefix("held/").startswith("chosen_") for key in summary) else LAST


def parted(summary: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the metrics of rankings, and all other numbers."""
    ranked = {key: value for key, value in summary.items() if is_metric(key)}
    return ranked, {key: value for key, value in summary.items() if key not in ranked}


def is_metric(key: str) -> bool:
    """Return whether a number measures rankings of the test data."""
    return key.rpartition("/")[2].partition("@")[0] in (
        "p",
        "recall",
        "ndcg",
        "ndcg_graded",
        "hit",
        "coverage",
        "map",
        "mrr",
    )


def like_published(run: Run) -> bool:
    """Return whether the run ranks what IRGAN's table ranks."""
    config = records.flatten(run.description["config"])
    asked = {"documents": 1683, "positive": 4.0, "mask": "positives", "ties": "higher_id"}
    return bool(config.get("test")) and all(config.get(key) == value for key, value in asked.items())
