import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from image_gans.metrics import neighbours
from image_gans.metrics.neighbours import Neighbours, memorisation, nearest, precision_recall, reach


def line(*places: float) -> torch.Tensor:
    return torch.tensor(places, dtype=torch.float32)[:, None]


def draw(rows: int, seed: int, features: int = 3) -> torch.Tensor:
    return torch.randn(rows, features, generator=torch.Generator().manual_seed(seed))


def test_by_hand_on_a_line():
    # Reals reach 1, 1, 8: balls [-1, 1], [0, 2], [1, 17]. Fakes reach 10, 10, 98: [-8, 12], [-18, 2], [2, 198].
    real, fake = line(0, 1, 9), line(2, -8, 100)
    assert precision_recall(real, fake, k=1) == pytest.approx(
        {"precision": 1 / 3, "recall": 1, "density": 2 / 3, "coverage": 2 / 3}
    )


def test_the_second_neighbour_reaches_further():
    # Reals reach 9, 8, 9: the fake at -8 is in the ball of 0 alone, the one at 2 in all three.
    real, fake = line(0, 1, 9), line(2, -8, 100)
    assert precision_recall(real, fake, k=2) == pytest.approx(
        {"precision": 2 / 3, "recall": 1, "density": (3 + 1 + 0) / 3 / 2, "coverage": 1}
    )


def test_fakes_of_one_mode_have_precision_and_no_recall():
    real = torch.cat([draw(50, 0), draw(50, 1) + 100])
    found = precision_recall(real, draw(50, 2))
    assert found["precision"] > 0.7
    assert found["recall"] < 0.5
    assert found["coverage"] < 0.5


def test_fakes_all_over_have_recall_and_no_precision():
    found = precision_recall(draw(200, 0), 100 * draw(200, 1))
    assert found["precision"] < 0.05
    assert found["recall"] > 0.9


def test_the_same_set_twice_is_perfect():
    rows = draw(40, 0)
    found = precision_recall(rows, rows)
    assert (found["precision"], found["recall"], found["coverage"]) == (1, 1, 1)


@given(st.integers(0, 1_000))
def test_order_shift_and_scale_make_no_difference(seed):
    real, fake = draw(20, seed).double(), draw(15, seed + 1).double() + 0.5
    found = precision_recall(real, fake)
    assert precision_recall(real.flip(0), fake.flip(0)) == pytest.approx(found)
    assert precision_recall(3 * real + 1, 3 * fake + 1) == pytest.approx(found)
    swapped = precision_recall(fake, real)
    assert (swapped["precision"], swapped["recall"]) == (found["recall"], found["precision"])


def test_chunks_make_no_difference(monkeypatch):
    real, fake = draw(50, 0), draw(31, 1)
    whole, far, near = precision_recall(real, fake), reach(real, 3), nearest(fake, real)
    monkeypatch.setattr(neighbours, "CHUNK", 7)
    assert precision_recall(real, fake) == whole
    torch.testing.assert_close(reach(real, 3), far)
    assert torch.equal(nearest(fake, real).index, near.index)


def test_a_copy_of_a_row_is_another_row():
    assert reach(line(5, 5, 7), 1).tolist() == [0, 0, 4]


def test_reach_is_scikit_learns_neighbour():
    from sklearn.neighbors import NearestNeighbors

    rows = draw(60, 0)
    theirs = NearestNeighbors(n_neighbors=4).fit(rows.numpy()).kneighbors(rows.numpy())[0][:, 3]
    torch.testing.assert_close(reach(rows, 3).sqrt(), torch.from_numpy(theirs).float(), rtol=1e-4, atol=1e-4)


def test_too_few_rows_have_no_neighbours():
    with pytest.raises(ValueError, match="3 neighbours need more than 3 rows, not 3 and 9"):
        precision_recall(draw(3, 0), draw(9, 0))


def test_the_nearest_is_found_and_a_copy_is_at_distance_zero():
    train = 1_000 + draw(50, 0, features=64)  # far from the origin, where cancellation is worst
    found = nearest(torch.cat([train[[7]], train[[31]] + 0.25]), train)
    assert found.index.tolist() == [7, 31]
    assert found.distance.tolist() == pytest.approx([0, 2], abs=1e-3)
    assert found.distance[0] == 0


def at(*distances: float) -> Neighbours:
    return Neighbours(torch.tensor(distances, dtype=torch.float32), torch.zeros(len(distances), dtype=torch.int64))


def test_memorisation_by_hand():
    test = at(*range(1, 102))  # median 51, first hundredth 2
    assert memorisation(at(0, 2, 2.1, 102), test) == pytest.approx({"nearest_train": 2 / 51, "memorised": 2 / 4})
    assert memorisation(test, test) == pytest.approx({"nearest_train": 1, "memorised": 2 / 101})


def test_copies_are_memorised_and_new_pictures_are_not():
    train, test, new = draw(300, 0), draw(200, 1), draw(200, 2)
    usual = nearest(test, train)
    assert memorisation(nearest(train[:100], train), usual) == {"nearest_train": 0, "memorised": 1}
    found = memorisation(nearest(new, train), usual)
    assert found["nearest_train"] == pytest.approx(1, abs=0.2)
    assert found["memorised"] < 0.05
