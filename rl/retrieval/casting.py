"""From a method's numbers and the data to its players: which scorers suit the data, and which game they play."""

from collections.abc import Callable

import torch

from rl.objectives import Objective
from rl.retrieval import factor_game
from rl.retrieval.bm25 import word_weights
from rl.retrieval.collection import Collection
from rl.retrieval.factor_game import FactorGame
from rl.retrieval.factorisation import als_epoch
from rl.retrieval.linear import ease
from rl.retrieval.list_game import (
    Lesson,
    Lessons,
    ListGame,
    Two,
    climbing,
    finding_and_copying,
    ranking,
    telling_apart,
)
from rl.retrieval.numbers import Numbers
from rl.retrieval.players import Players, Still
from rl.retrieval.pretraining import popularity
from rl.retrieval.rankers import Sharpened
from rl.retrieval.scorers import Factors, FeatureMLP, Scorer
from rl.retrieval.text_scorers import CrossEncoder, DualText, WordTransformer
from rl.runtime.engine import Engine

ALS_EPOCHS = 15
Build = Callable[[Numbers, Collection, Engine, int], Players]
Scorers = Factors | FeatureMLP | DualText | CrossEncoder


def factors(n: Numbers, collection: Collection) -> Factors:
    """Code users and items, with a bias for each item."""
    return Factors(collection.queries, collection.documents, n.width, scale=n.scale)


def factor_judge(n: Numbers, collection: Collection) -> Factors:
    """Code as the generator does; with width 0 there are biases alone."""
    return Factors(collection.queries, collection.documents, n.d_width, scale=n.d_scale)


def generator_of(n: Numbers, collection: Collection) -> Scorers:
    """Make who ranks: factors, a perceptron on features, one transformer for questions and answers."""
    match collection.kind:
        case "ratings":
            return factors(n, collection)
        case "letor":
            return FeatureMLP(collection.features, n.width, n.layers)
    encoder = WordTransformer(weights_of(collection), n.width, n.layers, dropout=n.dropout)
    return DualText(encoder, collection.query_tokens, collection.document_tokens)


def discriminator_of(n: Numbers, collection: Collection) -> Scorers:
    """Make who judges: factors, a perceptron, a transformer that reads question and answer together."""
    match collection.kind:
        case "ratings":
            return factor_judge(n, collection)
        case "letor":
            return FeatureMLP(collection.features, n.d_width, n.d_layers)
    tokens = collection.query_tokens, collection.document_tokens
    return CrossEncoder(*tokens, weights_of(collection), n.d_width, n.d_layers, dropout=n.d_dropout)


def weights_of(collection: Collection) -> torch.Tensor:
    """Return how telling each word is."""
    return word_weights(collection.document_tokens, len(collection.words))


def two_of(n: Numbers, collection: Collection, engine: Engine) -> Two:
    """Make both players, the generator first, on the run's device."""
    generator = engine.place(generator_of(n, collection))
    return Two(generator, engine.place(discriminator_of(n, collection)))


def irgan(objective: Objective) -> Build:
    """Let a generator climb what an objective pays, and a discriminator learn by it."""

    def build(n: Numbers, collection: Collection, engine: Engine, seed: int) -> Players:
        if collection.kind == "ratings" and factor_game.plays(n, objective):
            generator = engine.place(factors(n, collection))
            return FactorGame(n, collection, generator, engine.place(factor_judge(n, collection)), objective)
        lessons = Lessons(telling_apart(objective), climbing(objective))
        return ListGame(n, collection, two_of(n, collection, engine), lessons, engine, seed=seed)

    return build


def alone(judging: Lesson) -> Build:
    """Let one net judge, draw what it judges, and be measured."""

    def build(n: Numbers, collection: Collection, engine: Engine, seed: int) -> Players:
        net = engine.place(generator_of(n, collection))
        return ListGame(n, collection, Two(net, net), Lessons(judging, judging), engine, seed=seed)

    return build


def by_ease(n: Numbers, collection: Collection) -> Scorer:
    """Fit EASE."""
    return ease(collection.train.positive, collection.documents, n.ridge)


def by_ials(n: Numbers, collection: Collection) -> Scorer:
    """Fit factors of the discriminator's width by alternating least squares, to convergence; they learn no more."""
    positive = collection.train.positive
    model = Factors(collection.queries, collection.documents, n.d_width, bias=False, scale=n.d_scale)
    model.to(positive.ids.device)
    for _ in range(ALS_EPOCHS):
        als_epoch(model, positive, confidence=n.confidence, decay=n.als_decay)
    return model.requires_grad_(False)


RANKERS = {"ease": by_ease, "ials": by_ials}


def ar2(n: Numbers, collection: Collection, engine: Engine, seed: int) -> Players:
    """Let a strong ranker teach a retriever: a fitted one, of learned sharpness, where users rate items; 2110.03611."""
    two = two_of(n, collection, engine)
    if collection.kind == "ratings":
        two = Two(two.generator, engine.place(Sharpened(RANKERS[n.ranker](n, collection), n.sharpness)))
    return ListGame(n, collection, two, Lessons(ranking, finding_and_copying), engine, seed=seed)


def popular(n: Numbers, collection: Collection, engine: Engine, seed: int) -> Players:
    """Rank by how often a document was relevant."""
    return Still(engine.place(popularity(collection.train.positive, collection.documents)), lambda: 0.0)


def linear(n: Numbers, collection: Collection, engine: Engine, seed: int) -> Players:
    """Rank by EASE."""
    return Still(engine.place(ease(collection.train.positive, collection.documents, n.ridge)), lambda: 0.0)


def alternating(n: Numbers, collection: Collection, engine: Engine, seed: int) -> Players:
    """Rank by factors, users' and items' in turn the best for the others."""
    positive = collection.train.positive
    model = engine.place(Factors(collection.queries, collection.documents, n.width, bias=False, scale=n.scale))
    return Still(model, lambda: als_epoch(model, positive, confidence=n.confidence, decay=n.als_decay))
