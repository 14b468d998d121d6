from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.compare import group_runs, load
from experiments.comparison import Group
from experiments.verdict_rules import RULES, Ruling, below, rule
from tests.experiments.text_runs import Place, shifted, write_run

ALIKE = (0.0, 0.01, 0.02)  # what seeds differ by


def group(folder: Path, variant: str, by: float = 0.0, *, seeds: int = 3, better: float = 0.5, **changes: Any) -> Group:
    """Runs whose frontier lies `by` above their start's; at the last step nll_oracle is `better` below the start's."""
    runs = []
    for seed in range(seeds):
        last = changes.get("last") or moved(shifted(by + ALIKE[seed % 3]), better)
        rest = {key: value for key, value in changes.items() if key != "last"}
        runs.append(load(write_run(folder / f"{variant}-{seed}", seed, variant=variant, last=last, **rest)))
    (found,) = group_runs(runs)
    return found


def moved(places: tuple[Place, ...], better: float) -> tuple[Place, ...]:
    """The same frontier, temperature 1 elsewhere on it: the start falls by 1.5 where nll_oracle rises by one."""
    return tuple((t, x - better, y + 1.5 * better) if t == 1 else (t, x, y) for t, x, y in places)


def ruled(*groups: Group) -> Ruling:
    return rule(groups[0], groups)


def test_a_gain_survives_below_its_start_and_its_controls(tmp_path: Path) -> None:
    ours = group(tmp_path, "seqgan", -0.5)
    assert ruled(ours).label == "unverified"  # no control was run
    controls = [group(tmp_path, "seqgan-constant", -0.1), group(tmp_path, "seqgan-noise", 0.0)]
    found = ruled(ours, *controls)
    assert found.label == "survives"
    assert [name for name, _ in found.controls] == ["seqgan-constant", "seqgan-noise"]
    assert below(found.start)
    assert not below(replace(found.start, missed=1))  # a seed that never met
    assert found.gain.mean == pytest.approx(-0.5)


def test_a_control_that_does_as_well_takes_the_gain_away(tmp_path: Path) -> None:
    ours, worse = group(tmp_path, "seqgan", -0.5), group(tmp_path, "seqgan-constant", 0.0)
    assert ruled(ours, worse, group(tmp_path, "seqgan-noise", -0.5)).label == "as without a discriminator"
    assert ruled(ours, group(tmp_path / "b", "seqgan-noise", -0.9)).label == "as without a discriminator"
    # Neither maximum likelihood nor another method is a control of a discriminator's.
    others = [group(tmp_path, "mle", -0.9), group(tmp_path, "relgan", -0.9)]
    assert ruled(ours, worse, *others).label == "survives"
    assert ruled(ours, *others).label == "unverified"


def test_a_variant_may_have_a_control_of_its_own(tmp_path: Path) -> None:
    ours, noise = group(tmp_path, "seqgan-trust", -0.5), group(tmp_path, "seqgan-noise", -0.9)
    assert ruled(ours, noise).label == "unverified"
    assert ruled(ours, noise, group(tmp_path / "b", "trust", 0.0)).label == "survives"
    assert ruled(ours, noise, group(tmp_path, "trust", -0.5)).label == "as without a discriminator"


@pytest.mark.parametrize("by", [0.0, 0.5])
def test_a_gain_on_the_starts_curve_or_above_is_sharpening(tmp_path: Path, by: float) -> None:
    assert ruled(group(tmp_path, "seqgan", by - 0.01)).label == "by sharpening alone"


@pytest.mark.parametrize(
    ("summary", "sign"),
    [
        ({"distinct_2": 0.42}, "distinct_2 49% of REAL's"),
        ({"tokens_used": 2400.0}, "tokens used 49% of REAL's"),
        ({"entropy": 7.0}, "exp(entropy) 45% of REAL's"),
        ({"unique": 0.85}, "85% of the sentences unique, REAL's 100%"),
    ],
)
def test_signs_of_collapse(tmp_path: Path, summary: dict[str, float], sign: str) -> None:
    found = ruled(group(tmp_path, "seqgan", 0.5, summary=summary))
    assert (found.label, found.signs) == ("by collapse", (sign,))
    control = group(tmp_path / "b", "seqgan-constant", 0.0)
    assert ruled(group(tmp_path / "b", "seqgan", -0.5, summary=summary), control).label == "survives"


@pytest.mark.parametrize("summary", [{"distinct_2": 0.44}, {"tokens_used": 2500.0}, {"entropy": 7.2}, {"unique": 0.91}])
def test_less_than_real_is_not_yet_collapse(tmp_path: Path, summary: dict[str, float]) -> None:
    assert ruled(group(tmp_path, "seqgan", 0.5, summary=summary)).signs == ()


def test_no_better_quality_is_no_gain(tmp_path: Path) -> None:
    assert ruled(group(tmp_path, "seqgan", 0.5, better=0.0)).label == "no gain"
    assert ruled(group(tmp_path / "b", "seqgan", 0.5, better=-0.2)).label == "no gain"


def test_quality_of_bleu_is_better_when_high(tmp_path: Path) -> None:
    start = ((0.5, 0.1, 0.2), (1.0, 0.2, 0.4), (2.0, 0.3, 0.6))
    last = ((0.5, 0.1, 0.3), (1.0, 0.25, 0.6), (2.0, 0.3, 0.7))
    changes: dict[str, Any] = {"pair": ("bleu_5", "self_bleu_5"), "start": start}
    found = ruled(group(tmp_path, "seqgan", last=last, **changes))
    assert found.pair == ("bleu_5", "self_bleu_5")
    assert found.gain.mean == pytest.approx(-0.05)
    assert found.label == "by sharpening alone"
    assert ruled(group(tmp_path / "b", "seqgan", last=moved(start, 0.05), **changes)).label == "no gain"


def test_qualities_that_do_not_meet_are_not_reached(tmp_path: Path) -> None:
    away = ((0.5, 5.5, 9.0), (1.0, 5.0, 9.0), (2.0, 4.0, 9.0))
    assert ruled(group(tmp_path, "seqgan", last=away)).label == "not reached"
    # Below its start, but where no control ever is.
    control = group(tmp_path, "seqgan-noise", last=((0.5, 11.0, 4.0), (1.0, 10.5, 4.5), (2.0, 10.2, 4.6)))
    assert ruled(group(tmp_path / "b", "seqgan", -0.5), control).label == "not reached"


def test_few_seeds_verify_nothing(tmp_path: Path) -> None:
    assert ruled(group(tmp_path, "seqgan", -0.5, seeds=2)).label == "unverified"
    ours = group(tmp_path / "b", "seqgan", -0.5)
    assert ruled(ours, group(tmp_path / "b", "seqgan-noise", 0.0, seeds=2)).label == "unverified"
    away = ((0.5, 5.5, 9.0), (1.0, 5.0, 9.0), (2.0, 4.0, 9.0))
    few = group(tmp_path / "c", "seqgan", last=away, seeds=2, summary={"unique": 0.1})
    assert ruled(few).label == "unverified"


def test_a_control_of_other_seeds_verifies_nothing(tmp_path: Path) -> None:
    ours, control = group(tmp_path, "seqgan", -0.5), group(tmp_path, "seqgan-noise", 0.0)
    for run in control.runs:
        run.description["seed"] += 10
    assert ruled(ours, control).label == "unverified"


def test_without_a_start_nothing_is_verified_but_collapse(tmp_path: Path) -> None:
    untrained: dict[str, Any] = {"config": {"numbers": {"mle_epochs": 0}}}
    assert ruled(group(tmp_path, "scratchgan", -0.5, **untrained)).label == "unverified"
    collapsed = group(tmp_path / "b", "scratchgan", -0.5, summary={"unique": 0.1}, **untrained)
    assert ruled(collapsed).label == "by collapse"
    mle = group(tmp_path, "mle", 0.0, better=0.0, config=untrained["config"])
    control = group(tmp_path / "c", "seqgan-constant", 0.0)
    assert ruled(group(tmp_path / "c", "scratchgan", -0.5, **untrained), mle, control).label == "survives"


def test_every_label_has_its_rule() -> None:
    assert len(RULES) == 7
