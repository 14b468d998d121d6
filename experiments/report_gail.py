"""The sections of an imitation run's report: returns beside expert, random and published ones, verdicts, a film."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from experiments import page, published, records, report_parts
from experiments.page import MEANING as COMMON
from experiments.page import number
from experiments.plots import Line, histogram, over_steps
from experiments.records import Histogram, Run

MEANING = COMMON | {
    "return_mean": "of whole episodes, with the likeliest actions",
    "return_std": "of the return over episodes",
    "return_normalised": "0: random actions, 1: the expert",
    "return_expert": "mean over all demonstrations of the file",
    "return_random": "actions drawn evenly",
    "episode_length": "steps, with the likeliest actions",
    "env_steps": "steps in the environment",
    "cpu_seconds": "of training, over all threads; measuring left out",
    "env_steps_per_second": "steps for each CPU second of training",
    "solved_env_steps": "steps until 3 measurements in a row were within 5 % of the expert",
    "solved_cpu_seconds": "CPU seconds until then",
    "entropy": "of the policy, nats",
    "reward": "earned by a step, mean",
    "train/return": "of episodes in training, with drawn actions",
    "train/length": "steps of episodes in training",
    "kl": "from the policy that acted, nats",
    "clipped": "share of ratios beyond the clip",
    "explained_variance": "of the returns, by the values",
    "d/logit_expert": "mean on the expert's steps",
    "d/logit_agent": "mean on the agent's steps",
}
RETURNS = {
    "train/return": ("c3", 1.0, "drawn actions, in training"),
    "return_mean": ("c0", 1.6, "likeliest actions, other episodes"),
}
LEVELS = {"return_expert": ("c2", "the expert's demonstrations"), "return_random": ("c1", "random actions")}
PLAYERS = {"expert": ("c2", "the expert's"), "agent": ("c0", "the agent's")}
ENDS = {"terminated": ("c1", "steps that terminated"), "others": ("c0", "all others")}
AXES = {"step": "steps in the environment", "cpu_seconds": "CPU seconds of training"}
CERTAIN = 0.99  # accuracy on both sides from which a discriminator teaches nothing
ELSEWHERE = ("return_mean", "train/return", "cpu_seconds", "d/accuracy_expert", "d/accuracy_agent")

SUMMARY = """{% if rows %}
<h2>Summary</h2>
<div class="wide"><table><thead><tr><th></th><th>return</th><th>normalised</th></tr></thead><tbody>
{% for name, mean, std, share in rows %}<tr{% if loop.first %} class="strong"{% endif %}><th>{{ name }}</th>
<td>{{ score(mean, std) }}</td><td>{{ share | number }}</td></tr>
{% endfor %}</tbody></table></div>
<p class="soft">Mean ± standard deviation over episodes of the last policy, with its likeliest actions.</p>
<ul class="settings">{% for key, value in facts %}
<li title="{{ meaning.get(key, '') }}"><span>{{ key }}</span><span>{{ value | number }}</span></li>{% endfor %}</ul>
{% endif %}

"""
PUBLISHED = """<h2>Published, {{ task.env }}</h2>
<div class="wide"><table><thead><tr><th>trajectories</th>
{% for method in task.methods %}<th>{{ method }}</th>{% endfor %}</tr></thead><tbody>
{% for trajectories, scores in task.rows.items() %}
<tr{% if trajectories == mine %} class="strong"{% endif %}><th>{{ trajectories }}</th>
{% for score_of in scores %}<td>{{ score(*score_of) }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
<p class="soft">Ho &amp; Ermon 2016; their expert {{ score(*task.expert) }}. Mean ± standard deviation over episodes
of all runs.{% if task.env != env %} Theirs is {{ task.env }}, this run's {{ env }}: not the same environment.
{% endif %}</p>

"""
FIGURES = """{% if figures %}
<h2>{{ title }}</h2>
{% if words %}<p class="{{ kind }}">{{ words }}</p>{% endif %}
<ul class="legend">{% for colour, dashed, name in legend %}
<li><i {% if dashed %}class="dashed" {% endif %}style="color: var(--{{ colour }})"></i>{{ name }}</li>{% endfor %}</ul>
<div class="grid">{% for caption, small, figure in figures %}
<figure><figcaption>{{ caption }}{% if small %}<small>{{ small }}</small>{% endif %}</figcaption>
{{ figure }}</figure>
{% endfor %}</div>
{% endif %}

"""
FILM = """{% if picture %}
<h2>One episode</h2>
{{ picture }}
<p class="soft">The last policy with its likeliest actions, from left to right.</p>
{% endif %}

"""


def sections(run: Run) -> list[Markup]:
    """Return what an imitation run has to show."""
    histograms = records.read_histograms(run.folder)
    shown = [key for key in run.metrics() if key not in ELSEWHERE]
    others = [(key, over_steps([Line(*run.series(key), "c0")], [])) for key in shown]
    return [
        summary(run),
        beside_published(run),
        returns(run),
        verdicts(run, histograms.get("logits")),
        rewards(histograms.get("rewards")),
        film(run),
        report_parts.panels(others, meaning=MEANING),
    ]


def summary(run: Run) -> Markup:
    """Return the agent beside expert and random actions, and what it cost."""
    found = run.summary
    rows = [
        ("last step", found.get("return_mean"), found.get("return_std"), found.get("return_normalised")),
        ("the expert's demonstrations", found.get("return_expert"), None, 1.0),
        ("random actions", found.get("return_random"), None, 0.0),
    ]
    facts = [(key, found[key]) for key in records.in_order(found) if not key.startswith("return_")]
    values = {"rows": rows if "return_mean" in found else [], "facts": facts, "score": score, "meaning": MEANING}
    return page.fragment(SUMMARY, values)


def score(mean: float | None, std: float | None) -> str:
    """Return a return with its standard deviation, where that is known."""
    known = std is not None and not math.isnan(std)
    return number(mean) + (f" ± {number(std)}" if known else "")


def beside_published(run: Run) -> Markup:
    """Return the GAIL paper's rows, where its environments have one of this name."""
    config = records.flatten(run.description["config"])
    task = published.task_like(str(config.get("env")))
    if task is None or not run.summary:
        return Markup()
    values = {"task": task, "env": config["env"], "mine": config.get("trajectories"), "score": score}
    return page.fragment(PUBLISHED, values)


def returns(run: Run) -> Markup:
    """Return the return over steps and over CPU seconds, between random actions and the expert."""
    levels = [(run.summary[key], colour) for key, (colour, _) in LEVELS.items() if key in run.summary]
    shown = {key: line for key, line in RETURNS.items() if run.series(key)[0]}
    legend = [(colour, False, name) for colour, _, name in shown.values()]
    legend += [(colour, True, name) for key, (colour, name) in LEVELS.items() if key in run.summary]
    figures = []
    for over, words in AXES.items():
        lines = [
            Line(x, y, colour, width=width)
            for key, (colour, width, _) in shown.items()
            for x, y in [run.series(key, over)]
            if x
        ]
        if lines:
            figures.append(("return", f"over {words}", over_steps(lines, [], levels)))
    return titled("Return", figures, legend)


def verdicts(run: Run, logits: Histogram | None) -> Markup:
    """Return how well the discriminator tells the expert from the agent, over the steps and at the end."""
    accuracies = {who: run.series(f"d/accuracy_{who}") for who in PLAYERS}
    lines = [Line(*accuracies[who], colour) for who, (colour, _) in PLAYERS.items() if accuracies[who][0]]
    figures = []
    if lines:
        drawn = over_steps(lines, [], [(0.5, "soft")])
        figures.append(("accuracy", "over steps; 0.5: it cannot tell them apart", drawn))
    if logits:
        groups = [(logits.counts.get(who, []), colour) for who, (colour, _) in PLAYERS.items()]
        drawn = histogram(logits.edges, [group for group in groups if group[0]], "logit")
        figures.append(("logits at the last step", "high: the expert's", drawn))
    certain = len(lines) == len(PLAYERS) and all(y[-1] > CERTAIN for _, y in accuracies.values())
    words = "It tells every step of the expert from the agent's: such a judge teaches little." if certain else ""
    legend = [(colour, False, f"{name} steps") for colour, name in PLAYERS.values()]
    return titled("Discriminator", figures, legend, words, kind="warning")


def rewards(found: Histogram | None) -> Markup:
    """Return what the agent's steps earn, those that ended an episode apart; nothing if none did or nobody counted."""
    if found is None or not sum(found.counts.get("terminated", [])):
        return Markup()
    kinds = {kind: found.counts[kind] for kind in ENDS if kind in found.counts}
    groups = [(counts, ENDS[kind][0]) for kind, counts in kinds.items()]
    figures = [("reward", "share of each kind of step", histogram(found.edges, groups, "reward"))]
    words = "Where absorbing states are judged, a termination also earns what follows it for ever."
    legend = [(ENDS[kind][0], False, f"{ENDS[kind][1]}, n = {sum(counts):,.0f}") for kind, counts in kinds.items()]
    return titled("What the agent's steps earn", figures, legend, words)


def titled(
    title: str,
    figures: Sequence[tuple[str, str, Markup]],
    legend: Sequence[tuple[str, bool, str]],
    words: str = "",
    kind: str = "soft",
) -> Markup:
    """Return figures (name, words, drawing) under a title and a legend (colour, dashed, name)."""
    values = {"title": title, "figures": figures, "legend": legend, "words": words, "kind": kind}
    return page.fragment(FIGURES, values)


def film(run: Run) -> Markup:
    """Return the film strip of an episode, if there is one."""
    path = run.folder / "samples" / "film.png"
    picture = page.picture(path.read_bytes(), "frames of one episode") if path.exists() else ""
    return page.fragment(FILM, {"picture": picture})
