"""Places by hand, and the two ways in which a cumulative sum goes wrong at its ends."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rl.inverse_cdf import draw, resolution, search, uniforms
from tests.rl.retrieval.chi_squared import DRAWS, agrees

CPU = torch.device("cpu")


def test_places_by_hand() -> None:
    masses = torch.tensor([[1.0, 0.0, 3.0], [0.0, 2.0, 2.0]])
    uniform = torch.tensor([[0.0, 0.2499, 0.25, 0.99], [0.0, 0.4999, 0.5, 0.75]], dtype=torch.float64)
    assert search(masses, uniform).tolist() == [[0, 0, 2, 2], [1, 1, 2, 2]]


def test_the_last_uniform_stays_on_a_place_of_mass() -> None:
    last = torch.full((1, 1), 1 - 2.0**-53, dtype=torch.float64)
    torch.manual_seed(0)
    for _ in range(200):
        masses = torch.cat([torch.rand(1, 17, dtype=torch.float64), torch.zeros(1, 3)], 1)
        assert search(masses, last).item() == 16
    assert search(torch.tensor([[0.0, 5e-324, 0.0]], dtype=torch.float64), last).item() == 1
    single = torch.full((1, 1), 1 - 2.0**-24, dtype=torch.float32)
    assert search(torch.tensor([[3.0, 1e-9, 0.0]]), single).item() == 0


def test_a_tail_that_float32_cannot_see() -> None:
    masses = torch.tensor([[1.0, 1e-9, 1e-9]])
    uniform = torch.tensor([[1 - 1.5e-9, 1 - 0.5e-9]], dtype=torch.float64)
    assert search(masses, uniform).tolist() == [[1, 2]]


def test_uniforms() -> None:
    torch.manual_seed(0)
    drawn = uniforms(3, 5, device=CPU)
    assert drawn.shape == (3, 5)
    assert drawn.dtype == torch.float64 == resolution(CPU)
    assert resolution(torch.device("mps")) == torch.float32
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert (drawn.float().double() != drawn).any(), "numbers of single precision"


@pytest.mark.parametrize("places", [1, 2, 64, 90, 1024, 1030])
@pytest.mark.parametrize("draws", [1, 4, 30])
def test_draws_by_blocks_and_in_one_go(places: int, draws: int) -> None:
    # 64, 1024: whole blocks; 90, 1030: the last block has gaps. Up to 4 draws of 1024 places go by blocks
    torch.manual_seed(places)
    masses = torch.rand(places) + 0.02
    masses[torch.rand(places) < 0.3] = 0
    masses[-1] = 2.0
    rows = torch.stack([masses, masses.flip(0)])
    drawn = draw(rows.repeat(DRAWS, 1), draws).view(DRAWS, 2, draws)
    for row in range(2):
        counts = torch.bincount(drawn[:, row].flatten(), minlength=places)
        shares = rows[row] / rows[row].sum()
        common = shares * counts.sum() >= 5
        assert not counts[shares == 0].any()
        agrees(counts[common], shares[common] / shares[common].sum())
    if draws > 1 and places <= 90:
        together = torch.bincount((drawn[:, 0, 0] >= places // 2) * 2 + (drawn[:, 0, 1] >= places // 2), minlength=4)
        upper = (masses[places // 2 :].sum() / masses.sum()).item()
        pair = torch.tensor([1 - upper, upper])
        agrees(together, torch.outer(pair, pair).flatten())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_search_at_the_edges_of_the_uniforms(dtype: torch.dtype) -> None:
    masses = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]])
    last = 1 - (2**-24 if dtype == torch.float32 else 2**-53)
    uniforms = torch.tensor([[0.0, last, 1.0]], dtype=dtype)  # some devices' uniforms reach 1
    assert search(masses, uniforms).tolist() == [[1, 3, 3]]


def test_search_in_a_row_of_the_smallest_mass() -> None:
    least = torch.tensor([[0.0, 1e-45, 0.0]])
    assert search(least, torch.tensor([[0.0, 0.4, 0.9, 1 - 2**-24]])).tolist() == [[1, 1, 1, 1]]


@given(st.lists(st.sampled_from([0.0, 1e-30, 1e-8, 0.1, 1.0]), min_size=1, max_size=12), st.floats(0, 1))
def test_search_never_finds_a_place_of_no_mass(masses: list[float], uniform: float) -> None:
    if not any(masses):
        masses = [*masses, 1.0]
    for dtype in (torch.float32, torch.float64):
        place = search(torch.tensor([masses]), torch.tensor([[uniform, 1 - 2**-24]], dtype=dtype))
        assert all(masses[i] > 0 for i in place[0].tolist())
