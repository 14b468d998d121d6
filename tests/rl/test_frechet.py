import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from rl.frechet import frechet_distance, root


def draw(rows: int, features: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    mix = torch.randn(features, features, generator=random, dtype=torch.float64)
    return torch.randn(rows, features, generator=random, dtype=torch.float64) @ mix


def by_the_formula(a: torch.Tensor, b: torch.Tensor) -> float:
    cov_a, cov_b = a.T.cov(), b.T.cov()
    middle = torch.from_numpy(sqrtm((cov_a @ cov_b).numpy()).real)
    return float((a.mean(0) - b.mean(0)).square().sum() + (cov_a + cov_b - 2 * middle).trace())


def with_moments(mean: torch.Tensor, sd: torch.Tensor) -> torch.Tensor:
    """Rows whose mean and uncorrelated spreads are these exactly: two for each axis."""
    features = len(mean)
    axes = torch.cat([torch.eye(features), -torch.eye(features)]).double()
    return axes * sd * ((2 * features - 1) / 2) ** 0.5 + mean


@pytest.mark.parametrize("features", [2, 7, 20])
def test_it_is_the_formula_with_scipys_matrix_root(features):
    a, b = draw(100, features, 0), draw(60, features, 1) + 0.5
    assert frechet_distance(a, b) == pytest.approx(by_the_formula(a, b), rel=1e-6)


def test_of_uncorrelated_gaussians_it_is_worked_out_by_hand():
    a = with_moments(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 2.0]))
    b = with_moments(torch.tensor([3.0, 4.0]), torch.tensor([2.0, 5.0]))
    assert frechet_distance(a, b) == pytest.approx(25 + 1 + 9)  # (1-2)^2 + (2-5)^2


def test_one_feature_is_a_line():
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [9.0]])  # means 1, 7; variances 2, 8
    assert frechet_distance(a, b) == pytest.approx(36 + 2 + 8 - 2 * 4)


def test_it_is_torchmetrics_number():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, x):
            return x.flatten(1).float()

    random = torch.Generator().manual_seed(0)
    real = torch.randint(0, 255, (80, 3, 2, 2), generator=random, dtype=torch.uint8)
    fake = torch.randint(50, 200, (70, 3, 2, 2), generator=random, dtype=torch.uint8)
    theirs = FrechetInceptionDistance(feature=Flat()).set_dtype(torch.float64)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    assert frechet_distance(real.flatten(1), fake.flatten(1)) == pytest.approx(float(theirs.compute()), rel=1e-6)


@given(st.integers(0, 1_000), st.integers(1, 6))
def test_it_is_symmetric_never_negative_and_blind_to_order_and_rotation(seed, features):
    a, b = draw(20, features, seed), draw(9, features, seed + 1) + 1
    turn = torch.linalg.qr(draw(features, features, seed + 2)).Q
    distance = frechet_distance(a, b)
    assert distance >= 0
    assert frechet_distance(b, a) == pytest.approx(distance, rel=1e-6)
    assert frechet_distance(a.flip(0), b.flip(0)) == pytest.approx(distance, rel=1e-6)
    assert frechet_distance(a @ turn + 7, b @ turn + 7) == pytest.approx(distance, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6 * float(a.square().mean()))


def test_fewer_rows_than_features_are_no_trouble():
    a, b = draw(5, 30, 0), draw(4, 30, 1)
    assert frechet_distance(a, b) == pytest.approx(by_the_formula(a, b), rel=1e-4)
    assert frechet_distance(a.float(), a.float()) == pytest.approx(0, abs=1e-4)


def test_it_counts_in_double_precision():
    shift = 1e4  # float32 would lose the spread beside it
    a, b = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double(), torch.zeros(50, 3).double()
    b[::2] = 1
    assert frechet_distance(a + shift, b + shift) == pytest.approx(frechet_distance(a, b), rel=1e-6)


def test_a_root_squared_is_the_matrix():
    matrix = draw(9, 4, 0).T.cov()
    torch.testing.assert_close(root(matrix) @ root(matrix), matrix)


def test_one_row_has_no_covariance():
    with pytest.raises(ValueError, match="at least 2 rows, not 1 and 5"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(5, 3))
