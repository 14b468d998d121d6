"""Diagnostics by hand: what a dead embedding, a uniform generator and an impersonal reward look like."""

import math

import pytest
import torch
from torch import Tensor

from rl.retrieval.candidates import PoolSampler, PositiveMixture, SoftmaxSampler
from rl.retrieval.diagnostics import code_norms, factor_norms, generator_entropy, share_of_item
from rl.retrieval.relevance import Relevance
from rl.retrieval.scorers import Factors, FeatureMLP, ItemBias, Scorer

QUERIES, DOCUMENTS = 300, 4  # more queries than stand in memory at once
ALL = torch.arange(QUERIES)


def test_norms_by_hand() -> None:
    factors = Factors(2, 2, 2)
    factors.load_state_dict(
        {
            "users": torch.tensor([[3.0, 4.0], [0.0, 1.0]]),
            "items": torch.tensor([[0.0, 0.0], [6.0, 8.0]]),
            "bias": torch.tensor([-1.0, 2.0]),
        }
    )
    assert factor_norms(factors) == {"users": 3.0, "items": 5.0, "bias": 1.5}
    codes = code_norms(factors, torch.tensor([1]), torch.tensor([0, 1]))
    assert codes["queries"] == pytest.approx(math.sqrt(2))
    assert codes["documents"] == pytest.approx((1 + math.sqrt(104)) / 2)


def constant() -> ItemBias:
    return ItemBias(DOCUMENTS)


def test_entropy_of_draws() -> None:
    assert generator_entropy(SoftmaxSampler(constant()), ALL) == pytest.approx(math.log(DOCUMENTS))
    certain = constant()
    certain.load_state_dict({"bias": torch.tensor([0.0, 1e5, 0.0, 0.0])})
    assert generator_entropy(SoftmaxSampler(certain), ALL) == pytest.approx(0, abs=1e-9)
    pool = Relevance.of(torch.tensor([0, 0, 1]), torch.tensor([2, 3, 1]), torch.ones(3), 2)
    assert generator_entropy(PoolSampler(constant(), pool), torch.tensor([0, 1])) == pytest.approx(math.log(2) / 2)
    halves = constant()
    halves.load_state_dict({"bias": torch.tensor([0.5, 0.25, 0.125, 0.125]).log()})
    assert generator_entropy(SoftmaxSampler(halves), ALL) == pytest.approx(1.75 * math.log(2), rel=1e-6)


def everywhere(scorer: Scorer) -> SoftmaxSampler:
    return SoftmaxSampler(scorer, math.inf)


def explained(table: Tensor, generator: SoftmaxSampler | PoolSampler | PositiveMixture) -> float:
    def reward(query: Tensor, ids: Tensor) -> Tensor:
        return table[query].gather(1, ids)

    return share_of_item(reward, generator, torch.arange(len(table)), table.shape[1])


def test_a_reward_of_the_item_alone_is_explained_and_its_queries_constant_does_not_matter() -> None:
    torch.manual_seed(0)
    table = torch.randn(1, DOCUMENTS) + 10 * torch.randn(QUERIES, 1)
    assert explained(table, everywhere(constant())) == pytest.approx(1, abs=1e-6)


def test_a_reward_of_query_and_item_together_is_not() -> None:
    signs = torch.where(ALL % 2 == 0, 1.0, -1.0)[:, None]
    table = signs * torch.tensor([[1.0, -1.0, 2.0, -2.0]])
    assert explained(table, everywhere(constant())) == pytest.approx(0, abs=1e-9)


def test_noise_is_explained_by_one_part_in_the_queries() -> None:
    torch.manual_seed(0)
    shares = [explained(torch.randn(50, 200), everywhere(ItemBias(200))) for _ in range(5)]
    assert sum(shares) / 5 == pytest.approx(1 / 50, rel=0.2)  # 4 standard errors: 1 seed of 10,000 fails


def test_by_hand_with_a_generator_that_prefers() -> None:
    # query 0 draws (1/2, 1/2), query 1 (1/4, 3/4); centred rewards (1, -1) and (3/2, -1/2)
    table = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    generator = Factors(2, 2, 1)
    generator.load_state_dict(
        {
            "users": torch.tensor([[0.0], [1.0]]),
            "items": torch.tensor([[0.0], [math.log(3.0)]]),
            "bias": torch.zeros(2),
        }
    )
    variance = 0.5 * 1 + 0.5 * 1 + 0.25 * 2.25 + 0.75 * 0.25
    means = ((0.5 + 0.375) ** 2 / 0.75, (0.5 + 0.375) ** 2 / 1.25)
    assert explained(table, SoftmaxSampler(generator)) == pytest.approx(sum(means) / variance, rel=1e-6)


def test_lists_of_their_own_explain_everything_and_fillers_nothing() -> None:
    pool = Relevance.of(torch.tensor([0, 0, 1]), torch.tensor([2, 3, 1]), torch.ones(3), 2)
    table = torch.tensor([[9.0, 9.0, 1.0, 5.0], [7.0, 3.0, 9.0, 9.0]])
    assert explained(table, PoolSampler(constant(), pool)) == pytest.approx(1)


@pytest.mark.parametrize("paid", [0.0, 0.1, -3e4])
def test_a_constant_reward_has_nothing_to_explain(paid: float) -> None:
    torch.manual_seed(0)
    features = FeatureMLP(torch.randn(DOCUMENTS, 2))
    assert explained(torch.full((7, DOCUMENTS), paid), SoftmaxSampler(features)) == 0
