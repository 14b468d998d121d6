import math

import pytest

from experiments.published_findings import FINDINGS
from experiments.published_text import COCO, EMNLP, ORACLE, ORACLE_40, SOURCES, Published, Row

TABLES = (ORACLE, ORACLE_40, COCO, EMNLP)


@pytest.mark.parametrize(
    ("table", "variant", "key", "expected"),
    [
        (ORACLE, "seqgan", "nll_oracle", (8.736, math.nan)),
        (ORACLE, "relgan", "nll_oracle", (6.680, 0.343)),
        (ORACLE, "sentigan", "nll_oracle", (6.924, math.nan)),
        (ORACLE_40, "leakgan", "nll_oracle", (7.191, math.nan)),
        (COCO, "textgan", "bleu_2", (0.593, math.nan)),
        (COCO, "textgan", "self_bleu_5", (0.746, math.nan)),
        (COCO, "relgan", "bleu_5", (0.331, 0.044)),
        (COCO, "relgan", "nll_gen", (0.756, 0.054)),
        (COCO, "seqgan", "nll_gen", (1.082, math.nan)),
        (EMNLP, "rankgan", "bleu_4", (0.209, math.nan)),
        (EMNLP, "relgan", "nll_gen", (2.482, 0.031)),
    ],
)  # fmt: skip
def test_numbers_stand_under_their_metrics(
    table: Published, variant: str, key: str, expected: tuple[float, float]
) -> None:
    (claim,) = [row for row in table.claims() if row.variant == variant]
    assert claim.values[key] == pytest.approx(expected, nan_ok=True)


def test_claims_are_gains_over_maximum_likelihood_and_were_read() -> None:
    assert [table.mle() for table in TABLES] == [9.038, 10.411, 0.189, 0.126]
    for table in TABLES:
        variants = [claim.variant for claim in table.claims()]
        assert len(set(variants)) == len(variants)
        assert "mle" not in variants
        assert not any(claim.recalled for claim in table.claims())
    assert math.isnan(Published("", (), ()).mle())
    recalled = Row("SeqGAN", "GFS", {"nll_oracle": (1.0, math.nan)}, "seqgan", recalled=True)
    assert Published("nll_oracle", ("nll_oracle",), (recalled,)).claims() == []


def test_every_row_has_a_source_and_every_source_a_row() -> None:
    used = {row.source for table in TABLES for row in table.rows} | {found.source for found in FINDINGS}
    assert used == set(SOURCES)
    for table in TABLES:
        assert all(set(row.values) <= set(table.columns) for row in table.rows)
    assert all(len(values) == len(found.columns) for found in FINDINGS for _, values in found.rows)


def test_sums_of_others_are_not_below_their_parts() -> None:
    # The best sum over temperatures is at most the sum at temperature 1.
    for _, (quality, test, best) in FINDINGS[0].rows[:1]:
        assert best <= quality + test
    assert FINDINGS[0].rows[0][1][2] == pytest.approx(5.99 + 9.27)
