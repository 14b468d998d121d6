import math

import pytest
import torch
from torch import nn

from image_gans.classes import ClassTerms, acgan, class_loss
from image_gans.judging import Seen
from image_gans.latent import Game, Rules, discriminator_round, generator_round
from image_gans.numbers import Facts, Numbers
from image_gans.samples import Pair
from rl.objectives import NonSaturating
from rl.runtime import Engine, Runtime

SHAPE = (1, 8, 8)
FACTS = Facts(SHAPE, 3, torch.zeros(6, *SHAPE, dtype=torch.uint8), torch.arange(6) % 3)
SMALL = Numbers(width=4, latent=6)
LOG3 = math.log(3)


def test_class_loss_by_hand():
    logits = torch.tensor([[LOG3, 0.0], [0.0, 0.0]])
    assert class_loss(logits, torch.tensor([0, 1])).item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_each_side_is_asked_for_its_own_classes():
    features = torch.tensor([[LOG3, 0.0], [0.0, LOG3]])
    real = Seen(Pair(torch.zeros(2), torch.tensor([0, 1])), torch.zeros(2), features)
    fake = Seen(Pair(torch.zeros(2), torch.tensor([1, 0])), torch.zeros(2), features)
    terms = ClassTerms(nn.Identity(), 2.0)
    learned = terms.of_discriminator(fake.sample, real, fake)
    assert list(learned) == ["class"]
    assert learned["class"].item() == pytest.approx(2 * math.log(4 / 3))
    wanted = terms.of_generator(fake.sample, real, fake)
    assert list(wanted) == ["class"]
    assert wanted["class"].item() == pytest.approx(2 * math.log(4))


def test_the_judge_does_not_look_at_the_class():
    judge = acgan(SMALL, FACTS).discriminator.eval()
    pictures = torch.rand(3, *SHAPE)
    verdicts = [judge.judge(Pair(pictures, torch.full((3,), label))) for label in (0, 2)]
    assert torch.equal(verdicts[0].logits, verdicts[1].logits)
    assert torch.equal(verdicts[0].features, verdicts[1].features)


def test_the_class_teaches_the_generator_and_the_head():
    torch.manual_seed(0)
    players = acgan(SMALL, FACTS)
    real, latent = players.dealer.deal(torch.rand(6, *SHAPE), FACTS.labels)
    fake = players.generator(latent)
    assert fake.label is real.label
    seen = Seen(fake, *players.discriminator.judge(fake))
    loss = players.terms.of_generator(latent, seen, seen)["class"]
    learners = [*players.generator.net.parameters(), players.discriminator.heads["class"].weight]
    assert all(gradient.any() for gradient in torch.autograd.grad(loss, learners) if gradient.dim() > 1)


def test_the_discriminator_learns_to_name_classes():
    torch.manual_seed(0)
    players = acgan(SMALL, FACTS)
    rules = Rules(NonSaturating(), terms=players.terms)
    game = Game(players.generator, players.discriminator, rules, Engine(Runtime(device="cpu", precision="fp32"), 0))
    optimizers = [torch.optim.Adam(net.parameters(), 5e-3) for net in (players.discriminator, players.generator)]
    labels = torch.arange(30) % 3
    pictures = (labels - 1.0).view(-1, 1, 1, 1) + 0.1 * torch.randn(30, *SHAPE)
    for _ in range(120):
        judged = discriminator_round(game, *players.dealer.deal(pictures, labels), optimizers[0])
        painted = generator_round(game, *players.dealer.deal(pictures, labels), optimizers[1])
    assert judged["d/class"] < 0.1
    assert painted["g/class"] < math.log(3) / 2
