"""What a retrieval run leaves: measurements, diagnostics, summary.json, the first rankings, and the report."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from experiments import report
from experiments.irgan_cast import Best, Cast
from experiments.irgan_setup import Experiment
from rl.discriminator import evaluating
from rl.retrieval import diagnostics
from rl.retrieval.candidates import ListSampler, PoolSampler, SoftmaxSampler
from rl.retrieval.collection import Collection, Split
from rl.retrieval.evaluation import evaluate, rankings
from rl.retrieval.pretraining import popularity
from rl.retrieval.scorers import Factors
from rl.retrieval.trec import write_run
from rl.runtime.rundir import write_json

METRICS = (
    "p@3", "p@5", "p@10", "ndcg@3", "ndcg@5", "ndcg@10", "map", "mrr", "recall@10", "hit@10", "coverage@10",
)  # fmt: skip
GRADED = ("ndcg_graded@3", "ndcg_graded@5", "ndcg_graded@10")
SHOWN = ("p@5", "ndcg@5", "map")  # of validation data, over the steps
DEEP = 100  # of the rankings that are kept, where everything is ranked
QUERIES, FIRST, WIDTH = 40, 5, 60  # of those that are shown: queries, documents, letters of a text
EXAMINED = 256  # queries that the diagnostics look at


def measure(e: Experiment, cast: Cast, scorer: nn.Module, split: Split) -> dict[str, float]:
    """Return what a ranker is worth on a split."""
    with cast.clock.stopped(), evaluating(scorer):
        found = evaluate(scorer, cast.collection, split, ties=e.ties)
    graded = GRADED if float(cast.collection.judged(split).grades.max()) > 1 else ()
    return {name: found[name] for name in (*METRICS, *graded)}


def measure_and_offer(e: Experiment, cast: Cast, best: Best, turn: int, epoch: int) -> dict[str, float]:
    """Measure on the split that the round is chosen on, and remember the players if they are the best so far."""
    if not cast.chooses():
        return {"cpu_seconds": cast.clock.seconds}
    split, players = cast.judges_by, cast.players
    found = measure(e, cast, players.generator, split)
    best.offer(found[e.select_by], turn, epoch, players)
    measured = {f"{split}/{name}": found[name] for name in sorted({*SHOWN, e.select_by})}
    if judges(e, cast):
        judged = measure(e, cast, players.discriminator, split)
        measured |= {f"d/{e.select_by}": judged[e.select_by]}
    return measured | norms(e, cast) | {"cpu_seconds": cast.clock.seconds}


def judges(e: Experiment, cast: Cast) -> bool:
    """Return whether there is a game with a discriminator of its own."""
    return e.numbers.steps > 0 and cast.players.discriminator is not cast.players.generator


def norms(e: Experiment, cast: Cast) -> dict[str, float]:
    """Return how large the codes of factorisations are: those of a player that only learns popularity die."""
    found = {}
    nets = {"g": cast.players.generator} | ({"d": cast.players.discriminator} if judges(e, cast) else {})
    for who, net in nets.items():
        if isinstance(net, Factors):
            found |= {f"{who}/norm_{name}": value for name, value in diagnostics.factor_norms(net).items()}
    return found


def keep_start(e: Experiment, cast: Cast) -> None:
    """Keep what the generator is before the game, and who only counts."""
    cast.found.numbers |= prefixed("start", measure(e, cast, cast.players.generator, "test"))
    counted = popularity(cast.collection.train.positive, cast.collection.documents).to(cast.engine.device)
    cast.found.numbers |= prefixed("popularity", measure(e, cast, counted, "test")) if popular_ranks(cast) else {}


def popular_ranks(cast: Cast) -> bool:
    """Return whether documents of training can be asked for again: those of other data have one query."""
    return cast.collection.kind == "ratings"


def choose(e: Experiment, cast: Cast) -> None:
    """Decide for how long the players learn anew, and keep what the chosen ones are worth: under held/."""
    cast.found.numbers |= prefixed("held", at_the_chosen(e, cast) | what_was_chosen(e, cast))
    best = cast.best
    cast.plan.numbers |= {"pretrain_epochs": cast.start.turn, "rounds": best.turn, "g_epochs": best.epoch}


def at_the_chosen(e: Experiment, cast: Cast) -> dict[str, float]:
    """Return the summary's rows of the players that validation chose; the players stay as they are."""
    with chosen(cast):
        return of_players(e, cast)


@contextmanager
def chosen(cast: Cast) -> Iterator[nn.Module]:
    """Give the generator that validation chose; inside, the players are as they were then."""
    now = Best()
    now.offer(0.0, 0, 0, cast.players)
    cast.best.put_back(cast.players)
    try:
        yield cast.players.generator
    finally:
        now.put_back(cast.players)


def of_players(e: Experiment, cast: Cast) -> dict[str, float]:
    """Return how the players rank the test data, and what no ranking shows."""
    players = cast.players
    found = measure(e, cast, players.generator, "test")
    if judges(e, cast):
        found |= prefixed("discriminator", measure(e, cast, players.discriminator, "test"))
    return found | norms(e, cast) | examined(e, cast)


def examined(e: Experiment, cast: Cast) -> dict[str, float]:
    """Return how much the generator explores, and how much of the reward the document alone explains."""
    players, collection = cast.players, cast.collection
    query = collection.train.answered[:EXAMINED]
    sampler: ListSampler = SoftmaxSampler(players.generator)
    if collection.pool == "judged":
        sampler = PoolSampler(players.generator, collection.train)
    with cast.clock.stopped(), torch.no_grad(), evaluating(players.generator), evaluating(players.discriminator):
        found = {"g/entropy": diagnostics.generator_entropy(sampler, query)}
        if judges(e, cast) and collection.pool == "all":  # a judged document has one query, and explains all
            share = diagnostics.share_of_item(players.discriminator.score, sampler, query, collection.documents)
            found |= {"d/share_of_item": share}
    return found


def keep_rankings(run_dir: Path, e: Experiment, cast: Cast) -> None:
    """Write the test rankings of the chosen players as a TREC run file."""
    depth = DEEP if cast.collection.pool == "all" else cast.collection.documents
    with chosen(cast) as generator, evaluating(generator):
        ranked = rankings(generator, cast.collection, "test", depth, ties=e.ties)
    write_run(run_dir / "test.run", ranked, cast.collection, tag=e.variant)


def write_samples(run_dir: Path, step: int, e: Experiment, cast: Cast) -> None:
    """Write `samples/step-N.txt`: the first documents for some test queries; + marks the relevant."""
    folder, data = run_dir / "samples", cast.collection
    folder.mkdir(exist_ok=True)
    with evaluating(cast.players.generator):
        ranked = rankings(cast.players.generator, shown(data), "test", FIRST, ties=e.ties)
    relevant = data.test.positive.holds(ranked.query[:, None].expand_as(ranked.ids), ranked.ids)
    lines = []
    for query, ids, _, there, marks in zip(*(table.tolist() for table in (*ranked, relevant)), strict=True):
        found = [f"{'+' if mark else ''}{said(data, document)}" for document, mark in zip(ids, marks, strict=True)]
        asked = data.query_texts[query] if data.query_texts else data.query_name(query)
        lines.append(f"{asked}: " + " | ".join(entry for entry, held in zip(found, there, strict=True) if held))
    (folder / f"step-{step}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def shown(data: Collection) -> Collection:
    """Return the same data with the first test queries alone."""
    some = data.test.answered[:QUERIES]
    return replace(data, test=data.test.only(torch.isin(data.test.query, some)))


def said(data: Collection, document: int) -> str:
    """Return what a document says, cut, or its name."""
    return data.document_texts[document][:WIDTH] if data.document_texts else data.document_name(document)


def summarise(run_dir: Path, e: Experiment, cast: Cast) -> dict[str, float]:
    """Write summary.json: the players that validation chose, the last ones, the start, and who only counts."""
    seconds = cast.clock.seconds
    found = at_the_chosen(e, cast)
    last = measure(e, cast, cast.players.generator, "test")
    summary = found | prefixed("last", last) | cast.found.numbers
    summary |= {"cpu_seconds": seconds, "selected_on_test": float(e.select_on_test)} | what_was_chosen(e, cast)
    write_json(run_dir / "summary.json", summary)
    return summary


def what_was_chosen(e: Experiment, cast: Cast) -> dict[str, float]:
    """Return the epoch of pretraining, and the round and the generator's epoch in it, that were the best."""
    found: dict[str, float] = {"chosen_pretrain": cast.start.turn} if cast.start.weights else {}
    if cast.best.weights:
        best = cast.best
        found |= {"chosen_round": best.turn, "chosen_epoch": best.epoch, f"chosen_{e.select_by}": best.score}
    return found


def prefixed(name: str, numbers: dict[str, float]) -> dict[str, float]:
    """Name whose numbers they are."""
    return {f"{name}/{key}": value for key, value in numbers.items()}


def finish(run_dir: Path, e: Experiment, cast: Cast) -> None:
    """Measure, keep the rankings, write the report, and print where it is and the numbers."""
    summary = summarise(run_dir, e, cast)
    keep_rankings(run_dir, e, cast)
    page = report.write(run_dir)
    rows = (f"{key:28}{value:12.4f}" for key, value in summary.items())
    print("\n" + "\n".join(rows) + f"\n\nreport: {page}", flush=True)
