import itertools

import pytest
import torch

from image_gans.metrics import kernel
from image_gans.metrics.kernel import kernel_distance, kernel_distances


def draw(rows: int, seed: int, features: int = 4) -> torch.Tensor:
    return torch.randn(rows, features, generator=torch.Generator().manual_seed(seed))


def by_loops(a: torch.Tensor, b: torch.Tensor) -> float:
    def k(x, y):
        return (float(x @ y) / len(x) + 1) ** 3

    def among(rows):
        pairs = list(itertools.permutations(rows.double(), 2))
        return sum(k(x, y) for x, y in pairs) / len(pairs)

    between = [k(x, y) for x in a.double() for y in b.double()]
    return among(a) + among(b) - 2 * sum(between) / len(between)


def test_it_is_the_loops_over_all_pairs():
    a, b = draw(7, 0), draw(5, 1) + 1
    assert kernel_distance(a, b) == pytest.approx(by_loops(a, b), rel=1e-5)


def test_by_hand():
    a, b = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [-1.0]])
    # among a: (1*2+1)^3 = 27; among b: 1; between: 1, 0, 1, (-1)^3 = -1
    assert kernel_distance(a, b) == pytest.approx(27 + 1 - 2 * (1 + 0 + 1 - 1) / 4)


def test_chunks_and_order_make_no_difference(monkeypatch):
    a, b = draw(23, 0), draw(31, 1)
    whole = kernel_distance(a, b)
    monkeypatch.setattr(kernel, "CHUNK", 4)
    assert kernel_distance(a.flip(0), b.flip(0)) == pytest.approx(whole, rel=1e-5)
    assert kernel_distance(b, a) == pytest.approx(whole, rel=1e-5)


def test_without_bias_its_mean_over_all_splits_of_one_population_is_zero():
    # Over every way to deal a population into two sets, each pair is among and between equally often: exactly 0.
    population = draw(6, 0).double()
    rows = set(range(6))
    found = [
        kernel_distance(population[list(some)], population[list(rows - set(some))])
        for some in itertools.combinations(sorted(rows), 3)
    ]
    assert min(found) < 0 < max(found)
    assert sum(found) / len(found) == pytest.approx(0, abs=1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_is_torchmetrics_number():
    from torchmetrics.image.kid import KernelInceptionDistance

    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, x):
            return x.flatten(1).float() / 255

    random = torch.Generator().manual_seed(0)
    real = torch.randint(0, 255, (40, 3, 2, 2), generator=random, dtype=torch.uint8)
    fake = torch.randint(50, 200, (40, 3, 2, 2), generator=random, dtype=torch.uint8)
    theirs = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=40)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    ours = kernel_distance(real.flatten(1) / 255, fake.flatten(1) / 255)
    assert ours == pytest.approx(float(theirs.compute()[0]), rel=1e-3)


def test_subsets_repeat_from_their_seed_and_one_whole_subset_is_the_whole():
    a, b = draw(30, 0), draw(20, 1)
    state = torch.get_rng_state()
    first = kernel_distances(a, b, subsets=5, size=8, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, kernel_distances(a, b, subsets=5, size=8, seed=3))
    assert len(first.unique()) == 5
    assert not torch.equal(first, kernel_distances(a, b, subsets=5, size=8, seed=4))
    assert float(kernel_distances(a[:20], b, subsets=1)) == pytest.approx(kernel_distance(a[:20], b), rel=1e-5)


def test_subsets_are_of_the_size_asked_for(monkeypatch):
    sizes = []
    monkeypatch.setattr(kernel, "kernel_distance", lambda a, b: sizes.append((len(a), len(b))) or 0.0)
    kernel_distances(draw(30, 0), draw(20, 1), subsets=2, size=8)
    kernel_distances(draw(30, 0), draw(20, 1), subsets=1)
    assert sizes == [(8, 8), (8, 8), (20, 20)]


def test_one_row_has_no_pair():
    with pytest.raises(ValueError, match="at least 2, not 5 and 1"):
        kernel_distance(torch.zeros(5, 3), torch.zeros(1, 3))
