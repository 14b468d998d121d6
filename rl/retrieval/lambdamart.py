"""LambdaMART by lightgbm (an extra): boosted trees on features, the ceiling beside which rankers are shown."""

from typing import Any

import torch

from rl.retrieval.collection import Collection
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import ItemBias
from rl.runtime.errors import InputError


def lambdamart(
    collection: Collection, *, trees: int = 500, leaves: int = 31, rate: float = 0.05, smallest: int = 20, seed: int = 0
) -> ItemBias:
    """Fit trees to graded lists; Burges 2010, "From RankNet to LambdaRank to LambdaMART".

    A document has the features of its own query, so its score is a number of its own. With validation data there are
    as many trees as are best on it by NDCG@5 (graded), with a patience of 50. The leaves hold at least `smallest`
    documents. Raises InputError where lightgbm is missing, ValueError where documents have no features.
    """
    if collection.features.shape[1] == 0:
        raise ValueError("lambdamart: documents have no features")
    try:
        import lightgbm
    except ImportError:
        raise InputError("lambdamart: needs the package lightgbm (pip install 'sparring[retrieval]')") from None
    settings = {
        "objective": "lambdarank", "metric": "ndcg", "eval_at": [5], "num_leaves": leaves, "learning_rate": rate,
        "min_data_in_leaf": smallest, "seed": seed, "deterministic": True, "num_threads": 1, "verbose": -1,
    }  # fmt: skip
    learned = lightgbm.Dataset(**_lists(collection, collection.train))
    held = [learned.create_valid(**_lists(collection, part)) for part in (collection.valid,) if len(part)]
    stops: list[Any] = [lightgbm.early_stopping(50, verbose=False)] if held else []
    forest: Any = lightgbm.train(settings, learned, trees, valid_sets=held, callbacks=stops)
    scorer = ItemBias(collection.documents)
    scores = torch.from_numpy(forest.predict(collection.features.numpy()))
    with torch.no_grad():
        scorer.bias.copy_(scores)
    return scorer


def _lists(collection: Collection, judged: Relevance) -> dict[str, Any]:
    """Return the documents of each query together, as lightgbm reads them."""
    features, counts = collection.features[judged.ids], judged.counts[judged.counts > 0]
    return {"data": features.numpy(), "label": judged.grades.numpy(), "group": counts.numpy()}
