"""The alias table gives every place exactly its weight, and draws by it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.retrieval.alias import AliasTable
from tests.rl.retrieval.chi_squared import agrees


@given(st.lists(st.one_of(st.just(0.0), st.integers(1, 4).map(float), st.floats(1e-9, 1e9)), min_size=1, max_size=40))
def test_any_weights_are_the_tables_own(weights: list[float]) -> None:
    given_weights = torch.tensor(weights, dtype=torch.float64)
    if not given_weights.any():
        return
    table = AliasTable.of(given_weights)
    assert ((table.keep >= 0) & (table.keep <= 1)).all()
    expected = given_weights / given_weights.sum()
    torch.testing.assert_close(table.probabilities(), expected, rtol=0, atol=1e-13)
    assert not table.probabilities()[given_weights == 0].any()


def test_by_hand() -> None:
    # shares of the mean 2: .5, 2, .5; the heavy one fills both lights and keeps its own bucket
    table = AliasTable.of(torch.tensor([1.0, 4.0, 1.0]))
    assert table.keep.tolist() == [0.5, 1.0, 0.5]
    assert table.other.tolist() == [1, 1, 1]
    # shares .25, 1.5, 1.25: the first heavy falls to .75, and the second fills that up
    table = AliasTable.of(torch.tensor([1.0, 6.0, 5.0]))
    assert table.keep.tolist() == [0.25, 0.75, 1.0]
    assert table.other.tolist() == [1, 2, 2]
    # shares .5, .5, 2, .5, 1.5: two lights bring the first heavy down to the mean exactly, and it fills the third too
    table = AliasTable.of(torch.tensor([1.0, 1.0, 4.0, 1.0, 3.0]))
    assert table.keep.tolist() == [0.5, 0.5, 0.5, 0.5, 1.0]
    assert table.other.tolist() == [2, 2, 4, 2, 4]


def test_a_million_places() -> None:
    torch.manual_seed(0)
    weights = torch.rand(1_000_000, dtype=torch.float64) ** 8
    table = AliasTable.of(weights)
    expected = weights / weights.sum()
    assert (table.probabilities() - expected).abs().max().item() < 1e-12, "a millionth of the mean"


def test_draws() -> None:
    weights = torch.tensor([0.0, 1.0, 2.0, 10.0, 3.0])
    table = AliasTable.of(weights)
    torch.manual_seed(0)
    drawn = table.draw(10_000, 2)
    assert drawn.shape == (10_000, 2)
    p = weights / weights.sum()
    agrees(torch.bincount(drawn.flatten(), minlength=5), p)
    agrees(torch.bincount(drawn[:, 0] * 5 + drawn[:, 1], minlength=25), torch.outer(p, p).flatten())


@pytest.mark.parametrize("weights", [[1.0, -1.0], [0.0, 0.0], [torch.nan, 1.0], [torch.inf, 1.0]])
def test_what_is_no_distribution(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        AliasTable.of(torch.tensor(weights))
