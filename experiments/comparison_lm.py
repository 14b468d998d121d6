"""Runs with demonstrations side by side: verdicts, text metrics, quality against diversity, health of the game."""

from collections.abc import Sequence

from experiments import comparison
from experiments.comparison import Group, Section, Table
from experiments.comparison_text import cells, trade_offs
from experiments.page import MEANING as COMMON

KEYS = (
    "verified", "grammatical", "verified_right", "nll_test", "lm_kn", "reverse_lm_kn", "bleu_4", "self_bleu_4",
    "bleu_5", "self_bleu_5", "fbd", "divergence", "distinct_2", "unique", "length_tv", "copied_5", "kl", "chosen",
)  # fmt: skip
ROWS = {"mle/": "start", "real/": "REAL"}
HEALTH = ("outside", "nll_valid", "verified", "d/held_out", "d/margin", "shortcut/length", "shortcut/end", "kl")
MEANING = COMMON | {
    "verified": "the verifier's mean verdict, 0 to 1",
    "grammatical": "share of sentences that the grammar can say",
    "verified_right": "different sentences that pass the verifier and are right, as a share of all",
    "outside": "both directions of likelihood under 5-grams, held-out demonstrations: no player is paid for it",
    "nll_valid": "nats a token of held-out demonstrations",
    "kl": "divergence from the start, nats a sentence",
    "chosen": "the round that is measured",
    "d/held_out": "how often a held-out demonstration has a higher logit than a fresh answer",
    "d/margin": "how much higher its mean logit of the former is",
    "shortcut/length": "accuracy of telling them apart by length alone; 0.5: of no use",
    "shortcut/end": "accuracy of telling them apart by whether they end",
    "g/verified": "the verifier's mean verdict in a round",
}
NOTE = "At the round that is measured; mean ± half of the 95 % t-interval over seeds. Start: after maximum likelihood."


def sections(groups: Sequence[Group]) -> list[Section]:
    """Return the table, the trade-offs, and the curves that tell whether the games were healthy."""
    health = comparison.panels(groups, present(groups), "Over the rounds", MEANING)
    return [comparison.tables([table(groups)], MEANING), trade_offs(groups), health]


def table(groups: Sequence[Group]) -> Table:
    """Return one row for each group, one for all starts and one for REAL; a start that runs share counts once."""
    runs = [run for group in groups for run in group.runs]
    keys = [key for key in KEYS if any(key in run.summary for run in runs)]
    rows = [(group.name, [str(len(group.runs)), *cells(group.runs, keys)]) for group in groups]
    starts = list({(run.description["seed"], run.summary.get("mle/nll_test")): run for run in runs}.values())
    rows += [(name, ["", *cells(starts, [prefix + key for key in keys])]) for prefix, name in ROWS.items()]
    return Table("", ["n", *keys], [("", rows)], NOTE)


def present(groups: Sequence[Group]) -> list[str]:
    """Return the numbers of a healthy game that any run has."""
    logged = {key for group in groups for run in group.runs for key in run.metrics()}
    return [key for key in HEALTH if key in logged]
