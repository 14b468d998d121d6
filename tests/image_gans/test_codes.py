import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from image_gans.codes import Coded, Codes, MutualInformation, category_loss, continuous_loss, infogan, matched, meaning
from image_gans.judging import Judge, Seen, Verdict
from image_gans.latent import Game, Rules, generator_round
from image_gans.numbers import Facts, Numbers
from image_gans.players import Examined, no_probe
from rl.objectives import NonSaturating
from rl.runtime import Engine, Runtime

SHAPE = (1, 8, 8)
LABELS = torch.arange(20) % 10
FACTS = Facts(SHAPE, 10, torch.zeros(20, *SHAPE, dtype=torch.uint8), LABELS)
SMALL = Numbers(width=4, latent=6, categories=10, continuous=2)
CPU = torch.device("cpu")


def test_losses_by_hand():
    guess = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    assert category_loss(guess, torch.tensor([1, 0])).item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    loss = continuous_loss(torch.tensor([[0.5, 1.0], [0.0, 0.0]]), torch.tensor([[0.0, -1.0], [0.0, 1.0]]))
    assert loss.item() == pytest.approx((0.25 + 4 + 1) / 4)


def test_terms_read_the_codes_of_the_fakes_and_weigh_them():
    codes = Codes(torch.zeros(1, 3), torch.tensor([1]), torch.tensor([[1.0]]))
    real, fake = Seen(None, torch.zeros(1), torch.full((1, 3), 9.0)), Seen(None, torch.zeros(1), torch.zeros(1, 3))
    terms = MutualInformation(nn.Identity(), 2.0, 10.0)
    for losses in (terms.of_discriminator(codes, real, fake), terms.of_generator(codes, real, fake)):
        assert losses["category"].item() == pytest.approx(2 * math.log(2))
        assert losses["continuous"].item() == pytest.approx(10 * 0.5)


def test_codes_teach_the_generator_and_the_head():
    torch.manual_seed(0)
    players = infogan(SMALL, FACTS)
    codes = players.dealer.deal(torch.zeros(4, *SHAPE), LABELS[:4]).latent
    seen = Seen(None, *players.discriminator.judge(players.generator(codes)))
    for name in ("category", "continuous"):
        loss = players.terms.of_generator(codes, seen, seen)[name]
        learners = [*players.generator.parameters(), *players.discriminator.heads["codes"].parameters()]
        gradients = torch.autograd.grad(loss, learners, retain_graph=True)
        assert all(gradient.any() for gradient in gradients if gradient.dim() > 1)


def test_the_generators_round_adds_both_losses():
    torch.manual_seed(0)
    players = infogan(SMALL, FACTS)
    rules = Rules(NonSaturating(), terms=players.terms)
    game = Game(players.generator, players.discriminator, rules, Engine(Runtime(device="cpu", precision="fp32"), 0))
    real, latent = players.dealer.deal(torch.zeros(4, *SHAPE), LABELS[:4])
    metrics = generator_round(game, real, latent, torch.optim.Adam(players.generator.parameters()))
    expected = -metrics["g/reward"] + metrics["g/category"] + metrics["g/continuous"]
    torch.testing.assert_close(metrics["g/loss"], expected)


def test_without_continuous_codes():
    players = infogan(Numbers(width=4, latent=6, continuous=0), FACTS)
    deal = players.dealer.deal(torch.zeros(4, *SHAPE), LABELS[:4])
    seen = Seen(None, *players.discriminator.judge(players.generator(deal.latent)))
    losses = players.terms.of_discriminator(deal.latent, seen, seen)
    assert losses["continuous"] == 0
    assert losses["category"].item() == pytest.approx(math.log(10), abs=0.3)


def test_a_generator_paints_from_all_three():
    torch.manual_seed(0)
    generator = infogan(SMALL, FACTS).generator.eval()
    codes = Coded(6, 10, 2).free(1, None, CPU)
    others = [
        codes._replace(noise=codes.noise + 1),
        codes._replace(category=(codes.category + 1) % 10),
        codes._replace(continuous=-codes.continuous),
    ]
    assert all((generator(other) - generator(codes)).abs().max() > 1e-6 for other in others)


def test_dealt_codes():
    torch.manual_seed(0)
    pictures = torch.zeros(5_000, 1)
    deal = Coded(3, 10, 2).deal(pictures, torch.zeros(5_000, dtype=torch.int64))
    counts = torch.bincount(deal.latent.category, minlength=10).double()
    assert deal.real is pictures
    assert ((counts - 500).square() / 500).sum() < 33.7  # chi-square of 9 degrees: once in 10,000 seeds
    assert (deal.latent.category[:10] != torch.arange(10)).any()
    assert deal.latent.noise.shape == (5_000, 3)
    assert deal.latent.continuous.shape == (5_000, 2)
    assert deal.latent.continuous.min() < -0.99
    assert deal.latent.continuous.max() > 0.99
    assert deal.latent.continuous.abs().max() <= 1
    assert deal.latent.continuous.square().mean().item() == pytest.approx(1 / 3, abs=0.02)


def test_free_codes_take_the_categories_in_turn():
    assert Coded(3, 4, 1).free(6, None, CPU).category.tolist() == [0, 1, 2, 3, 0, 1]


def test_matched_by_hand():
    # code 0 is mostly class 2, code 1 is class 2 as well but may not have it, code 2 is class 0
    codes, classes = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2]), torch.tensor([2, 2, 2, 1, 2, 2, 1, 0])
    assert matched(codes, classes) == (3 + 1 + 1) / 8
    assert matched(torch.tensor([0, 1]), torch.tensor([7, 7])) == 0.5  # more classes than codes


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_matched_knows_no_names(names, codes):
    codes, names = torch.tensor(codes), torch.tensor(names)
    assert matched(codes, names[codes]) == 1
    scrambled = (codes * 5 + torch.arange(len(codes))) % 6
    assert matched(codes, scrambled) == matched(names[codes], scrambled) == matched(codes, names[scrambled])


class Reads(Judge):
    """Reads the category off the first pixel's place."""

    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))
        self.heads["codes"] = nn.Identity()

    def judge(self, x):
        assert not self.training
        return Verdict(x.sum(1), x)


class Paints(nn.Module):
    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, codes):
        assert not self.training
        return torch.eye(4)[codes.category]


def test_meaning_counts_painted_and_test_pictures():
    turn = torch.tensor([2, 0, 1, 3])  # categories have names of their own
    images, labels = torch.eye(4)[[0, 1, 2, 3, 3]], torch.tensor([2, 0, 1, 3, 1])  # the last one is read as 3
    generator, judge = Paints(), Reads()
    found = meaning(Coded(2, 4, 1), Examined(generator, judge, images, labels, lambda x: turn[x.argmax(1)]))
    assert found["code_accuracy"] == 1
    assert found["code_error_test"] == pytest.approx(1 / 5)
    assert generator.training
    assert judge.training


def test_unlabelled_pictures_are_not_probed():
    assert infogan(SMALL, FACTS._replace(classes=0)).probe is no_probe
