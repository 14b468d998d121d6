"""Is one method's ranking better than another's, query by query? A paired test over the test queries of finished runs.

`python -m experiments.paired --ours RUN_DIR... --theirs RUN_DIR... [--metric map]`: the runs of a method are its seeds,
a query's score is the mean over them, and the signs of the differences are flipped at random.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from jaxtyping import Float, Int
from torch import Tensor

from experiments.config import one_line_errors
from experiments.irgan_setup import load_data, saved_experiment
from rl.retrieval import metrics
from rl.retrieval.collection import Collection
from rl.retrieval.lists import stored
from rl.retrieval.trec import run_of
from rl.runtime import InputError, closest, exit_codes, rundir

FLIPS = 100_000
MOST_ENUMERATED = 16  # differences whose signs are flipped in every way
AT_ONCE = 1 << 22  # flipped differences in memory


@dataclass(frozen=True)
class Arguments:
    """Compare two methods of retrieval, query by query."""

    ours: tuple[Path, ...]
    """folders of one method's finished runs, its seeds"""
    theirs: tuple[Path, ...]
    """folders of the other's"""
    metric: str = "map"
    """what is compared; `map` and `mrr` need rankings that were kept to their ends"""


def per_query(run_dir: Path, metric: str) -> dict[str, float]:
    """Return what a run's stored rankings are worth, by the name of the query."""
    path = run_dir / "test.run"
    e = saved_experiment(run_dir, rundir.read_config(run_dir)["config"])
    collection = load_data(e)
    worth: dict[str, float] = {}
    for part in stored(run_of(path, collection), collection, "test"):
        found = metrics.of_scores(part.scores, part.grades, part.among, ties=e.ties)
        if metric not in found:
            raise InputError(f"--metric {metric}: no such metric{closest(metric, found)}")
        if "@" not in metric and bool((part.among.sum(1) < candidates(collection)[part.query]).any()):
            raise InputError(f"--metric {metric}: {path} does not hold all documents; take one of the first, as ndcg@5")
        names = [collection.query_name(query) for query in part.query.tolist()]
        worth |= dict(zip(names, found[metric].tolist(), strict=True))
    return worth


def candidates(collection: Collection) -> Int[Tensor, "queries"]:
    """Return how many documents a ranking of each test query can hold."""
    if collection.pool == "judged":
        return collection.test.counts
    return collection.documents - collection.known("test").counts


def means(run_dirs: Sequence[Path], metric: str) -> dict[str, float]:
    """Return the mean over runs of each query; raise InputError where they were not measured on the same queries."""
    worth = [per_query(run_dir, metric) for run_dir in run_dirs]
    for run_dir, other in zip(run_dirs, worth, strict=True):
        if other.keys() != worth[0].keys():
            raise InputError(f"{run_dir}: was not measured on the queries of {run_dirs[0]}")
    return {query: sum(run[query] for run in worth) / len(worth) for query in worth[0]}


def sign_flip(differences: Float[Tensor, "pairs"], flips: int = FLIPS, seed: int = 0) -> float:
    """Return the two-sided p of Fisher's randomisation test: how often a mean of flipped signs is as far from zero.

    Exact for up to 16 differences; else of that many random flips, the signs as they are counted among them, so that
    p <= alpha has probability alpha at most where either method is as good (Smucker et al. 2007).
    """
    values = differences.double()
    observed = values.sum().abs() * (1 - 1e-12)  # equal sums must not differ by rounding
    if len(values) <= MOST_ENUMERATED:
        ways = torch.arange(1 << len(values))
        signs = 1 - 2 * (ways[:, None] >> torch.arange(len(values)) & 1).double()
        return float(((signs @ values).abs() >= observed).double().mean())
    generator, beyond = torch.Generator().manual_seed(seed), 1
    for rows in _chunks(flips, max(1, AT_ONCE // len(values))):
        signs = 1 - 2 * torch.randint(2, (rows, len(values)), generator=generator).double()
        beyond += int(((signs @ values).abs() >= observed).sum())
    return beyond / (flips + 1)


def _chunks(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]


def main(arguments: Sequence[str]) -> None:
    """Print both means, the difference, how many queries each wins, and p."""
    asked = one_line_errors(
        lambda: tyro.cli(Arguments, prog="python -m experiments.paired", description=__doc__, args=arguments)
    )
    if not (asked.ours and asked.theirs):
        raise InputError("command line: name at least one run's folder for --ours and for --theirs")
    ours, theirs = means(asked.ours, asked.metric), means(asked.theirs, asked.metric)
    if ours.keys() != theirs.keys():
        raise InputError(f"{asked.theirs[0]}: was not measured on the queries of {asked.ours[0]}")
    mine = torch.tensor(list(ours.values()), dtype=torch.float64)
    differences = mine - torch.tensor([theirs[query] for query in ours], dtype=torch.float64)
    print(f"{asked.metric}: {mine.mean():.4f} against {(mine - differences).mean():.4f}, {differences.mean():+.4f}")
    print(f"queries: {len(mine)}, better {int((differences > 0).sum())}, worse {int((differences < 0).sum())}")
    print(f"p = {sign_flip(differences):.5f} (two-sided, signs of the queries' differences flipped)", flush=True)


if __name__ == "__main__":
    with exit_codes():
        main(sys.argv[1:])
