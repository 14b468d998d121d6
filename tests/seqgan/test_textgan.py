import math
from dataclasses import replace

import pytest
import torch

from rl.objectives import NonSaturating
from seqgan.soft import SoftDiscriminator
from seqgan.textgan import DISTANCES, SCALES, FeatureMatching, kernel_distance, mean_distance, textgan
from tests.seqgan import toys

NUMBERS = replace(toys.NUMBERS, sharpest=1.0, g_lr=2e-3)


def test_the_distance_of_means_by_hand() -> None:
    real, fake = torch.tensor([[1.0, 0.0], [3.0, 2.0]]), torch.tensor([[0.0, 0.0], [1.0, 2.0], [2.0, 7.0]])
    assert mean_distance(real, fake).item() == pytest.approx((2 - 1) ** 2 + (1 - 3) ** 2)


def test_the_distance_of_kernels_by_hand() -> None:
    # squared distances between reals 1, 4, 9: their median 4 is the unit of the widths
    real, fake = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [2.0]])

    def kernel(x: float, y: float) -> float:
        return sum(math.exp(-((x - y) ** 2) / (2 * scale**2 * 4)) for scale in SCALES) / len(SCALES)

    within_real = (kernel(0, 1) + kernel(0, 3) + kernel(1, 3)) / 3
    between = sum(kernel(x, y) for x in (0, 1, 3) for y in (0, 2)) / 6
    expected = within_real + kernel(0, 2) - 2 * between
    assert kernel_distance(real, fake).item() == pytest.approx(expected, rel=1e-5)


def test_the_distance_of_kernels_is_zero_on_average_between_equals() -> None:
    torch.manual_seed(0)
    found = torch.stack([kernel_distance(torch.randn(8, 3), torch.randn(8, 3)) for _ in range(2_000)])
    assert abs(found.mean().item()) < 4 * found.std().item() / 2_000**0.5  # wrong by chance 6e-5
    assert (found < 0).any()
    assert kernel_distance(torch.randn(50, 3), torch.randn(50, 3) + 1) > 0.05


def test_the_distance_of_kernels_knows_neither_unit_nor_origin() -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(9, 4), torch.randn(7, 4) + 0.5
    torch.testing.assert_close(kernel_distance(10 * real, 10 * fake), kernel_distance(real, fake))
    far = kernel_distance(real + 1_000, fake + 1_000)
    torch.testing.assert_close(far, kernel_distance(real, fake), rtol=0, atol=1e-3)


@pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)
def test_a_step_down_the_distance_brings_fakes_closer(distance) -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(64, 3).double(), (torch.randn(64, 3).double() + 2).requires_grad_()
    (slope,) = torch.autograd.grad(distance(real, fake), fake)
    assert (-slope.mean(0) < 0).all()
    step = torch.zeros_like(real)
    step[3, 1] = 1e-6
    numeric = (distance(real, fake + step) - distance(real, fake - step)) / 2e-6
    assert slope[3, 1].item() == pytest.approx(numeric.item(), rel=1e-5)


@pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)
def test_the_judge_goes_up_the_distance_that_the_generator_goes_down(distance) -> None:
    torch.manual_seed(0)
    judge = SoftDiscriminator(5, 4, embedding=3, filters=((1, 4), (2, 4))).eval()
    real, fake = torch.randint(5, (6, 4)), torch.rand(6, 4, 5).softmax(-1)
    game = FeatureMatching(NonSaturating(), distance, 0.7)
    apart = distance(judge.represent(real).flatten(1), judge.represent(fake).flatten(1))
    logistic = NonSaturating().discriminator_loss(judge(real), judge(fake))
    torch.testing.assert_close(game.discriminator_loss(judge, real, fake), logistic - 0.7 * apart)
    torch.testing.assert_close(game.reward(judge, real, fake), -apart)


@pytest.mark.slow
def test_learning_brings_the_generator_closer_to_the_truth() -> None:
    before, after = [], []
    for seed in toys.SEEDS:
        corpus, engine = toys.toy_corpus(seed), toys.engine(seed)
        players = textgan(NUMBERS, corpus, engine)
        toys.imitate(players, corpus, steps=30)
        toys.play(players, corpus, rounds=60)
        before.append(toys.kl(corpus.oracle, players.start))
        after.append(toys.kl(corpus.oracle, players.generator))
    assert toys.every_time_less(before, after), (before, after)  # by chance 3 %
