"""Places by hand, and the two ways in which a cumulative sum goes wrong at its ends."""

import torch

from rl.inverse_cdf import resolution, search, uniforms

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
