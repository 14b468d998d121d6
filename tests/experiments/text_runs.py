"""Small text runs as folders: a start whose curve is known, and a last step beside it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Place = tuple[float, float, float]
"""inverse temperature, quality, what is paid"""
START: tuple[Place, ...] = ((0.5, 10.0, 5.0), (1.0, 9.0, 6.5), (2.0, 6.0, 11.0))  # y = 20 - 1.5 x
REAL = {"nll_oracle": 5.75, "nll_test": 5.75, "distinct_2": 0.86, "unique": 1.0, "entropy": 7.8, "tokens_used": 4900.0}
PAIR = ("nll_oracle", "nll_test")


def shifted(by: float, start: Sequence[Place] = START) -> tuple[Place, ...]:
    return tuple((t, x, y + by) for t, x, y in start)


def write_run(
    folder: Path,
    seed: int,
    *,
    variant: str = "seqgan",
    last: Sequence[Place] = START,
    start: Sequence[Place] = START,
    pair: tuple[str, str] = PAIR,
    summary: Mapping[str, float] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a finished run; the summary's last step stands at the place of inverse temperature 1."""
    folder.mkdir(parents=True)
    numbers = {"length": 0, "vocabulary": 5000, "mle_epochs": 120}
    settings = {"corpus": "oracle", "oracle_params": "o.npz", "seed": seed, "run_dir": str(folder), "sweep_samples": 9}
    description = {
        "family": "text_gan", "variant": variant, "seed": seed, "commit": "c" * 40, "command": f"text_gan.py {variant}",
        "config": settings | {"numbers": numbers} | dict(config or {}),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(description))
    curves = {
        name: [{"inverse_temperature": t, pair[0]: x, pair[1]: y} for t, x, y in places]
        for name, places in (("last", last), ("mle", start))
    }
    (folder / "curves.json").write_text(json.dumps(curves))
    rows = {
        name: {pair[0]: x, pair[1]: y} for name, places in (("", last), ("mle/", start)) for t, x, y in places if t == 1
    }
    found = {f"{prefix}{key}": value for prefix, row in rows.items() for key, value in row.items()}
    found |= (
        {f"real/{key}": value for key, value in REAL.items()} | {"distinct_2": 0.8, "unique": 1.0} | dict(summary or {})
    )
    (folder / "summary.json").write_text(json.dumps(found))
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    return folder
