import math

import pytest
import torch

from image_gans.metrics.inception import inception_score

SURE = 1e3 * torch.eye(7)


def test_pictures_that_all_look_alike_score_one():
    assert inception_score(torch.tensor([[0.3, -1.0, 2.0]]).repeat(50, 1)) == pytest.approx(1)


def test_sure_and_even_pictures_score_the_number_of_classes():
    assert inception_score(SURE.repeat(3, 1)) == pytest.approx(7)


def test_by_hand():
    # p(y|x) = (.9, .1) and (.1, .9); p(y) = (.5, .5)
    logits = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()
    assert inception_score(logits) == pytest.approx(math.exp(0.9 * math.log(1.8) + 0.1 * math.log(0.2)))


def test_uneven_classes_score_the_exponential_of_their_entropy():
    logits = SURE[torch.tensor([0, 0, 0, 1])]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert inception_score(logits) == pytest.approx(math.exp(entropy))


def test_splits_are_parts_in_order():
    assert inception_score(SURE[:6], splits=3) == pytest.approx(2)
    assert inception_score(SURE[torch.tensor([0, 0, 1, 1])], splits=2) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_is_torchmetrics_number():
    from torchmetrics.image.inception import InceptionScore

    logits = 3 * torch.randn(64, 10, generator=torch.Generator().manual_seed(0))
    theirs = InceptionScore(feature=torch.nn.Identity(), splits=1)
    theirs.update(logits)
    assert inception_score(logits) == pytest.approx(float(theirs.compute()[0]), rel=1e-5)


@pytest.mark.parametrize("splits", [0, 4])
def test_no_part_is_empty(splits):
    with pytest.raises(ValueError, match=f"3 rows cannot be split into {splits} parts"):
        inception_score(torch.zeros(3, 2), splits)
