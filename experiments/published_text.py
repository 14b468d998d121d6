"""Published numbers of text GANs, as printed, by task: what the verdict page puts beside its own.

A row that was `recalled` was not read again in its source; it is shown with (?) and decides nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

SOURCES = {
    "SeqGAN": "Yu et al. 2017, SeqGAN (1609.05473), Table 1",
    "RankGAN COCO": "Lin et al. 2017, RankGAN (1705.11001), COCO captions",
    "LeakGAN COCO": "Guo et al. 2018, LeakGAN (1709.08624), COCO captions",
    "LeakGAN EMNLP": "Guo et al. 2018, LeakGAN (1709.08624), EMNLP2017 WMT",
    "SentiGAN": "Wang & Wan 2018, SentiGAN (IJCAI), Table 5",
    "RelGAN 1": "Nie et al. 2019, RelGAN (ICLR), Table 1",
    "RelGAN 2": "Nie et al. 2019, RelGAN (ICLR), Table 2",
    "RelGAN 3": "Nie et al. 2019, RelGAN (ICLR), Table 3",
    "Texygen": "Zhu et al. 2018, Texygen (1802.01886), COCO captions; NLL_gen from RelGAN's Table 2",
    "GFS": "Caccia et al. 2020, Language GANs Falling Short (1811.02549)",
    "ScratchGAN": "de Masson d'Autume et al. 2019, ScratchGAN (1905.09922), Tables 2 to 4",
    "LeakGAN#30": "rerun by users of LeakGAN's repository, issue 30",
    "RelGAN#22": "rerun by users of RelGAN's repository, issue 22",
    "SentiGAN#1": "rerun by users of SentiGAN's repository, issue 1",
}
Spread = tuple[float, float]
"""a number and what is printed after ±; nan where nothing is"""


@dataclass(frozen=True)
class Row:
    """One method's numbers in one table."""

    method: str
    source: str
    """key of SOURCES"""
    values: Mapping[str, Spread]
    variant: str = ""
    """our variant that is to reproduce it; "" where there is none"""
    recalled: bool = False


@dataclass(frozen=True)
class Published:
    """The rows of one task. `mle` is maximum likelihood, from which gains are counted."""

    quality: str
    """the metric that the gains are published in"""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())

    def mle(self) -> float:
        """Return maximum likelihood's quality; nan if no row has it."""
        found = [r.values[self.quality][0] for r in self.rows if r.variant == "mle" and self.quality in r.values]
        return found[0] if found else math.nan

    def claims(self) -> list[Row]:
        """Return the rows that a variant of ours is to reproduce, the first of each variant."""
        firsts: dict[str, Row] = {}
        for row in self.rows:
            if row.variant not in ("", "mle") and not row.recalled and self.quality in row.values:
                firsts.setdefault(row.variant, row)
        return list(firsts.values())


def _oracle(method: str, source: str, value: float, variant: str = "", spread: float = math.nan) -> Row:
    return Row(method, source, {"nll_oracle": (value, spread)}, variant)


def _text(
    method: str,
    source: str,
    bleu: tuple[float, ...],
    self_bleu: tuple[float, ...] = (),
    *,
    nll_gen: float = math.nan,
    spreads: tuple[float, ...] = (),
    variant: str = "",
    recalled: bool = False,
) -> Row:
    """`bleu` and `self_bleu` begin at order 2; `spreads` are BLEU's, then NLL_gen's."""
    after = [*spreads, *(math.nan for _ in range(5))]
    values = {f"bleu_{n}": (value, after[n - 2]) for n, value in enumerate(bleu, 2)}
    values |= {f"self_bleu_{n}": (value, math.nan) for n, value in enumerate(self_bleu, 2)}
    if nll_gen == nll_gen:
        values["nll_gen"] = (nll_gen, after[len(bleu)])
    return Row(method, source, values, variant, recalled)


ORACLE = Published(
    "nll_oracle",
    ("nll_oracle",),
    (
        _oracle("random", "SeqGAN", 10.310),
        _oracle("MLE", "SeqGAN", 9.038, "mle"),
        _oracle("scheduled sampling", "SeqGAN", 8.985),
        _oracle("PG-BLEU", "SeqGAN", 8.946),
        _oracle("SeqGAN", "SeqGAN", 8.736, "seqgan"),
        _oracle("RankGAN", "RelGAN 1", 8.247, "rankgan"),
        _oracle("LeakGAN", "RelGAN 1", 7.038, "leakgan"),
        _oracle("SentiGAN", "SentiGAN", 6.924, "sentigan"),
        _oracle("RelGAN", "RelGAN 1", 6.680, "relgan", 0.343),
        _oracle("real", "RelGAN 1", 5.750),
        _oracle("RelGAN, rerun, last", "RelGAN#22", 7.77),
        _oracle("RelGAN, rerun, last", "RelGAN#22", 8.35),
        _oracle("RelGAN, rerun, best", "RelGAN#22", 7.13),
        _oracle("SentiGAN, rerun", "SentiGAN#1", 8.18),
        _oracle("SentiGAN, rerun", "SentiGAN#1", 7.20),
    ),
    ("RelGAN: 6 seeds, largest inverse temperature 1.",),
)
ORACLE_40 = Published(
    "nll_oracle",
    ("nll_oracle",),
    (
        _oracle("MLE", "RelGAN 1", 10.411, "mle"),
        _oracle("SeqGAN", "RelGAN 1", 10.310, "seqgan"),
        _oracle("RankGAN", "RelGAN 1", 9.958, "rankgan"),
        _oracle("LeakGAN", "RelGAN 1", 7.191, "leakgan"),
        _oracle("RelGAN", "RelGAN 1", 6.765, "relgan", 0.026),
        _oracle("real", "RelGAN 1", 4.071),
    ),
    ("RelGAN: largest inverse temperature 2.",),
)
BLEU = tuple(f"bleu_{n}" for n in range(2, 6))
SELF_BLEU = tuple(f"self_bleu_{n}" for n in range(2, 6))
COCO = Published(
    "bleu_5",
    (*BLEU, *SELF_BLEU, "nll_gen"),
    (
        _text(
            "MLE", "Texygen", (0.731, 0.497, 0.305, 0.189), (0.916, 0.769, 0.583, 0.408), nll_gen=0.718, variant="mle",
        ),
        _text(
            "SeqGAN", "Texygen", (0.745, 0.498, 0.294, 0.180), (0.950, 0.840, 0.670, 0.489), nll_gen=1.082,
            variant="seqgan",
        ),
        _text("MaliGAN", "Texygen", (0.673, 0.432, 0.257, 0.159), (0.918, 0.781, 0.606, 0.437), variant="maligan"),
        _text(
            "RankGAN", "Texygen", (0.743, 0.467, 0.264, 0.156), (0.959, 0.882, 0.762, 0.618), nll_gen=1.344,
            variant="rankgan",
        ),
        _text(
            "LeakGAN", "Texygen", (0.746, 0.528, 0.355, 0.230), (0.966, 0.913, 0.848, 0.780), nll_gen=0.679,
            variant="leakgan",
        ),
        _text("TextGAN", "Texygen", (0.593, 0.463, 0.277, 0.207), (0.942, 0.931, 0.804, 0.746), variant="textgan"),
        _text(
            "RelGAN (100)", "RelGAN 2", (0.849, 0.687, 0.502, 0.331), nll_gen=0.756,
            spreads=(0.030, 0.047, 0.048, 0.044, 0.054), variant="relgan",
        ),
        _text(
            "RelGAN (1000)", "RelGAN 2", (0.814, 0.634, 0.455, 0.303), nll_gen=0.655,
            spreads=(0.012, 0.020, 0.023, 0.020, 0.048), variant="relgan",
        ),
        _text("SeqGAN", "LeakGAN COCO", (0.831, 0.642, 0.521, 0.427), recalled=True, variant="seqgan"),
        _text("RankGAN", "LeakGAN COCO", (0.850, 0.672, 0.557, 0.544), recalled=True, variant="rankgan"),
        _text("LeakGAN", "LeakGAN COCO", (0.950, 0.880, 0.778, 0.686), recalled=True, variant="leakgan"),
        _text("LeakGAN, rerun", "LeakGAN#30", (0.902, 0.784, 0.621, 0.421)),
        _text("MLE", "RankGAN COCO", (0.781, 0.624, 0.589), recalled=True, variant="mle"),
        _text("SeqGAN", "RankGAN COCO", (0.815, 0.636, 0.587), recalled=True, variant="seqgan"),
        _text("RankGAN", "RankGAN COCO", (0.845, 0.668, 0.614), recalled=True, variant="rankgan"),
    ),
    (
        "`nll_gen` is the generator's own NLL as RelGAN's table prints it; its code measures it on training sentences, "
        "so `nll_test` does not compare with it.",
        "BLEU depends on the references: Texygen's are all 10,000 test captions. The LeakGAN paper's numbers carry "
        "another smoothing.",
    ),
)  # fmt: skip
EMNLP = Published(
    "bleu_5",
    (*BLEU, "nll_gen"),
    (
        _text("MLE", "RelGAN 3", (0.768, 0.473, 0.240, 0.126), nll_gen=2.382, variant="mle"),
        _text("SeqGAN", "RelGAN 3", (0.777, 0.491, 0.261, 0.138), nll_gen=2.773, variant="seqgan"),
        _text("RankGAN", "RelGAN 3", (0.727, 0.435, 0.209, 0.101), nll_gen=3.345, variant="rankgan"),
        _text("LeakGAN", "RelGAN 3", (0.826, 0.645, 0.437, 0.272), nll_gen=2.356, variant="leakgan"),
        _text(
            "RelGAN (100)", "RelGAN 3", (0.881, 0.705, 0.501, 0.319), nll_gen=2.482,
            spreads=(0.013, 0.019, 0.023, 0.018, 0.031), variant="relgan",
        ),
        _text(
            "RelGAN (1000)", "RelGAN 3", (0.837, 0.654, 0.435, 0.265), nll_gen=2.285,
            spreads=(0.012, 0.010, 0.011, 0.011, 0.025), variant="relgan",
        ),
        _text("SeqGAN", "LeakGAN EMNLP", (0.8590, 0.6015, 0.4541, 0.4498), recalled=True, variant="seqgan"),
        _text("RankGAN", "LeakGAN EMNLP", (0.778, 0.478, 0.411, 0.463), recalled=True, variant="rankgan"),
        _text("LeakGAN", "LeakGAN EMNLP", (0.956, 0.819, 0.627, 0.498), recalled=True, variant="leakgan"),
    ),
    ("Published methods learned from the whole training set of 268,590 sentences.",),
)  # fmt: skip
