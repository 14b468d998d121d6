"""The two games: written derivatives against autograd, what the rows change, what a state holds."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from rl.objectives import Objective, Relativistic, SeqGAN
from rl.retrieval import casting
from rl.retrieval.casting import two_of
from rl.retrieval.factor_game import FactorGame, plays
from rl.retrieval.list_game import Lessons, ListGame, Two, climbing, finding_and_copying, telling_apart
from rl.retrieval.players import Hand
from rl.retrieval.presets import BY_KIND
from rl.retrieval.rankers import Sharpened
from rl.retrieval.scorers import Factors
from rl.retrieval.slates import Pools, widest
from rl.retrieval.synthetic import synthetic
from rl.retrieval.variants import KINDS, PRESETS, VARIANTS, numbers_for
from rl.runtime import Engine, Runtime
from tests.rl.retrieval.small import Table, collection, relevance

DATA = synthetic(0, queries=20, documents=30, positives=5)
ENGINE = Engine(Runtime("cpu"), 0)


def made(variant: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    n = replace(numbers_for(variant, "ratings", "default"), **{"batch": 20, "als_decay": 0.1, **changes})
    return VARIANTS[variant].build(n, DATA, ENGINE, 0)


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in net.parameters()]).clone()


def lessons(objective: Objective) -> Lessons:
    return Lessons(telling_apart(objective), climbing(objective))


def test_written_derivatives_climb_as_autograd_does() -> None:
    """The whole expectation over all documents; a rate is one user's there, and the mean's here."""
    fast = made("irgan", estimator="exact", g_lr=0.1, d_scale=1.0)
    assert isinstance(fast, FactorGame)
    users = len(DATA.train.answered)
    slow = made("irgan", estimator="exact", g_lr=0.1 * users, d_scale=1.0)
    reference = ListGame(slow.n, DATA, Two(slow.generator, slow.discriminator), lessons(SeqGAN()), ENGINE, seed=0)
    before = weights(fast.generator)
    fast.improve(0.0)
    reference.improve(0.0)
    assert (weights(fast.generator) - before).abs().max() > 1e-3
    torch.testing.assert_close(weights(fast.generator), weights(slow.generator), rtol=1e-4, atol=1e-6)


def test_maximum_likelihood_falls_in_both_games() -> None:
    fast, slow = made("irgan", pretraining="mle", pretrain_lr=0.01), made("irgan-pairwise", pretraining="mle")
    for game in (fast, slow):
        losses = [float(game.imitate()["pretrain/loss"]) for _ in range(15)]
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("pretraining", ["bpr", "dns", "mle"])
@pytest.mark.parametrize("variant", ["irgan", "ar2"])
def test_pretraining_ranks_the_relevant_higher(variant: str, pretraining: str) -> None:
    players = made(variant, pretraining=pretraining, pretrain_lr=0.05, pretrain_decay=0.0)
    positive = DATA.train.positive

    def gap() -> float:
        scores = players.generator.score_all(torch.arange(DATA.queries))
        return float((scores[positive.query, positive.ids].mean() - scores.mean()).detach())

    before = gap()
    for _ in range(10):
        players.imitate()
    assert gap() > before + 0.01


def test_the_bias_control_judges_all_queries_alike() -> None:
    judge = made("irgan-bias").discriminator
    assert isinstance(judge, Factors)
    judge.bias.data.normal_()
    scores = judge.score_all(torch.tensor([0, 7]))
    assert torch.equal(scores[0], scores[1])
    assert scores.std() > 0


def test_the_frozen_control_has_no_epochs_of_the_discriminator() -> None:
    assert numbers_for("irgan-frozen", "ratings", "default").d_epochs == 0
    assert "d_epochs" not in VARIANTS["irgan-frozen"].plays


def test_the_uniform_control_draws_every_document_alike() -> None:
    torch.manual_seed(0)
    table = {query: dict.fromkeys(range(10), 1.0) for query in range(100)}
    n = numbers_for("irgan-uniform", "ratings", "default")
    generator, judge = Factors(100, 10, 2), Factors(100, 10, 2)
    generator.bias.data[3] = judge.bias.data[3] = 50.0  # they would draw nothing else
    for negatives, share in (("uniform", 0.1), ("generator", 1.0)):
        numbers = replace(n, negatives=negatives)
        game = FactorGame(numbers, collection(table, 100, 10), generator, judge, SeqGAN())
        game.deal()
        drawn = game.hand.tensors["drawn"]
        assert len(drawn) == 1000
        assert (drawn == 3).float().mean() == pytest.approx(share, abs=0.04)  # four standard errors


def test_what_pays_is_the_reward_less_one_half_twice() -> None:
    game = made("irgan", d_scale=2.0)
    query, ids = torch.tensor([0, 3]), torch.tensor([5, 6])
    logits = game.discriminator.score(query, ids[:, None]).squeeze(1)
    torch.testing.assert_close(game._pay(query, ids), 2 * (logits.sigmoid() - 0.5))
    torch.testing.assert_close(
        game._pay_all(query)[:, 5], 2 * (game.discriminator.score_all(query)[:, 5].sigmoid() - 0.5)
    )


def test_derivatives_are_written_out_for_logits_one_by_one() -> None:
    n = numbers_for("irgan", "ratings", "default")
    assert plays(n, SeqGAN())
    assert not plays(n, Relativistic())
    for change in (
        {"optimizer": "adam"}, {"baseline": "leave-one-out"}, {"spare_relevant": True}, {"g_decay": 0.1}, {"list": 3},
    ):  # fmt: skip
        assert not plays(replace(n, **change), SeqGAN())
        assert isinstance(made("irgan", **change), ListGame)
    assert plays(replace(n, baseline="batch", estimator="exact"), SeqGAN()) is True


def test_only_queries_with_both_kinds_of_documents_teach() -> None:
    judged = collection(
        {0: {0: 1.0, 1: 0.0}, 1: {2: 1.0}, 2: {3: 0.0}, 4: {4: 2.0, 5: 0.0}}, 5, 6, pool="judged", kind="letor"
    )
    n = numbers_for("irgan", "letor", "default")
    net = Table(torch.zeros(5, 6))
    game = ListGame(n, judged, Two(net, Table(torch.zeros(5, 6))), lessons(SeqGAN()), ENGINE, seed=0)
    assert game.taught.tolist() == [0, 4]


def test_a_discriminator_that_learns_leaves_the_generator_alone_and_the_other_way_round() -> None:
    for variant in ("irgan", "irgan-pairwise", "ar2"):
        players = made(variant, d_lr=0.1, g_lr=0.1)
        g, d = weights(players.generator), weights(players.discriminator)
        players.deal()
        players.judge(0.0)
        assert torch.equal(weights(players.generator), g)
        assert not torch.equal(weights(players.discriminator), d)
        d = weights(players.discriminator)
        players.improve(0.0)
        assert torch.equal(weights(players.discriminator), d)
        assert not torch.equal(weights(players.generator), g)


def test_who_draws_or_pays_leaves_nothing_out() -> None:
    for variant in ("irgan-pairwise", "ar2"):
        players = made(variant)
        players.judge(0.0)
        assert (players.discriminator.training, players.generator.training) == (True, False)
        players.improve(0.0)
        assert (players.discriminator.training, players.generator.training) == (False, True)
    players = made("self-contrastive", optimizer="adam")
    players.judge(0.0)
    assert players.discriminator.training


def test_what_was_dealt_comes_back_to_its_device() -> None:
    hand = Hand(torch.device("meta"))
    hand.load_state_dict({"drawn": torch.zeros(2)})
    assert hand.tensors["drawn"].device.type == "meta"


def test_a_fitted_ranker_stands_where_the_data_do(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(casting, "als_epoch", lambda model, *_, **__: seen.append(model.items.device.type))
    data = replace(DATA, train=DATA.train.to("meta"))
    monkeypatch.setattr(type(data.train), "positive", data.train)  # which are positive cannot be told there
    casting.by_ials(numbers_for("ar2", "ratings", "default"), data)
    assert set(seen) == {"meta"}


def test_the_adversarial_weight_is_what_the_ablation_takes_away() -> None:
    ar2, distilled = (vars(numbers_for(name, "ratings", "default")) for name in ("ar2", "distilled"))
    assert ar2["adversarial"] > 0 == distilled["adversarial"]
    assert {**ar2, "adversarial": 0.0} == distilled


def test_the_retrievers_lesson_by_hand() -> None:
    """Half hardness, half of the ranker's softmax over the list, and twice the likelihood among all documents."""
    n = replace(numbers_for("ar2", "letor", "default"), adversarial=0.5, likelihood=2.0)
    scores, judge = Table(torch.zeros(1, 5)), Table(torch.tensor([[2.0, 1.0, -1.0, 9.0, 9.0]]))
    data = collection({0: {0: 1.0}}, 1, 5)
    pool = relevance({0: {0: 1.0, 1: 0.0, 2: 0.0}}, 1)
    wide = widest(data)
    loss, metrics = finding_and_copying(n, Two(scores, judge), Pools(pool).of(torch.tensor([0])), wide)
    hardness = (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(-3.0))) / 2
    expected = -0.5 * hardness + 0.5 * math.log(3) + 2 * math.log(5)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert metrics["g/hardness"].item() == pytest.approx(hardness, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, [scores.scores])
    taught = torch.tensor([2.0, 1.0, -1.0]).softmax(0)
    assert gradient[0, 0].item() == pytest.approx(0.5 * (1 / 3 - taught[0].item()) + 2 * (1 / 5 - 1), rel=1e-5)
    assert gradient[0, 3].item() == pytest.approx(2 / 5)


def test_rates_fall_to_zero_over_the_end_of_the_game() -> None:
    players = made("ar2", lr_decay=0.5, g_lr=0.1)
    seen = []
    for done in (0.0, 0.5, 0.75, 1.0):
        players.improve(done)
        seen.append(players.g_optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([0.1, 0.1, 0.05, 0.0])


def test_the_ranker_finds_its_sharpness_and_keeps_its_order() -> None:
    fitted = Table(torch.tensor([[0.3, 0.1, 0.2]]))
    ranker = Sharpened(fitted, 10.0)
    query = torch.tensor([0])
    assert ranker.score_all(query)[0].tolist() == pytest.approx([3.0, 1.0, 2.0])
    assert ranker.score(query, torch.tensor([[2, 0]]))[0].tolist() == pytest.approx([2.0, 3.0])
    before = ranker.log_sharpness.item()
    players = made("ar2", d_lr=0.1)
    players.judge(0.0)
    assert players.discriminator.log_sharpness.item() != pytest.approx(before)
    learned = [name for name, weight in players.discriminator.named_parameters() if weight.requires_grad]
    assert learned == ["log_sharpness"]


def test_lists_are_retrieved_anew_and_are_a_state() -> None:
    players = made("ar2", list=3, g_lr=0.5)
    players.deal()
    first = copy.deepcopy(players.hand.state_dict())
    positive = DATA.train.positive
    pool = players.dealt().pool
    assert pool.counts[positive.answered].tolist() == (positive.counts[positive.answered] + 3).tolist()
    for _ in range(5):
        players.improve(0.0)
    players.deal()
    assert not torch.equal(players.hand.tensors["ids"], first["ids"])
    players.parts()["hand"].load_state_dict(first)
    assert torch.equal(players.dealt().pool.ids, pool.ids)


def test_negatives_of_a_net_alone_are_its_own() -> None:
    players = made("self-contrastive", optimizer="adam", d_lr=0.05)
    assert players.generator is players.discriminator
    before = weights(players.generator)
    metrics = players.judge(0.0)
    assert 0 <= float(metrics["d/accuracy"]) <= 1
    assert not torch.equal(weights(players.generator), before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", PRESETS)
def test_every_row_has_numbers_for_all_data_and_presets(kind: str, preset: str) -> None:
    for name, row in VARIANTS.items():
        n = numbers_for(name, kind, preset)
        for part in ("steps", "d_epochs", "g_epochs"):
            assert getattr(n, part) == 0 or part in row.plays
    assert BY_KIND.keys() == set(KINDS)


def test_controls_differ_from_irgan_in_what_they_control_alone() -> None:
    control = {"irgan-frozen": {"d_epochs": 0}, "irgan-uniform": {"negatives": "uniform"}, "irgan-bias": {"d_width": 0}}
    for name, changes in control.items():
        for kind in VARIANTS[name].kinds:
            assert numbers_for(name, kind, "default") == replace(numbers_for("irgan", kind, "default"), **changes)


def test_a_preset_of_released_code_is_another() -> None:
    for name, row in VARIANTS.items():
        for kind in row.paper:
            assert numbers_for(name, kind, "paper") != numbers_for(name, kind, "default")
    n = numbers_for("irgan-pairwise", "letor", "paper")
    assert (n.estimator, n.pretraining, n.pretrain_epochs) == ("sampled", "dns", 60)


def test_a_demonstration_is_a_fifth() -> None:
    whole, part = numbers_for("irgan", "ratings", "default"), numbers_for("irgan", "ratings", "demo")
    assert (part.steps, part.pretrain_epochs) == (-(-whole.steps // 5), -(-whole.pretrain_epochs // 5))


def test_documents_with_features_are_ranked_by_perceptrons() -> None:
    n = numbers_for("irgan", "letor", "default")
    features = torch.randn(6, 4)
    data = collection({0: {0: 1.0, 1: 0.0}}, 1, 6, pool="judged", kind="letor")
    two = two_of(n, replace(data, features=features), ENGINE)
    assert two.generator.score_all(torch.tensor([0])).shape == (1, 6)
    assert two.discriminator.score(torch.tensor([0]), torch.tensor([[5, 2]])).shape == (1, 2)


def test_texts_are_read_with_words_left_out() -> None:
    n = replace(numbers_for("ar2", "qa", "default"), width=8, d_width=4, dropout=0.4, d_dropout=0.3)
    tokens = torch.tensor([[2, 3], [3, 4]])
    data = collection({0: {0: 1.0, 1: 0.0}}, 2, 2, pool="judged", kind="qa")
    words = ("<fill>", "<unknown>", "a", "b", "c")
    two = two_of(n, replace(data, query_tokens=tokens, document_tokens=tokens, words=words), ENGINE)
    assert two.generator.encoder.dropout.p == 0.4  # type: ignore[attr-defined]
    assert two.discriminator.dropout.p == 0.3  # type: ignore[attr-defined]
